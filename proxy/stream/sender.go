package stream

import (
	"sync"

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
		m.cfg.Logger.Error("message does not fit a frame", "error", err)
		return
	}
	m.control = b
	m.work.Signal()
}

var messages = sync.Pool{New: func() any { b := make([]byte, frame.MaxWebsocketMessage); return &b }}

// sendLoop is the tunnel's only writer. It sleeps while no connection is ready, or may send,
// and holds no buffer then.
func (m *mux) sendLoop() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.pace.stop()
	for {
		for !m.ended && !m.maySend() {
			m.idle.Broadcast()
			m.work.Wait()
		}
		if m.ended {
			return nil
		}
		buf, _ := messages.Get().(*[]byte)
		m.backlog.budget.send(len(*buf))
		err := m.sendReady(*buf)
		m.backlog.budget.send(-len(*buf))
		messages.Put(buf)
		if err != nil {
			return err
		}
	}
}

// maySend reports whether there is something to send, and room for it.
func (m *mux) maySend() bool {
	if len(m.control) > 0 || m.sched.waiting() == 0 {
		return len(m.control) > 0
	}
	return m.pace.maySend(m.sched.fresh.n > 0)
}

// answersLate makes the sender look whether the window's answers have stopped.
func (m *mux) answersLate() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pace.armed = false
	m.work.Signal()
}

// passed is called by the transport when a probe was answered.
func (m *mux) passed(probe uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pace.window.answered(m.pace.now(), probe)
	if m.sched.waiting() > 0 {
		m.work.Signal()
	}
}

// sendReady sends until no connection is ready, or the window is full.
func (m *mux) sendReady(buf []byte) error {
	for !m.ended && m.maySend() {
		m.control, m.spare = m.spare[:0], m.control
		m.sched.message++
		control := m.spare
		if len(control) > 0 {
			m.backlog.room.Broadcast()
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
		piece, room := m.pace.budget()
		m.fill(buf[:frame.MaxWebsocketMessage-len(control)], piece, room)
		err := m.write(m.batch...)
		m.giveBack()
		m.spare = m.spare[:0]
		if err != nil {
			return err
		}
	}
	return nil
}

// write sends one message, with the lock given up meanwhile, and a probe where the pacer wants one.
func (m *mux) write(bufs ...[]byte) error {
	size := 0
	for _, b := range bufs {
		size += len(b)
	}
	probe := m.pace.sending(size)
	if size == 0 && probe == 0 {
		return nil
	}
	m.unlock()
	defer m.relock()
	if probe != 0 {
		return m.pace.prober.WriteProbe(probe, bufs...)
	}
	return m.cfg.Transport.WriteBuffers(bufs...)
}

// giveBack lets go of the memory that the last message was sent from.
func (m *mux) giveBack() {
	for i, b := range m.lent {
		b.Release()
		m.lent[i] = nil
	}
	m.lent = m.lent[:0]
}

// overhead is what a frame of c's data and one of its end need besides the payload, at most.
func overhead(c *connection) int {
	return 3*headerRoom + 2*frame.TrailerRoom(c.s.service, c.id)
}

// fill adds one frame of each connection that is ready now to the batch, as far as buf has room, and until
// there are piece bytes. A connection that is alone gets a full frame. Nothing is waited for: many small
// frames share a message only when they are there at the same time. room is what the window has left.
//
// The bulk queue is due a turn when a whole message had none for it, so that none of it starves.
func (m *mux) fill(buf []byte, piece, room int) {
	waiting := m.sched.bulk.n > 0 && room > 0
	turns, limit := m.sched.plan(piece, room)
	for used := 0; turns > 0 && used < piece; turns-- {
		p, n, fresh := m.sched.next(len(buf), limit, room <= 0)
		if p == nil {
			break
		}
		c := p.conn
		waiting = waiting && fresh
		end := c.s.reset(c.id)
		data, ended := c.serve(buf, n)
		c.credit -= len(data)
		if len(data) > 0 {
			m.batch = append(m.batch, data)
			buf = buf[headerRoom+len(data):]
			used += len(data)
		}
		if ended {
			if b, err := end.AppendFrame(buf[:0]); err == nil {
				m.batch = append(m.batch, b)
				buf = buf[len(b):]
			}
		}
	}
	m.sched.bulkDue = m.sched.bulkDue || waiting
}
