package stream

import (
	"sync"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

const headerRoom = frame.HeaderRoom

func enclose(buf []byte, n int, c *connection) []byte {
	m := c.s.message(frame.Data, c.id)
	return frame.EncloseData(buf, n, m.StreamID, m.ServiceID, m.ConnectionID)
}

// tell queues a message of no connection's data: starts and resets. It goes before all data.
func (m *mux) tell(msg frame.Message) {
	if m.mute {
		return
	}
	b, err := msg.AppendFrame(m.control)
	if err != nil {
		// Service ids come from frames or from the caller's checked list: they fit.
		m.log.Error("message does not fit a frame", "error", err)
		return
	}
	m.control = b
	m.work.Signal()
}

var messages = sync.Pool{New: func() any { b := make([]byte, frame.MaxWebsocketMessage); return &b }}

// sendLoop is the tunnel's only writer. It sleeps while nobody is ready, or may send, and holds no buffer then.
func (m *mux) sendLoop() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.stopLate()
	for {
		for !m.ended && !m.maySend() {
			m.idle.Broadcast()
			m.work.Wait()
		}
		if m.ended {
			return nil
		}
		buf, _ := messages.Get().(*[]byte)
		m.memory.send(len(*buf))
		err := m.sendReady(*buf)
		m.memory.send(-len(*buf))
		messages.Put(buf)
		if err != nil {
			return err
		}
	}
}

// maySend tells whether there is something to send, and room for it. Whoever is ready and has to wait for the
// window is noted, and the wait has an end.
func (m *mux) maySend() bool {
	waiting := m.fresh.n+m.bulk.n > 0
	if len(m.control) > 0 || !waiting || m.prober == nil {
		return waiting || len(m.control) > 0
	}
	now := m.now()
	room := m.window.room(now)
	if room > 0 || m.fresh.n > 0 && room > -m.window.grace() || m.window.deaf(now) {
		return true
	}
	m.window.limited = true
	if m.lateTimer == nil {
		m.lateTimer = time.AfterFunc(m.window.late(now), m.answersLate)
	} else if !m.lateSet {
		m.lateTimer.Reset(m.window.late(now))
	}
	m.lateSet = true
	return false
}

// answersLate has the sender look whether the window's answers have stopped.
func (m *mux) answersLate() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lateSet = false
	m.work.Signal()
}

func (m *mux) stopLate() {
	if m.lateTimer != nil {
		m.lateTimer.Stop()
	}
}

// passed is told by the transport that a probe was answered.
func (m *mux) passed(probe uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.window.answered(m.now(), probe)
	if m.fresh.n+m.bulk.n > 0 {
		m.work.Signal()
	}
}

// now is the window's time.
func (m *mux) now() time.Duration { return time.Since(m.began) }

// sendReady sends until nobody is ready, or the window is full.
func (m *mux) sendReady(buf []byte) error {
	for !m.ended && m.maySend() {
		m.control, m.spare = m.spare[:0], m.control
		m.round++
		control := m.spare
		if len(control) > 0 {
			m.room.Broadcast()
		}
		// Frames need not be aligned with messages, so a long queue may be cut anywhere.
		for len(control) > frame.MaxWebsocketMessage/2 {
			if err := m.write(control[:frame.MaxWebsocketMessage/2]); err != nil {
				return err
			}
			control = control[frame.MaxWebsocketMessage/2:]
		}
		m.batch = m.batch[:0]
		if len(control) > 0 {
			m.batch = append(m.batch, control)
		}
		piece, room := maxWindow, maxWindow
		if m.prober != nil {
			piece, room = m.window.piece(), m.window.room(m.now())
		}
		m.fill(buf[:frame.MaxWebsocketMessage-len(control)], piece, room)
		err := m.write(m.batch...)
		m.spare = m.spare[:0]
		if err != nil {
			return err
		}
	}
	return nil
}

// write sends one message, with mu given up meanwhile, and a probe behind it where the window wants one, which may
// also be all there is to send.
func (m *mux) write(bufs ...[]byte) error {
	size := 0
	for _, b := range bufs {
		size += len(b)
	}
	var probe uint64
	if m.prober != nil {
		if now := m.now(); size > 0 || m.window.deaf(now) {
			probe = m.window.sending(now, size)
		}
	}
	if size == 0 && probe == 0 {
		return nil
	}
	m.mu.Unlock()
	defer m.mu.Lock()
	if probe != 0 {
		return m.prober.WriteProbe(probe, bufs...)
	}
	return m.transport.WriteBuffers(bufs...)
}
