package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/proxy"
)

// HandOver is how connections outlive this process: a place that keeps sockets and state for the next one.
type HandOver struct {
	// Limit is how many sockets can be kept, the state's own included. 0: none, and connections end with the process.
	Limit int
	Put   func(state []byte, sockets []*os.File) error
	// State and Sockets are what the last process has put.
	State   []byte
	Sockets []*os.File
}

// PutPatience is how much longer than the rest of Close HandOver.Put may take: the service manager may be slow.
const PutPatience = 2 * time.Second

// handedOver is the state that one process passes to the next.
type handedOver struct {
	Identity    proxy.Identity
	Connections []proxy.Saved // each goes with the socket of the same index
}

// handOverPatience is how long the hand-over waits for sessions to end. By then a websocket that cannot be closed in
// order is cut; what else holds up the end of a session, such as a connection that is not handed over, or the disk,
// must not cost the others.
const handOverPatience = 500 * time.Millisecond

// handOver takes the connections that wait for a websocket out of this process and gives them to the next one, for which
// it does not wait: put is closed then. It is called when all sessions have been told to end: their websockets take
// nothing from then on. ended is closed when they have.
func (m *Manager) handOver(ended <-chan struct{}, put chan<- struct{}) {
	select {
	case <-ended:
	case <-time.After(handOverPatience):
	}
	var left handedOver
	var sockets []*os.File
	n := m.cfg.resume.HandOver(func(v proxy.Saved, target net.Conn) error {
		if len(sockets)+1 >= m.cfg.HandOver.Limit {
			return errors.New("there is no more room")
		}
		socket, err := duplicate(target)
		if err != nil {
			return err
		}
		left.Connections, sockets = append(left.Connections, v), append(sockets, socket)
		return nil
	})
	left.Identity = m.cfg.resume.Identity()
	go func() {
		defer close(put)
		if n > 0 || left.Identity.Address.Accepted > 0 { // otherwise no source knows this process
			state, err := json.Marshal(left)
			if err == nil {
				err = m.cfg.HandOver.Put(state, sockets)
			}
			switch {
			case err != nil:
				m.log.Warn("connections could not be kept for the next process", "connections", n, "error", err)
			case n > 0:
				m.log.Info("connections kept for the next process", "connections", n)
			}
		}
		for _, s := range sockets {
			_ = s.Close()
		}
	}()
}

// takeOver goes on with the connections that the last process has kept. Each waits for its source to resume it.
func (m *Manager) takeOver() {
	h := &m.cfg.HandOver
	state, sockets := h.State, h.Sockets
	h.State, h.Sockets = nil, nil
	var left handedOver
	var err error
	switch {
	case len(state) == 0 && len(sockets) == 0:
		return
	case len(state) == 0:
		err = errors.New("their state is missing")
	default:
		if err = json.Unmarshal(state, &left); err == nil && !m.cfg.resume.Assume(left.Identity) {
			err = errors.New("state that makes no sense")
		}
	}
	taken := 0
	for i, s := range sockets {
		if s == nil {
			if i < len(left.Connections) {
				m.log.Warn("connection of the last process ends", "service", left.Connections[i].Service, "error", "its socket was not kept")
			}
			continue
		}
		if err != nil || i >= len(left.Connections) {
			resetFile(s)
		} else if oneErr := m.takeOne(left.Connections[i], s); oneErr == nil {
			taken++
		} else {
			m.log.Warn("connection of the last process ends", "service", left.Connections[i].Service, "error", oneErr)
		}
		_ = s.Close() // a copy, if it was taken; else its end
	}
	if err != nil {
		m.log.Warn("connections of the last process are lost", "error", err)
		return
	}
	if taken > 0 {
		m.log.Info("connections of the last process wait to be resumed", "connections", taken)
	}
}

func (m *Manager) takeOne(v proxy.Saved, socket *os.File) error {
	conn, err := net.FileConn(socket)
	if err != nil {
		resetFile(socket)
		return err
	}
	target, err := m.cfg.Services.Adopt(v.Service, conn, v.Age)
	if err == nil {
		err = m.cfg.resume.TakeOver(v, target, m.journal.adopted(m.log), m.log)
		conn = target
	}
	if err != nil {
		if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
			reset(t.NetConn())
		} else {
			reset(conn)
		}
		_ = conn.Close()
	}
	return err
}

// reset makes the close of a TCP connection a reset.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
}

// resetFile is reset for a socket that is no net.Conn.
func resetFile(f *os.File) {
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		})
	}
}

// duplicate returns another descriptor of a target's socket, which is reset unless a process takes it over.
func duplicate(target net.Conn) (*os.File, error) {
	s, ok := target.(syscall.Conn)
	if !ok {
		return nil, errors.New("the target has no descriptor")
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	if controlErr := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); controlErr != nil {
		return nil, controlErr
	}
	if err != nil {
		return nil, fmt.Errorf("copy a descriptor: %w", err)
	}
	f := os.NewFile(uintptr(fd), "target")
	resetFile(f)
	return f, nil
}
