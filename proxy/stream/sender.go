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
		m.log.Error("message does not fit a frame", "error", err)
		return
	}
	m.control = b
	m.work.Signal()
}

var messages = sync.Pool{New: func() any { b := make([]byte, frame.MaxWebsocketMessage); return &b }}

// sendLoop is the tunnel's only writer. It sleeps while nobody is ready and holds no buffer then.
func (m *mux) sendLoop() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		for len(m.control) == 0 && m.fresh.n+m.bulk.n == 0 && !m.ended {
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

// sendReady sends until nobody is ready.
func (m *mux) sendReady(buf []byte) error {
	for !m.ended && (len(m.control) > 0 || m.fresh.n+m.bulk.n > 0) {
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
		m.fill(buf[:frame.MaxWebsocketMessage-len(control)])
		err := m.write(m.batch...)
		m.spare = m.spare[:0]
		if err != nil {
			return err
		}
	}
	return nil
}

// write sends one message, with mu given up meanwhile.
func (m *mux) write(bufs ...[]byte) error {
	if len(bufs) == 0 {
		return nil
	}
	m.mu.Unlock()
	err := m.transport.WriteBuffers(bufs...)
	m.mu.Lock()
	return err
}
