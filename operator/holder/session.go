package holder

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
)

// session is one client of a holder.
type session struct {
	*link

	server  *Server
	request Request
	out     chan message // one client that does not read misses some events
	passed  chan struct{}
}

// message is a frame to be written in its turn.
type message struct {
	kind byte
	v    any
}

// tell passes an event on. It does not wait.
func (c *session) tell(e connect.Event) {
	select {
	case c.out <- message{frameEvent, e}:
	default:
	}
}

// pass writes the messages of the channel until it is closed.
func (c *session) pass(answered chan<- error) {
	defer close(c.passed)
	for m := range c.out {
		err := c.writeJSON(m.kind, m.v)
		if m.kind == frameAnswer {
			answered <- err
		}
	}
}

func (s *Server) serve(nc net.Conn) {
	defer nc.Close()
	if u, ok := nc.(*net.UnixConn); ok {
		if err := checkPeer(u); err != nil {
			s.Logger.Warn("client refused", "error", err)
			return
		}
	}
	c := &session{link: newLink(nc), server: s, out: make(chan message, 64), passed: make(chan struct{})}
	_ = nc.SetDeadline(time.Now().Add(requestTime))
	if err := c.expect(frameRequest, &c.request); err != nil {
		return
	}
	_ = nc.SetDeadline(time.Time{})
	var a answer
	switch c.request.Op {
	case opStatus:
		a.Status = s.status()
	case opClose:
		s.Logger.Info("holder ends", "reason", "asked to")
		s.shutdown()
		s.mu.Lock()
		a.Error = failureOf(s.closeErr)
		s.mu.Unlock()
	case opAttach, opConnect:
		if c.request.Version != s.Version && c.request.isConnection() {
			// It looks for the holder that was here before, and is no reason to give way.
			a.Error = &failure{Reason: reasonStopped, Text: "the holder of this command's tunnel has ended"}
			break
		}
		if c.request.Version != s.Version {
			s.drain()
			a.Error = &failure{Reason: reasonVersion, Text: "the holder is of version " + s.Version}
			break
		}
		if err := s.enter(c.request); err != nil {
			a.Error = &failure{Reason: reasonStopped, Text: err.Error()}
			break
		}
		defer s.leave()
		c.use()
		return
	default:
		a.Error = &failure{Reason: reasonOther, Text: "unknown request " + string(c.request.Op)}
	}
	_ = c.writeJSON(frameAnswer, a)
}

// use is a session that uses a tunnel.
func (c *session) use() {
	s := c.server
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	spoken := make(chan struct{}) // closed when the client sends more, or is gone
	go func() {
		defer close(spoken)
		if _, err := c.r.Peek(1); err != nil {
			cancel(io.EOF)
		}
	}()
	answered := make(chan error, 1)
	go c.pass(answered)
	reply := func(a answer) error { // behind the events that came before
		a.Log, a.Address = s.Log, s.address
		select { // also at the holder's end: without an answer the client starts another one
		case c.out <- message{frameAnswer, a}:
			return <-answered
		default:
		}
		select {
		case c.out <- message{frameAnswer, a}:
			return <-answered
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	var h *held
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		if h != nil {
			delete(h.sessions, c)
		}
		s.mu.Unlock()
		// The opening does not know the session any more either: tunnelFor saw to it.
		close(c.out)
		<-c.passed
		<-spoken
	}()
	h, err := s.tunnelFor(ctx, c.request, c)
	var conn net.Conn
	if err == nil {
		if c.request.Keep {
			h.Keep(true)
		}
		if c.request.Op == opConnect {
			conn, err = h.Dial(ctx, c.request.Services[0])
		}
	}
	if err != nil {
		if s.ctx.Err() != nil {
			err = errEnded
		}
		_ = reply(answer{Error: failureOf(err)})
		return
	}
	if err := reply(answer{Tunnel: h.ID(), Share: h.share, Opened: h.Opened()}); err != nil {
		if conn != nil {
			_ = conn.Close()
		}
		return
	}
	if conn != nil {
		c.carry(h, conn, spoken)
		return
	}
	select {
	case <-h.Done():
		_ = c.writeJSON(frameEnd, failureOf(cmp.Or(h.Err(), closedError(h.ID()))))
	case <-ctx.Done():
	}
}

// carry copies both ways until the client is gone. A client leaves when it has seen the end.
func (c *session) carry(h *held, conn net.Conn, spoken <-chan struct{}) {
	defer conn.Close()
	frames := &stream{link: c.link, event: func(connect.Event) {}, gone: func() error { return net.ErrClosed }}
	received := make(chan struct{})
	go func() {
		defer close(received)
		var answered io.Reader = conn
		if learn := c.server.Learn; learn != nil {
			answered = &learning{Conn: conn, first: func() { learn(c.request.Services[0]) }}
		}
		_, err := io.Copy(&counted{frames, &h.in, c.server}, answered)
		if errors.Is(err, errWrite) {
			return // the client is gone
		}
		if errors.Is(err, net.ErrClosed) {
			err = closedError(h.ID())
		}
		_ = frames.end(err)
	}()
	<-spoken
	_, err := io.Copy(&counted{conn, &h.out, c.server}, frames)
	if err == nil { // the client has ended its input
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}
	// Its reset is passed on; an end without a word is none.
	if a, ok := conn.(interface{ Abort() error }); ok && isReason(err, connect.ConnectionReset) && !errors.Is(err, errWrite) {
		_ = a.Abort()
	}
	if !errors.Is(err, net.ErrClosed) || errors.Is(err, errWrite) {
		_, _ = io.Copy(io.Discard, c.r) // until the client is gone
	}
	_ = conn.Close()
	<-received
}

// learning passes a service's bytes on. It calls first once there was a byte, if a Culvert is at the other end. That may show
// after the first bytes, but at the end at the latest.
type learning struct {
	net.Conn

	spoke bool
	first func() // nil when it was called
}

func (l *learning) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.spoke = l.spoke || n > 0
	if l.spoke && l.first != nil {
		if c, ok := l.Conn.(interface{ IsCulvert() bool }); ok && c.IsCulvert() {
			l.first()
			l.first = nil
		}
	}
	return n, err
}

func closedError(id string) error {
	return &connect.Error{Reason: connect.TunnelClosed, Text: "tunnel " + id + " was closed"}
}

var errWrite = errors.New("write failed")

// counted is a writer whose bytes are counted under the server's lock.
type counted struct {
	w io.Writer
	n *int64
	s *Server
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.s.mu.Lock()
	*c.n += int64(n)
	c.s.mu.Unlock()
	if err != nil {
		err = errors.Join(errWrite, err)
	}
	return n, err
}
