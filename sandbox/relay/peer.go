package relay

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

const (
	// linger is how long the other side may take to answer a close frame.
	linger = time.Second
	// muteLimit is how long a connection that ended in a black hole is kept without a word: about what TCP needs to
	// give up.
	muteLimit = 15 * time.Minute
	// readRoom is what one read may bring while no rate limit cuts it down.
	readRoom = frame.MaxWebsocketMessage
	// smooth is the largest piece under a rate limit, so that bytes trickle and do not come in lumps.
	smooth = 16 << 10
	// controlHead and maskSize are what a control frame has besides its payload (RFC 6455, section 5.2).
	controlHead, maskSize = 2, 4
)

// peer is one websocket. Its reader is the handler's goroutine; a writer and a watcher stand beside it.
type peer struct {
	relay   *Relay
	link    *link
	adm     *tunnels.Admission
	side    tunnels.Mode
	version int
	ws      *websocket.Conn
	arrived func()     // ends what link.expect began
	rng     *rand.Rand // the writer's
	heard   time.Time  // the reader's: when the idle time began
	partial int        // the reader's: how much there is of a frame

	// Guarded by the link's lock.
	out  queue
	gone bool
	form form
	in   frame.Message // used again for each message

	conditions atomic.Pointer[conditions]
	writing    sync.Mutex // between whole batches, for SendRaw

	finishing sync.Mutex
	finished  bool
	how       ending // this and mute are set before done is closed
	mute      bool   // nothing may be sent, as it ended in a black hole
	done      chan struct{}
	drained   chan struct{}
}

// ending is how a connection ends, and why.
type ending struct {
	Ending
	reset  bool   // by a TCP reset
	closed bool   // the peer closed the websocket or its connection
	why    string // for the log
}

func newPeer(r *Relay, ws *websocket.Conn, adm *tunnels.Admission) *peer {
	l := r.link(adm.Tunnel)
	p := &peer{
		relay: r, link: l, adm: adm, side: adm.Mode, version: version(ws.Subprotocol()), ws: ws,
		done: make(chan struct{}), drained: make(chan struct{}),
	}
	r.mu.Lock()
	r.count++
	p.rng = rand.New(rand.NewPCG(r.cfg.Seed, r.count)) //nolint:gosec // chooses where to cut, protects nothing
	if p.out = newQueue(&l.mu); r.cfg.MixesConnections {
		p.out.mix = rand.New(rand.NewPCG(r.cfg.Seed, ^r.count)) //nolint:gosec // chooses an order, protects nothing
	}
	r.mu.Unlock()
	return p
}

// serve runs the connection to its end.
func (p *peer) serve() {
	r := p.relay
	p.ws.SetPingHandler(p.ping)
	p.ws.SetPongHandler(func(string) error { p.touch(); return nil })
	p.ws.SetCloseHandler(p.answerClose)
	if tcp, ok := raw(p.ws.NetConn()).(*net.TCPConn); ok && r.cfg.ReceiveBuffer > 0 {
		_ = tcp.SetReadBuffer(r.cfg.ReceiveBuffer)
	}
	r.faults.enter(p)
	defer r.faults.leave(p)
	if early, found := r.faults.pick(&r.faults.early, p.target()); found {
		p.finish(ending{Ending: early.ending, why: "told to, early"})
	} else {
		p.link.attach(p) // a connection that was ended already is ended by watch
	}
	p.arrived()
	var helpers sync.WaitGroup
	helpers.Go(p.watch)
	helpers.Go(p.write)
	p.finish(p.verdict(p.read()))
	p.drain()
	close(p.drained)
	_ = p.ws.Close()
	helpers.Wait()
}

// watch ends the connection when the store or the relay says so.
func (p *peer) watch() {
	select {
	case <-p.adm.Ended():
		p.finish(ending{Ending: p.relay.endingFor(p.adm.Cause()), why: p.adm.Cause().String()})
	case <-p.relay.closing:
		p.finish(ending{Ending: Ending{Code: websocket.CloseGoingAway}, why: "relay closed"})
	case <-p.done:
	}
	<-p.done
	if !p.mute {
		return
	}
	// Each turn looks at one state of the conditions: a change between two looks would be missed.
	for c := p.conditions.Load(); c.hole; c = p.conditions.Load() {
		select {
		case <-p.drained:
			return
		case <-p.relay.closing:
			p.reset()
			return
		case <-c.changed:
		}
	}
	_ = raw(p.ws.NetConn()).Close()
}

// silent reports whether nothing may pass in or out, not even the end.
func (p *peer) silent() bool { return p.conditions.Load().hole }

// hold waits while the connection is black-holed; false means that it is over. The reader's wait ends the
// connection when the idle time is up.
func (p *peer) hold(reader bool) bool {
	for {
		c := p.conditions.Load()
		if !c.hole {
			break
		}
		var timeout <-chan time.Time
		if reader {
			t := time.NewTimer(time.Until(p.heard.Add(p.relay.cfg.IdleTimeout)))
			defer t.Stop()
			timeout = t.C
		}
		select {
		case <-c.changed:
		case <-timeout:
			p.finish(ending{Ending: Ending{Bare: true}, why: "idle"})
		case <-p.done:
			return false
		}
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// pause waits unless the connection ends or its conditions change.
func (p *peer) pause(d time.Duration) { p.pauseOr(d, nil) }

// pauseOr is a pause that another channel can end, too.
func (p *peer) pauseOr(d time.Duration, also <-chan struct{}) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-also:
	case <-p.done:
	case <-p.conditions.Load().changed:
	}
}

