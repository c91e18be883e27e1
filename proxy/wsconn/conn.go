package wsconn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/clean"
)

const (
	// Codes of RFC 6455, section 7.4.1.
	closeProtocol    = 1002
	closeUnsupported = 1003
	closeNoStatus    = 1005 // never in a frame
	closeTooBig      = 1009
	// closeTimeout bounds Close, and the time that the reader has to find a reason after a failed write.
	closeTimeout = time.Second
)

// Conn is an open websocket. One goroutine may call Read and one other WriteBuffers; the rest is safe
// for concurrent use. The caller of [Dial] must Close it.
type Conn struct {
	conn        net.Conn // TLS, or the link itself
	link        *link
	cfg         Config
	channelID   string
	subprotocol string

	out *output

	// Used by the reader only.
	in      *input
	readErr error

	keepAlive

	mu       sync.Mutex
	cause    error // why the connection ended; nil while it is open
	writeErr error // the first failed write
	done     chan struct{}
	closing  sync.Once
	closeErr error
}

func newConn(conn net.Conn, network *link, cfg Config, channelID, subprotocol string) *Conn {
	c := &Conn{
		conn: conn, link: network, cfg: cfg, channelID: channelID, subprotocol: subprotocol, done: make(chan struct{}),
		in: newInput(conn), out: newOutput(conn, network, cfg.WriteTimeout),
	}
	// Tokens are not needed any more.
	c.cfg.AccessToken, c.cfg.ClientToken, c.cfg.TLS = nil, nil, nil
	c.in.pong = func([]byte) {}
	c.startKeepAlive()
	return c
}

// ChannelID identifies this websocket session for AWS support. It may be empty.
func (c *Conn) ChannelID() string { return c.channelID }

// Subprotocol is the service's choice.
func (c *Conn) Subprotocol() string { return c.subprotocol }

// RemoteAddr is the address of the service or of the web proxy.
func (c *Conn) RemoteAddr() string { return c.link.RemoteAddr().String() }

// Read reads the payloads of binary messages as one stream of bytes: tunnel frames and websocket
// messages are not aligned (WebSocket protocol guide). Its error is sticky and says why the
// connection ended: [*CloseError], [ErrDead], [ErrTextMessage], [ErrMessageTooBig], [ErrClosed] or an
// error of the network. A service that leaves without a close frame is [io.ErrUnexpectedEOF].
func (c *Conn) Read(p []byte) (int, error) {
	if c.readErr != nil {
		return 0, c.readErr
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := c.in.read(p)
	if err != nil {
		return 0, c.failRead(err)
	}
	return n, nil
}

// failRead ends the connection with the reason of a failed read, unless it had one already.
func (c *Conn) failRead(err error) error {
	var end *CloseError
	var broken violation
	switch {
	case errors.As(err, &end):
		c.sendClose(end.Code, "") // the answer repeats the code (RFC 6455, section 5.5.1)
	case errors.As(err, &broken):
		c.sendClose(closeProtocol, string(broken))
		err = fmt.Errorf("reading from the tunnel service: %w", err)
	case errors.Is(err, ErrTextMessage):
		c.sendClose(closeUnsupported, "binary messages only")
	case errors.Is(err, ErrMessageTooBig):
		c.sendClose(closeTooBig, "")
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("the tunnel service ended the connection without a close frame: %w", err)
	case isTimeout(err) && c.firstWriteError() != nil:
		err = c.firstWriteError() // it set the deadline
	default:
		err = fmt.Errorf("reading from the tunnel service: %w", err)
	}
	c.readErr = c.fail(err)
	return c.readErr
}

// WriteBuffers sends the given pieces as one binary message in one frame, [MaxMessage] bytes at most. It
// returns within Config.WriteTimeout. An error other than [ErrMessageTooBig] is sticky and ends the
// connection for the reader too.
func (c *Conn) WriteBuffers(bufs ...[]byte) error { return c.WriteProbe(0, bufs...) }

// WriteProbe is WriteBuffers with a ping after the message, in the same write. Its pong shows that the
// service has received the message and all before it. Numbers of probes must increase; 0 sends no
// ping.
func (c *Conn) WriteProbe(probe uint64, bufs ...[]byte) error {
	size := 0
	for _, b := range bufs {
		size += len(b)
	}
	if size > MaxMessage {
		return ErrMessageTooBig
	}
	if err := c.ended(); err != nil || size == 0 && probe == 0 {
		return err
	}
	if err := c.out.message(probe, size, bufs); err != nil {
		return c.failWrite(err)
	}
	return nil
}

// OnProbe makes the reading goroutine call f with the number of each probe that is answered. An answer
// covers all earlier probes, which may get none of their own (RFC 6455, section 5.5.3). The service may
// answer none, or probes that were never sent. Call OnProbe before Read.
func (c *Conn) OnProbe(f func(probe uint64)) {
	c.in.pong = func(payload []byte) {
		if probe := parseProbe(payload); probe != 0 {
			f(probe)
		}
	}
}

// failWrite ends the connection for the writer. The reader gets a moment more: the close frame with
// the reason may have arrived already.
func (c *Conn) failWrite(err error) error {
	if isTimeout(err) {
		err = fmt.Errorf("the tunnel service accepted no data for %v: %w", c.cfg.WriteTimeout, os.ErrDeadlineExceeded)
	} else {
		err = fmt.Errorf("writing to the tunnel service: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	if c.writeErr == nil {
		c.writeErr = err
		_ = c.link.SetReadDeadline(time.Now().Add(closeTimeout))
	}
	return c.writeErr
}

// Close sends a close frame if the connection is still open, and closes it within a second. Pending
// reads and writes return [ErrClosed]. Only the first call has an effect; each returns when the
// connection is closed.
func (c *Conn) Close(code int, reason string) error {
	c.closing.Do(func() {
		// Bounds everything below that may block: the close frame, and TLS's close.
		cut := time.AfterFunc(closeTimeout, func() { _ = c.link.Close() })
		defer cut.Stop()
		if c.setCause(ErrClosed) {
			c.sendClose(code, reason)
			if err := c.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) && !isTimeout(err) {
				c.closeErr = fmt.Errorf("closing the websocket: %w", err)
			}
		}
		_ = c.link.Close()
		c.stopKeepAlive()
	})
	return c.closeErr
}

// Cut ends the network connection at once, with no close frame. What is under way ends: reads, writes, and Close, which
// is still to be called.
func (c *Conn) Cut() {
	c.setCause(ErrClosed)
	_ = c.link.Close()
}

// sendClose sends a close frame, for one second at most.
func (c *Conn) sendClose(code int, reason string) {
	var payload []byte
	if code != closeNoStatus {
		// RFC 6455, section 5.5: 125 bytes, two of them the code.
		payload = binary.BigEndian.AppendUint16(nil, uint16(code)) //nolint:gosec // close codes have 16 bits
		reason = clean.Line(reason, 0)
		payload = append(payload, strings.ToValidUTF8(reason[:min(len(reason), maxControl-2)], "")...)
	}
	_ = c.out.control(opClose, payload, closeTimeout)
}

// fail ends the connection at once and returns why it ended.
func (c *Conn) fail(err error) error {
	if c.setCause(err) {
		_ = c.link.Close()
	}
	return c.ended()
}

// setCause records why the connection ended. Only the first reason counts.
func (c *Conn) setCause(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return false
	}
	c.cause = err
	close(c.done)
	return true
}

// ended returns why the connection can't be written to; nil while it can.
func (c *Conn) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	return c.writeErr
}

func (c *Conn) firstWriteError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeErr
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
