package stream

import (
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// Limits of one tunnel's memory and time. The protocol has no flow control, so what a target does not
// take waits here, and where it may not wait any more its connection ends.
const (
	// inboxLimit bounds what waits for one target, in bytes: about a second of a tunnel at AWS's cap.
	inboxLimit = 1 << 20
	// tunnelLimit bounds what waits for all targets of a tunnel, in bytes.
	tunnelLimit = 4 << 20
	// smallChunk holds keystrokes, largeChunk bulk. All connections that may be have room for one of the
	// first kind.
	smallChunk, largeChunk = tunnelLimit / maxConnections, 64 << 10

	// DefaultStallTimeout is how long a target may take nothing before it loses its connection, once
	// the tunnel has to wait for it. Until then it holds up the tunnel's other connections; a target
	// that has been stalled for that long already, when its inbox is full, holds up nothing.
	DefaultStallTimeout = 5 * time.Second
	// holdFactor times the stall timeout is how long a target that takes a little may hold up the tunnel at one go,
	// while that carries other connections too. A chunk in that time is enough: 4.4 kB/s.
	holdFactor = 3
	// drainTimeout is how long a target may take nothing of what was received before its connection's
	// end. One that is slow but steady gets all of it.
	drainTimeout = 10 * time.Second
	// lingerTimeout bounds the wait for a target's own close after all was written: closing a TCP socket
	// with unread input sends a reset, which may overtake what the target has yet to read.
	lingerTimeout = 2 * time.Second
	// flushStep is between two looks at what a target's socket has yet to send.
	flushStep = 5 * time.Millisecond
	// endGrace is how long Serve waits for orderly ends when the tunnel itself has ended.
	endGrace = time.Second
	// readGrace is how long the reader may still look for the reason when the transport takes no more
	// messages: a close frame with that reason may have arrived already.
	readGrace = 2 * time.Second
	// writeSteps is how often within the stall timeout a blocked write is looked at: what a slow target
	// took of a chunk until then is progress.
	writeSteps = 5

	// maxConnections bounds connections of one tunnel, those that dial or drain included: a thousand that
	// end leave room for a thousand that begin.
	maxConnections = 2048
	// maxStreams bounds the services of one tunnel; AWS allows 3 by default.
	maxStreams = 64
	// maxServiceID is the longest service id in bytes (AWS IoT API reference, Service).
	maxServiceID = 128
	// controlHigh is how many bytes of resets and starts may wait before the reader waits too.
	controlHigh = 32 << 10

	// socketBuffer is the size asked of the kernel for each direction of a TCP target, in bytes. Linux takes twice as
	// much, instead of up to 4 MiB to send and 6 MiB to receive. With less, a packet of the loopback interface, whose
	// MTU is 64 KiB, would not fit, and bulk would wait for delayed acknowledgements.
	socketBuffer = 64 << 10

	// turn is the largest quantum, a connection's share of one message, in bytes, while others are ready as well:
	// eight make a message. Where messages are small it is half of one.
	turn = 15 << 10
	// sparse is the least quantum, and what one that was silent may send beyond the window.
	sparse = 1500
	// maxTurn is the most that one connection puts in a frame, in bytes: when it is alone.
	maxTurn = frame.MaxPayload
	// minTurn is the least room worth starting a frame in.
	minTurn = 1 << 10
	// plainRead serves targets without a descriptor, which cannot be read without waiting.
	plainRead = turn
)