// touch starts the idle time over. It is the reader's.
func (p *peer) touch() {
	p.heard = time.Now()
	p.finishing.Lock()
	defer p.finishing.Unlock()
	if !p.finished {
		_ = p.ws.SetReadDeadline(p.heard.Add(p.relay.cfg.IdleTimeout))
	}
}

// ping leaves the answer to the writer: a peer that does not read must not keep the relay from reading. Both
// are part of the stream as messages are: they use up the rate, are late by the delay, and overtake nothing.
func (p *peer) ping(data string) error {
	if !p.hold(true) {
		return errGone
	}
	p.touch()
	c := p.conditions.Load()
	p.throttle(c.in, controlHead+maskSize+len(data))
	if p.relay.cfg.Pongs == PongsNever || c.withholdPongs {
		return nil
	}
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	if p.relay.cfg.Pongs == PongsAlways || p.side == tunnels.Source || p.link.sourceSeen {
		p.out.pushPong([]byte(data), 2*c.delay)
	}
	return nil
}

func (p *peer) answerClose(code int, _ string) error {
	if p.hold(true) {
		if p.partial > 0 && code == websocket.CloseNormalClosure {
			p.relay.record(Violation{Tunnel: p.link.tunnel, Side: p.side, Rule: RuleTruncated, Detail: "websocket closed"})
		}
		_ = p.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(linger))
	}
	return nil
}

// read takes in what the peer sends until something ends it; it never returns nil.
func (p *peer) read() error {
	buf := make([]byte, frame.MaxFrame+readRoom)
	have := 0
	for {
		p.touch()
		kind, r, err := p.ws.NextReader()
		switch {
		case err != nil:
			return err
		case kind != websocket.BinaryMessage:
			return broken(RuleText, "websocket message of type %d", kind)
		}
		for size := 0; ; {
			p.touch()
			room := readRoom
			limits := p.conditions.Load().in
			if len(limits) > 0 {
				room = smooth
			}
			n, err := r.Read(buf[have:min(have+room, len(buf))])
			if n > 0 {
				have += n
				if size += n; size > frame.MaxWebsocketMessage {
					return broken(RuleTooLong, "over %d bytes", frame.MaxWebsocketMessage)
				}
				if !p.hold(true) {
					return errGone
				}
				p.throttle(limits, n)
				taken, err := p.link.deliver(p, buf[:have])
				if taken > 0 {
					have = copy(buf, buf[taken:have])
				}
				p.partial = have
				if err != nil {
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
	}
}

// verdict makes an ending of what ended the reading.
func (p *peer) verdict(err error) ending {
	var v *Violation
	var closed *websocket.CloseError
	var network net.Error
	switch {
	case errors.Is(err, errGone):
		return ending{Ending: Ending{Bare: true}, why: "ended"}
	case errors.As(err, &v):
	case errors.As(err, &closed):
		return ending{closed: true, why: err.Error()}
	case errors.As(err, &network) && network.Timeout():
		return ending{Ending: Ending{Bare: true}, why: "idle"}
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return ending{closed: true, why: "connection lost"}
	default:
		v = broken(RuleWebsocket, "%v", err) // gorilla has answered it with a close frame
	}
	v.Tunnel, v.Side = p.link.tunnel, p.side
	p.relay.record(*v)
	return ending{Ending: Ending{Code: v.code(), Reason: v.Error()}, why: v.Error()}
}

// finish ends the connection and returns once the end is on its way. Only the first call counts; the others
// return false.
func (p *peer) finish(e ending) bool {
	p.finishing.Lock()
	if p.finished {
		p.finishing.Unlock()
		return false
	}
	p.finished = true
	p.how = e
	// Unblocks the reader, which then drains what is left for as long.
	deadline := time.Now().Add(linger)
	if p.mute = p.silent() && !e.reset; p.mute {
		deadline = time.Now().Add(muteLimit)
	}
	_ = p.ws.SetReadDeadline(deadline)
	p.finishing.Unlock()

	p.link.detach(p)
	p.adm.Release()
	switch {
	case e.reset:
		p.reset()
	case p.mute, e.closed:
	case e.Bare:
		_ = raw(p.ws.NetConn()).Close()
	default:
		code := e.Code
		if code == 0 {
			code = websocket.CloseNoStatusReceived
		}
		reason := strings.ToValidUTF8(e.Reason[:min(len(e.Reason), 123)], "")
		message := websocket.FormatCloseMessage(code, reason)
		_ = p.ws.WriteControl(websocket.CloseMessage, message, time.Now().Add(linger))
	}
	close(p.done)
	return true
}

// drain reads and forgets until the other side is gone: closing a socket with unread bytes would destroy the
// close frame on its way.
func (p *peer) drain() {
	<-p.done
	if p.how.closed {
		return
	}
	for {
		_, m, err := p.ws.NextReader()
		if err == nil {
			_, err = io.Copy(io.Discard, m)
		}
		if closed := (*websocket.CloseError)(nil); errors.As(err, &closed) {
			return
		}
		if err != nil {
			break
		}
	}
	_, _ = io.Copy(io.Discard, p.ws.NetConn())
}

// reset ends the TCP connection without an orderly end.
func (p *peer) reset() {
	c := raw(p.ws.NetConn())
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// raw is the connection below TLS.
func raw(c net.Conn) net.Conn {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		return t.NetConn()
	}
	return c
}
