package connect

import (
	"sync/atomic"

	"github.com/culvert-iot/culvert/proxy"
)

// farEnd is the tunnel's end of a connection that begins here. It remembers what a socket pair cannot pass on.
type farEnd struct {
	stream

	source atomic.Pointer[proxy.Source] // the websocket that carries it
	reset  atomic.Bool                  // instead of an orderly end
	exact  atomic.Bool                  // an end without a reset is an orderly one: a Culvert is at the other end
	reason atomic.Value                 // proxy.Reason: why it did not end in order
}

// Answered is called when a Culvert at the other end has answered.
func (f *farEnd) Answered() { f.exact.Store(true) }

// SetLinger is how the tunnel resets a connection.
func (f *farEnd) SetLinger(seconds int) error {
	f.reset.Store(seconds == 0)
	return nil
}

// Break is called with why the connection does not end in order.
func (f *farEnd) Break(why proxy.Reason) { f.reason.Store(why) }

// why returns what Break was called with, or "".
func (f *farEnd) why() proxy.Reason {
	why, _ := f.reason.Load().(proxy.Reason)
	return why
}

// explain puts into words what a Culvert at the other end said of a connection's end. It returns nil where that is no more
// than that it ended.
func (t *Tunnel) explain(service string, why proxy.Reason) *Error {
	again := "run the command again"
	switch why { //nolint:exhaustive // the others need no explanation
	case proxy.PeerStopped:
		return &Error{Reason: DeviceGone, Text: "culvertd on " + t.thing + " was stopped, and the connection with it", hint: again}
	case proxy.PeerForgot:
		return &Error{
			Reason: DeviceGone, Text: t.thing + " no longer knows the connection: culvertd was restarted, or the connection had no link for too long",
			hint: again + "; tunnel.resume_timeout says how long culvertd waits",
		}
	case proxy.PeerRefused:
		return &Error{
			Reason: ServiceRefused, Text: "culvertd on " + t.thing + " cannot connect to " + service,
			hint: "is the service there and running? On the device: culvertd status, culvertd check",
		}
	case proxy.PeerLimit:
		return &Error{
			Reason: ServiceRefused, Text: "a limit on " + t.thing + " has ended the connection to " + service,
			hint: "on the device, culvertd status shows what is used of each",
		}
	}
	return nil
}
