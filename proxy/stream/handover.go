package stream

import (
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// handOverPatience is how long a hand-over waits for goroutines that read from or write to a target.
const handOverPatience = 500 * time.Millisecond

// Saved is a connection that waits for a websocket, for another process to go on with: its target's socket goes with
// it. It holds bytes of the applications. It does not hold what the observer hears at the end, such as the bytes that have
// moved: each process counts its own part, so that the sums over all are right.
type Saved struct {
	Service string
	Stream  resume.Saved
	Inbox   []byte        // received, and not yet written to the target
	Told    bool          // the target's input has ended
	Ended   bool          // the peer's input has ended
	Closed  bool          // the target was told so
	First   Reason        // which of them ended first
	Age     time.Duration // since its target was reached, while a process had it: no clock that is set changes it
}

// HandOver takes the connections that wait for a websocket out of a registry and gives each, with its socket, to
// keep, which copies the descriptor. Those that cannot be handed over, such as one whose target is being dialled,
// stay. Call it when every websocket has ended, or has been shut down with the registry's HandOver set.
func HandOver(registry *resume.Registry, keep func(Saved, net.Conn) error) (n int) {
	registry.Lock()
	defer registry.Unlock()
	deadline := time.Now().Add(handOverPatience)
	for _, w := range registry.Waiting() {
		c, ok := w.(*connection)
		if !ok || !c.quiesce(deadline) {
			continue
		}
		if keep(c.save(), c.target) != nil {
			c.handing = false
			c.settle()
			continue
		}
		n++
		c.setReason(HandedOver)
		c.end(aborted, false) // the other descriptor keeps the socket open
	}
	return n
}

// quiesce stops the goroutines that have the target, and reports whether c can be handed over now.
func (c *connection) quiesce(deadline time.Time) bool {
	if c.raw == nil || c.target == nil || c.state != open || c.dead || c.closed || c.finished || !c.carried || !c.res.Speaks() {
		return false
	}
	c.handing = true
	_ = c.target.SetWriteDeadline(time.Now()) // it ends a write under way
	late := time.AfterFunc(time.Until(deadline), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.served.Broadcast()
	})
	defer late.Stop()
	for c.writing || c.reading {
		if !time.Now().Before(deadline) {
			c.handing = false
			c.settle()
			return false
		}
		c.served.Wait()
	}
	return c.state == open && !c.dead && !c.closed && c.detached
}

func (c *connection) save() Saved {
	v := Saved{
		Service: c.s.name, Stream: c.res.Save(), Told: c.half.told, Ended: c.half.ended, Closed: c.half.closed, First: c.half.first,
		Age: c.watch.before + time.Since(c.watch.opened),
	}
	for _, b := range c.inbox.chunks {
		v.Inbox = append(v.Inbox, b.b[b.done:]...)
	}
	return v
}

// TakeOver puts a connection that another process handed over into a registry, where it waits for a websocket. On an
// error the target is left to the caller.
func TakeOver(registry *resume.Registry, v Saved, target net.Conn, observer Observer, log *slog.Logger) error {
	res, err := resume.Restore(registry.Memory, v.Stream)
	if err != nil {
		return err
	}
	m := newMux(Config{Transport: noTransport{}, Resume: registry, Logger: log})
	m.ended, m.mute = true, true
	s := &stream{service: v.Service, name: v.Service, form: V3, conns: make(map[uint32]*connection), records: true, keeps: true}
	c := &connection{mu: m.mu, m: m, s: s, id: 1, observer: observer, running: 1}
	c.inbox.conn = c
	c.member = member{conn: c, overhead: overhead(c)}
	c.served.L = m.mu
	c.res, c.carried, c.detached, c.seen = res, true, true, true
	c.half = half{told: v.Told, ended: v.Ended, closed: v.Closed, first: v.First}
	c.watch.before = v.Age

	registry.Lock()
	defer registry.Unlock()
	switch {
	case newSocket(target) == nil:
		res.Release()
		return errors.New("the target has no descriptor")
	case !registry.Memory.Take(0, false), !registry.Add(res.ID(), c):
		res.Release()
		return errSameIdentity
	}
	for p := v.Inbox; len(p) > 0; {
		n := min(len(p), largeChunk)
		before := c.inbox.charged
		c.inbox.put(p[:n])
		registry.Memory.Take(c.inbox.charged-before, true)
		p = p[n:]
	}
	registry.Ending.Add(1)
	if !c.detach() {
		registry.Remove(res.ID(), resume.Unknown)
		registry.Ending.Done()
		res.Release()
		return errors.New("connections are not kept")
	}
	c.attach(target)
	go c.adopt()
	return nil
}

// noTransport is of a websocket that ended in another process.
type noTransport struct{}

func (noTransport) Read([]byte) (int, error)     { return 0, net.ErrClosed }
func (noTransport) WriteBuffers(...[]byte) error { return net.ErrClosed }
func (noTransport) Close(int, string) error      { return nil }
