package connect

import (
	"strings"
	"sync/atomic"

	"github.com/culvert-iot/culvert/proxy"
)

// farEnd is the tunnel's end of a connection that begins here. It holds the facts that a socket pair cannot carry.
type farEnd struct {
	stream

	source atomic.Pointer[proxy.Source] // the websocket that carries it
	reset  atomic.Bool                  // instead of an orderly end
	exact  atomic.Bool                  // every end without a reset is orderly, since the other end is a Culvert
	reason atomic.Value                 // proxy.Reason of an end that was not orderly
}

// Answered is called when a Culvert at the other end has answered.
func (f *farEnd) Answered() { f.exact.Store(true) }

// SetLinger is called when the tunnel resets the connection.
func (f *farEnd) SetLinger(seconds int) error {
	f.reset.Store(seconds == 0)
	return nil
}

// Break is called with the cause of an end that is not orderly.
func (f *farEnd) Break(why proxy.Reason) { f.reason.Store(why) }

// why returns what Break was called with, or "".
func (f *farEnd) why() proxy.Reason {
	why, _ := f.reason.Load().(proxy.Reason)
	return why
}

// explain describes the reason that a Culvert at the other end gave for a connection's end. It returns nil if the
// reason says no more than that it ended.
func (t *Tunnel) explain(service string, why proxy.Reason) *Error {
	again := "run the command again"
	switch why { //nolint:exhaustive // the others need no explanation
	case proxy.PeerStopped: // culvertd says so of a tunnel that found no place, too
		return &Error{
			Reason: DeviceGone, Text: "culvertd on " + t.thing + " has ended the tunnel, and the connection with it: it was stopped, or all its places were taken",
			hint: again + "; culvert doctor " + t.thing + " counts the open tunnels, of which culvertd serves tunnel.max_tunnels",
		}
	case proxy.PeerForgot:
		return &Error{
			Reason: DeviceGone, Text: t.thing + " no longer knows the connection: culvertd was restarted, or the connection had no link for too long",
			hint: again + "; tunnel.resume_timeout says how long culvertd waits",
		}
	case proxy.PeerRefused:
		e := &Error{
			Reason: ServiceRefused, Text: "culvertd on " + t.thing + " cannot connect to " + service,
			hint: "is the service there and running? On the device: culvertd status, culvertd check",
		}
		if upper := strings.ToUpper(service); upper != service { // "ssh" is no "SSH"
			e.Text += ": is it called " + upper + " there?"
		}
		return e
	case proxy.PeerLimit:
		return &Error{
			Reason: ServiceRefused, Text: "a limit on " + t.thing + " has ended the connection to " + service,
			hint: "on the device, culvertd status shows what is used of each count, and the configuration has the times: idle_timeout and max_duration",
		}
	}
	return nil
}
