package notify

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/culvert-iot/culvert/internal/loglimit"
)

// inboxSize is how many notifications may wait for the handler. A device has a handful of tunnels.
const inboxSize = 64

// logEvery is how often one reason of a dropped message is logged: a client that can publish one can
// publish many.
const logEvery = time.Hour

// arrival is one notification and what acknowledges its message.
type arrival struct {
	notification Notification
	ack          func()
}

// inbox decodes messages, without ever blocking paho, and gives the notifications to one handler in the
// order of their arrival. A handler that blocks paho's router stops acknowledgements, then the reader, then
// the answer to pings.
//
// A message is acknowledged after the handler returned, not before: a daemon that dies between the two
// gets it again on its persistent session, and the token is not lost. What is dropped (wrong topic, too
// long, no notification, queue full) is acknowledged too; otherwise the broker would send it again with
// every reconnect, and stop sending at all once its window of unacknowledged messages is full.
type inbox struct {
	topic   string
	ping    string      // the topic of pings
	asked   chan string // marks of pings that want an answer; nil: pings get only an acknowledgement
	logger  *slog.Logger
	invalid func(error) // nil: not reported
	queue   chan arrival
	// watchdog is of the handler.
	watchdog watchdog

	drops       loglimit.Limiter          // of put, which one goroutine calls
	overflown   atomic.Bool               // since the queue was last empty
	lastArrival atomic.Pointer[time.Time] // of the last message on our topic; nil if there was none
}

func newInbox(topic string, invalid func(error), logger *slog.Logger) *inbox {
	return &inbox{
		topic: topic, ping: pingTopic(topic), invalid: invalid, logger: logger, queue: make(chan arrival, inboxSize),
		drops: loglimit.Limiter{Every: logEvery},
	}
}

// pingTopic is where an operator's "culvert ping" sends its direct messages, for the thing of a notification
// topic: culvert/THING/ping.
func pingTopic(topic string) string {
	thing := strings.TrimSuffix(strings.TrimPrefix(topic, "$aws/things/"), "/tunnels/notify")
	return "culvert/" + thing + "/ping"
}

// put never blocks, as long as ack does not. One goroutine calls it.
func (in *inbox) put(topic string, payload []byte, ack func()) {
	now := time.Now()
	if topic == in.ping {
		ack()
		if mark := pingMark(payload); mark != "" {
			select {
			case in.asked <- mark:
			default: // the channel is full: an answer is about to go out anyway
			}
		}
		return
	}
	if topic != in.topic {
		in.drop(now, "message on a topic that was not subscribed dropped", "wrong topic")
		ack()
		return
	}
	if len(payload) > MaxPayload {
		in.drop(now, "notification dropped", "too long")
		ack()
		return
	}
	in.lastArrival.Store(&now)
	n, err := Decode(payload)
	if err != nil {
		if in.invalid != nil {
			in.invalid(err)
		}
		ack()
		return
	}
	in.push(arrival{n, ack})
}

// push queues a notification. Of a full queue the oldest goes: its token is the most likely to be spent.
func (in *inbox) push(a arrival) {
	for {
		select {
		case in.queue <- a:
			return
		default:
		}
		if !in.overflown.Swap(true) {
			in.logger.Warn("notifications dropped", "reason", "more arrive than can be handled, the newest are kept")
		}
		select {
		case oldest := <-in.queue:
			oldest.ack()
		default: // the handler was quicker
		}
	}
}

// drop logs that a message was dropped.
func (in *inbox) drop(now time.Time, event, reason string) {
	suppressed, ok := in.drops.Allow(reason, now)
	switch {
	case !ok:
	case suppressed > 0:
		in.logger.Warn(event, "reason", reason, "suppressed", suppressed) //nolint:sloglint // the callers' messages are constants
	default:
		in.logger.Warn(event, "reason", reason) //nolint:sloglint // the callers' messages are constants
	}
}

// deliver calls handle for each notification until ctx ends. What is queued then stays unacknowledged.
func (in *inbox) deliver(ctx context.Context, handle func(Notification)) {
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-in.queue:
			if ctx.Err() != nil {
				return
			}
			in.watchdog.begin("take a notification")
			handle(a.notification)
			a.ack()
			in.watchdog.wait()
			if len(in.queue) == 0 {
				in.overflown.Store(false)
			}
		}
	}
}
