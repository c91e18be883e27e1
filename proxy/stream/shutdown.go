package stream

import (
	"context"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

// Shutdown ends the tunnel in order: it tells the peer of each stream's end, as far as that is possible until ctx ends,
// and closes the websocket. Serve then returns.
func (m *mux) Shutdown(ctx context.Context) { m.shutDown(ctx, false) }

// Leave is Shutdown for a tunnel that another one replaces: connections that can be resumed wait for it.
func (m *mux) Leave(ctx context.Context) { m.shutDown(ctx, true) }

// handOverFlush is how long a process that hands its connections over tries to end a websocket in order. It is not worth
// more: the next process is waited for, and the loss of a websocket ends its streams, too.
const handOverFlush = 300 * time.Millisecond

// cutter is a Transport whose Close, and reads and writes under way, can be cut short.
type cutter interface{ Cut() }

func (m *mux) shutDown(ctx context.Context, keep bool) {
	m.mu.Lock()
	handsOver := m.resume != nil && m.resume.HandOver
	m.mu.Unlock()
	if t, ok := m.cfg.Transport.(cutter); ok && handsOver {
		defer time.AfterFunc(handOverFlush, t.Cut).Stop()
	}
	stop := context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.ended = true
		m.idle.Broadcast()
	})
	defer stop()
	m.mu.Lock()
	m.closing = true
	for _, s := range m.streams {
		for _, c := range s.conns {
			switch {
			case c.carried && (keep || m.resume.HandOver):
				c.lose()
			case c.carried:
				c.why = resume.Stopped
				c.tellClose()
			}
		}
		m.tell(s.message(frame.StreamReset, 0))
	}
	m.endAll()
	m.work.Signal()
	for !m.ended && (len(m.control) > 0 || len(m.spare) > 0) {
		m.idle.Wait()
	}
	m.ended = true
	m.work.Broadcast()
	m.backlog.room.Broadcast()
	m.mu.Unlock()
	_ = m.cfg.Transport.Close(closeNormal, "")
}

// stopping reports whether Shutdown has begun.
func (m *mux) stopping() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closing
}

// endAll ends every stream and tells the peer nothing.
func (m *mux) endAll() {
	detached := 0
	for _, s := range m.streams {
		detached += m.dropStream(s)
	}
	m.logDetached(detached)
}

// endStream ends s and tells the peer nothing.
func (m *mux) endStream(s *stream) { m.logDetached(m.dropStream(s)) }

// dropStream takes s off the websocket. Bytes that its peer sent before are still written. It returns how many
// connections wait for another websocket.
func (m *mux) dropStream(s *stream) (detached int) {
	m.farEnd.present = false
	why := m.reason()
	for _, c := range s.conns {
		if c.carried && !m.closing {
			c.lose()
			if c.detached {
				detached++
			}
			continue
		}
		if why == ByPeer {
			c.resetByPeer()
			continue
		}
		c.broken = true
		c.setReason(why)
		c.end(draining, false)
	}
	if m.streams[s.service] == s {
		delete(m.streams, s.service)
	}
	m.doubtFarewells(s)
	return detached
}

// awaitConnections gives connections a moment to end in order, then closes them.
func (m *mux) awaitConnections() {
	timer := time.AfterFunc(endGrace, func() {
		m.cancel()
		m.mu.Lock()
		defer m.mu.Unlock()
		for c := range m.conns {
			c.end(aborted, false)
		}
	})
	defer timer.Stop()
	m.wg.Wait()
	m.cancel()
}
