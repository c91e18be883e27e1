package demo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// What a connection to a target is for. It begins with a header: verb, flow, length, and the name of the service
// that is meant, so that a connection that comes out at another service's target shows.
const (
	verbSend  = 'S' // length bytes of the flow follow; the target answers with their SHA-256
	verbFetch = 'F' // the target answers with length bytes of the flow and their SHA-256
	verbEcho  = 'E' // the target answers with the length bytes that follow
)

const (
	headerSize = 1 + 8 + 8 + 1 // before the service's name
	chunk      = 64 << 10      // of reading and writing
)

type header struct {
	verb    byte
	flow    uint64
	length  int64
	service string
}

func (h header) bytes() []byte {
	b := make([]byte, 0, headerSize+len(h.service))
	b = append(b, h.verb)
	b = binary.BigEndian.AppendUint64(b, h.flow)
	b = binary.BigEndian.AppendUint64(b, uint64(h.length)) //nolint:gosec // never negative
	b = append(b, byte(len(h.service)))                    //nolint:gosec // short names
	return append(b, h.service...)
}

func readHeader(r io.Reader) (header, error) {
	b := make([]byte, headerSize)
	if _, err := io.ReadFull(r, b); err != nil {
		return header{}, err
	}
	name := make([]byte, b[headerSize-1])
	if _, err := io.ReadFull(r, name); err != nil {
		return header{}, err
	}
	length := int64(binary.BigEndian.Uint64(b[9:])) //nolint:gosec // what bytes wrote; a negative one moves nothing
	return header{verb: b[0], flow: binary.BigEndian.Uint64(b[1:]), length: length, service: string(name)}, nil
}

// outcome is what a target saw of a flow that was sent to it.
type outcome struct {
	bytes int64 // that arrived and were right
	err   error // wrapping errWrong if a byte was wrong
}

// target is a service of the device: a server on this machine, which culvertd connects to.
type target struct {
	service  string
	listener net.Listener
	flows    *flows // hears what arrives

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
	wrong  error // the first request that did not come from this program
	tasks  sync.WaitGroup
}

// newTarget serves until close.
func newTarget(service string, l net.Listener, f *flows) *target {
	t := &target{service: service, listener: l, flows: f, conns: map[net.Conn]struct{}{}}
	t.tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.mu.Lock()
			if t.closed {
				t.mu.Unlock()
				_ = c.Close()
				return
			}
			t.conns[c] = struct{}{}
			t.tasks.Go(func() { t.serve(c) })
			t.mu.Unlock()
		}
	})
	return t
}

// close ends all connections and waits for them.
func (t *target) close() {
	_ = t.listener.Close()
	t.mu.Lock()
	t.closed = true
	for c := range t.conns {
		_ = c.Close()
	}
	t.mu.Unlock()
	t.tasks.Wait()
}

// complaint is the first request that this target should never have got.
func (t *target) complaint() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wrong
}

func (t *target) serve(c net.Conn) {
	defer func() {
		_ = c.Close()
		t.mu.Lock()
		delete(t.conns, c)
		t.mu.Unlock()
	}()
	h, err := readHeader(c)
	if err != nil {
		return // cut before it began
	}
	if err := t.answer(c, h); err != nil {
		t.mu.Lock()
		if t.wrong == nil {
			t.wrong = err
		}
		t.mu.Unlock()
	}
}

// answer does what a connection is for. Its error is a request that is wrong; a connection that ends is none.
func (t *target) answer(c net.Conn, h header) error {
	if h.service != t.service {
		return fmt.Errorf("a connection for service %q came out at %s", h.service, t.service)
	}
	switch h.verb {
	case verbSend:
		p := newPattern(h.flow)
		n, err := receive(c, p, h.length, func(n int) { t.flows.arrived(h.flow, n) })
		if err == nil {
			_, _ = c.Write(p.digest())
		}
		t.flows.ended(h.flow, outcome{n, err})
	case verbFetch:
		// As servers do: notice that the other side is gone, though there is only to be written.
		t.tasks.Go(func() {
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		})
		p := newPattern(h.flow)
		if err := send(c, p, h.length); err == nil {
			_, _ = c.Write(p.digest())
		}
	case verbEcho:
		_, _ = io.Copy(c, io.LimitReader(c, h.length))
	default:
		return fmt.Errorf("service %s got a request that begins with %q", t.service, h.verb)
	}
	return nil
}

// send writes the flow's next length bytes.
func send(w io.Writer, p *pattern, length int64) error {
	for length > 0 {
		n := min(chunk, length)
		if _, err := w.Write(p.next(int(n))); err != nil {
			return err
		}
		length -= n
	}
	return nil
}

// receive reads length bytes, checks each and tells moved of each piece. It returns how many arrived and were right.
func receive(r io.Reader, p *pattern, length int64, moved func(int)) (int64, error) {
	var total int64
	buf := make([]byte, chunk)
	for total < length {
		n, err := r.Read(buf[:min(chunk, length-total)])
		good, wrong := p.check(buf[:n])
		total += int64(good)
		moved(good)
		switch {
		case wrong != nil:
			return total, fmt.Errorf("%w after %s bytes", wrong, count(total))
		case total == length:
			return total, nil
		case errors.Is(err, io.EOF):
			return total, io.ErrUnexpectedEOF
		case err != nil:
			return total, err
		}
	}
	return total, nil
}
