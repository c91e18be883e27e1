package stream

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// state is how far a connection is in its life. It only ever moves forward.
type state uint8

const (
	dialling state = iota // the target is being dialled; what arrives is held
	open                  // bytes go both ways
	draining              // ended for the peer; what it sent before is still written
	aborted               // ended; nothing more is written
)

// connection is one TCP connection carried by the tunnel, between the peer and a local target. All
// fields are guarded by mux.mu, except where a comment names their goroutine.
//
// An idle connection is this struct, its socket and one goroutine with a shallow stack, the poller, which waits
// until there is something to read. The reader of the tunnel also writes to targets that take it at once; only for
// a target that does not there is a second goroutine, the writer, until all is written.
type connection struct {
	mu     *sync.Mutex // m's; the same wherever it is attached
	m      *mux        // the websocket it is on, or was on last
	s      *stream
	id     uint32
	target net.Conn // nil while dialling
	raw    *socket  // the target without waiting; nil where it has no descriptor
	state  state
	cancel context.CancelFunc // of the dial

	running    int  // goroutines that have the connection now
	targetDone bool // the target is closed, or there will be none
	drained    bool // all that was received is written
	broken     bool // the target must not take the end for an orderly one
	handing    bool // another process goes on with the target: it is neither read nor written here
	forgotten  bool

	// tunnel -> target
	inbox    inbox
	deferred bool      // in mux.deferred
	writing  bool      // the write side is taken: by the writer, or by the reader with the lock given up
	writer   func()    // write, made when first needed: a closure a start would be an allocation
	dead     bool      // the target no longer accepts writes; pending output is still read
	drainBy  time.Time // when draining ends, whatever is left

	// target -> tunnel
	plain   *plainInput // of a target without a descriptor
	more    bool        // the last read came back full: there may be more
	bulk    uint8       // so many of the next reads may come back half full at least, as one lately did
	readErr error       // why nothing more will be read
	polling bool        // the poller runs
	pending bool        // in a ready list or being served; the poller waits
	reading bool        // the sender reads with mu given up; the poller waits
	served  sync.Cond   // the poller waits here, and the writer for the poller's end
	closed  bool        // nothing more goes to the tunnel
	member
	half half
	carriage
	began    time.Time
	observer Observer
	watch    watched

	in, out uint64 // bytes to and from the target
}

// plainInput is what the poller of a target without a descriptor has read: buf[off:n].
type plainInput struct {
	buf    [plainRead]byte
	off, n int
}

// connect dials the target. It is a goroutine of its own, so that the stack which that takes goes with it.
func (c *connection) connect(ctx context.Context, m *mux, service string) {
	target, err := m.dial(ctx, service)
	c.mu.Lock()
	c.cancel()
	c.cancel = nil
	switch {
	case err != nil:
		if !c.closed {
			c.m.refused(c.s.name, err)
		}
		c.why, c.failed = resume.Refused, true
		if c.awaitsFirst() {
			c.after(max(firstTimeout-time.Since(c.began), 0), func() { c.end(aborted, true) })
		} else {
			c.end(aborted, true)
		}
	case c.state == aborted:
		c.targetDone = true
		_ = target.Close()
	default:
		c.attach(target)
	}
	c.mu.Unlock()
	if c.target != nil {
		c.serveTarget()
	}
	c.mu.Lock()
	c.leave()
	c.mu.Unlock()
}

// attach gives the connection its target.
func (c *connection) attach(target net.Conn) {
	now := time.Now()
	c.target, c.inbox.progress, c.watch.opened = target, now, now
	c.polling = true
	boundBuffers(target)
	c.resetOnExit(!c.half.closed)
	if c.raw = newSocket(target); c.raw == nil {
		c.plain = new(plainInput)
	}
	if c.state == dialling {
		c.state = open
	} else {
		c.drainBy = time.Now().Add(c.drainFor())
	}
}

// boundBuffers keeps the kernel from holding megabytes for a TCP target that takes nothing, or whose bytes are not read.
// What waits for it is in the inbox, where it counts; what it says waits with it.
func boundBuffers(target net.Conn) {
	if tcp, ok := beneath(target).(*net.TCPConn); ok {
		setBuffers(tcp, socketBuffer)
	}
}

// beneath returns the connection that target wraps, to set its options.
func beneath(target net.Conn) net.Conn {
	for {
		w, ok := target.(interface{ NetConn() net.Conn })
		if !ok {
			return target
		}
		target = w.NetConn()
	}
}

// serveTarget begins to carry bytes, once the observer knows.
func (c *connection) serveTarget() {
	c.tellOpened()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running++
	go c.poll()
	c.settle()
}

// adopt is connect for a connection that began with its target.
func (c *connection) adopt() {
	c.serveTarget()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave()
}

// leave is called with the lock held by each goroutine that is done with the connection.
func (c *connection) leave() {
	c.running--
	c.settle()
}

// takeWrite takes the target's write side, which only one goroutine has at a time.
func (c *connection) takeWrite() {
	c.writing = true
	c.running++
}

// giveWrite gives the write side back. What the state has come to ask for meanwhile begins here.
func (c *connection) giveWrite() {
	c.writing = false
	if c.handing {
		c.served.Broadcast()
	}
	c.leave()
}

// readDone is called when the sender has read from the target.
func (c *connection) readDone() {
	c.reading = false
	if c.handing {
		c.served.Broadcast()
	}
}

// settle looks at the connection's state and does what it asks for: it closes the target, starts the
// writer, or forgets the connection. It is the only function that does these, it may be called at any time
// with the lock held, and each change of the state and each return of the write side ends with it. So no
// order of events leaves a connection behind.
func (c *connection) settle() {
	if c.state == aborted && c.target != nil && !c.targetDone {
		c.targetDone = true
		if c.broken {
			c.breakOff()
		} else {
			c.resetOnExit(false)
		}
		fastest.forget(c.target)
		_ = c.target.Close() // it also ends a write under way
	}
	if c.target != nil && !c.targetDone && !c.writing && c.mustWrite() {
		c.takeWrite()
		if c.writer == nil {
			c.writer = c.write
		}
		go c.writer()
	}
	if c.targetDone && c.running == 0 && !c.forgotten {
		c.forgotten = true
		c.m.forget(c)
	}
}

// mustWrite reports whether there is something to do for the writer.
func (c *connection) mustWrite() bool {
	if c.handing {
		return false
	}
	return c.state == draining || c.state == open && !c.dead && (!c.inbox.empty() || c.mustCloseWriting())
}

// end ends the connection, and tells the peer if tell is set. The peer hears of it once at most, since the
// connection then leaves its stream's table.
func (c *connection) end(to state, tell bool) {
	if to > c.state {
		c.broken = c.broken || to == aborted && !c.drained
		c.state = to
		c.drainBy = time.Now().Add(c.drainFor())
	}
	if !c.closed {
		c.closed = true
		c.stopTimer()
		c.unlink()
		c.m.remove(c)
		switch {
		case !tell:
		case c.carried:
			c.tellClose()
		default:
			c.m.tell(c.s.reset(c.id))
		}
		c.retire()
	}
	if c.state == aborted {
		c.clearInbox()
	}
	c.targetDone = c.targetDone || c.failed
	if c.target == nil && c.cancel != nil && (c.state == aborted || c.inbox.empty()) {
		c.cancel()
	}
	c.served.Broadcast()
	c.settle()
}

func (c *connection) unlock() {
	c.mu.Unlock()
	if testYield != nil {
		testYield()
	}
}

func (c *connection) relock() {
	if testYield != nil {
		testYield()
	}
	c.mu.Lock()
}
