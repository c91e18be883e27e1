package notify

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// inboxSize is how many notifications may wait for the handler. A device has a handful of tunnels.
const inboxSize = 64

// arrival is one message: its payload and what acknowledges it.
type arrival struct {
	payload []byte
	ack     func()
}

// inbox takes messages from paho without ever blocking it, and gives them to one handler in the order of
// their arrival. A handler that blocks paho's router stops acknowledgements, then the reader, then the
// answer to pings.
//
// A message is acknowledged after the handler returned, not before: a daemon that dies between the two
// gets it again on its persistent session, and the token is not lost. What is dropped (wrong topic, too
// long, queue full) is acknowledged too; otherwise the broker would send it again with every reconnect,
// and stop sending at all once its window of unacknowledged messages is full.
type inbox struct {
	topic  string
	logger *slog.Logger
	queue  chan arrival
	// watchdog is of the handler.
	watchdog watchdog

	overflown   atomic.Bool  // since the queue was last empty
	wrongTopic  atomic.Bool  // was logged
	tooLong     atomic.Int64 // Unix nanoseconds of when it was logged last; 0 = never
	lastArrival atomic.Int64 // Unix nanoseconds of the last message that was queued; 0 = none
}

func newInbox(topic string, logger *slog.Logger) *inbox {
	return &inbox{topic: topic, logger: logger, queue: make(chan arrival, inboxSize)}
}

// put never blocks, as long as ack does not.
func (in *inbox) put(topic string, payload []byte, ack func()) {
	switch {
	case topic != in.topic:
		if !in.wrongTopic.Swap(true) {
			in.logger.Warn("message on a topic that was not subscribed dropped", "reason", "wrong topic")
		}
		ack()
		return
	case len(payload) > MaxPayload:
		// Once an hour: who can publish one can publish many.
		now := time.Now().UnixNano()
		if last := in.tooLong.Load(); (last == 0 || now-last >= int64(time.Hour)) && in.tooLong.CompareAndSwap(last, now) {
			in.logger.Warn("notification dropped", "reason", "too long")
		}
		ack()
		return
	}
	select {
	case in.queue <- arrival{payload, ack}:
		in.lastArrival.Store(time.Now().UnixNano())
	default:
		if !in.overflown.Swap(true) {
			in.logger.Warn("notifications dropped", "reason", "more arrive than can be handled")
		}
		ack()
	}
}

// deliver calls handle for each message until ctx ends. What is queued then stays unacknowledged.
func (in *inbox) deliver(ctx context.Context, handle func(payload []byte)) {
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-in.queue:
			if ctx.Err() != nil {
				return
			}
			in.watchdog.begin("take a notification")
			handle(a.payload)
			a.ack()
			in.watchdog.wait()
			if len(in.queue) == 0 {
				in.overflown.Store(false)
			}
		}
	}
}
