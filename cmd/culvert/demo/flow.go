package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// stallLimit is how long all flows together may stand still before that is a failure.
const stallLimit = 10 * time.Second

// direction of a flow, seen from the operator.
type direction byte

const (
	toDevice   direction = verbSend
	fromDevice direction = verbFetch
)

// flow is one connection through the tunnel that carries bytes one way.
type flow struct {
	id        uint64
	service   string
	address   string // of the operator's local port that leads to the service
	direction direction
	length    int64

	moved   atomic.Int64 // bytes that arrived and were right so far
	arrived chan outcome // toDevice: what the target saw, once it has seen the end
}

// run opens the connection and moves the bytes. It returns how many arrived and were right: all of them, with equal
// SHA-256 at both ends, or fewer and an error. Of an error that is errWrong the bytes are to blame, of any other
// the connection.
func (f *flow) run(ctx context.Context) (int64, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", f.address)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()

	h := header{verb: byte(f.direction), flow: f.id, length: f.length, service: f.service}
	if _, err := c.Write(h.bytes()); err != nil {
		return 0, err
	}
	p := newPattern(f.id)
	if f.direction == toDevice {
		return f.send(ctx, c, p)
	}
	n, err := receive(c, p, f.length, func(n int) { f.moved.Add(int64(n)) })
	if err != nil {
		return n, err
	}
	digest := make([]byte, sha256.Size)
	_, err = io.ReadFull(c, digest)
	return n, compareDigest(digest, err, p)
}

func (f *flow) send(ctx context.Context, c net.Conn, p *pattern) (int64, error) {
	// The answer is read from the beginning on: an end of the connection shows there first.
	answer := make(chan error, 1)
	digest := make([]byte, sha256.Size)
	go func() {
		_, err := io.ReadFull(c, digest)
		if err != nil {
			_ = c.Close()
		}
		answer <- err
	}()
	err := send(c, p, f.length)
	if err != nil {
		_ = c.Close()
	}
	if answered := <-answer; err == nil {
		err = compareDigest(digest, answered, p)
	}
	_ = c.Close()
	select {
	case o := <-f.arrived:
		if o.err != nil && (err == nil || errors.Is(o.err, errWrong)) {
			err = o.err
		}
		return o.bytes, err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// compareDigest compares the far side's SHA-256 of the flow, if it could be read, with this side's.
func compareDigest(far []byte, err error, p *pattern) error {
	switch {
	case err != nil:
		return fmt.Errorf("no SHA-256 from the far side: %w", err)
	case !bytes.Equal(far, p.digest()):
		return fmt.Errorf("%w: the far side has another SHA-256", errWrong)
	}
	return nil
}

// flows makes and runs flows, and brings together what both ends saw.
type flows struct {
	mu   sync.Mutex
	last uint64
	sent map[uint64]*flow // those to the device
}

func newFlows() *flows { return &flows{sent: map[uint64]*flow{}} }

func (s *flows) make(service, address string, d direction, length int64) *flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	f := &flow{id: s.last, service: service, address: address, direction: d, length: length, arrived: make(chan outcome, 1)}
	if d == toDevice {
		s.sent[f.id] = f
	}
	return f
}

// arrived is called by the targets for each piece of a flow that arrived intact.
func (s *flows) arrived(id uint64, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.sent[id]; f != nil {
		f.moved.Add(int64(n))
	}
}

// ended is called by the targets with the outcome of a flow.
func (s *flows) ended(id uint64, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.sent[id]; f != nil {
		delete(s.sent, id)
		f.arrived <- o
	}
}

// result is what became of several flows.
type result struct {
	bytes int64 // that arrived and were right
	took  time.Duration
	errs  []error // of each flow; nil for a complete one
}

// moving is several flows under way.
type moving struct {
	list    []*flow
	started time.Time
	ended   chan struct{} // closed when all have
	result  result        // after ended
	cancel  context.CancelCauseFunc
}

// start runs flows at once. They end with ctx.
func start(ctx context.Context, list []*flow) *moving {
	ctx, cancel := context.WithCancelCause(ctx)
	m := &moving{list: list, started: time.Now(), ended: make(chan struct{}), cancel: cancel}
	m.result.errs = make([]error, len(list))
	var total atomic.Int64
	var all sync.WaitGroup
	for i, f := range list {
		all.Go(func() {
			n, err := f.run(ctx)
			total.Add(n)
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			m.result.errs[i] = err
		})
	}
	go func() {
		defer close(m.ended)
		all.Wait()
		m.result.bytes, m.result.took = total.Load(), time.Since(m.started)
		cancel(nil)
	}()
	return m
}

// moved is how many bytes arrived so far, and the least of all flows.
func (m *moving) moved() (sum, least int64) {
	least = math.MaxInt64
	for _, f := range m.list {
		n := f.moved.Load()
		sum, least = sum+n, min(least, n)
	}
	return sum, least
}

// watch looks on until all flows have ended or enough says so, and ends what stands still for too long.
func (m *moving) watch(enough func(sum, least int64) bool) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	last, since := int64(-1), time.Now()
	for {
		sum, least := m.moved()
		if sum != last {
			last, since = sum, time.Now()
		} else if time.Since(since) > stallLimit {
			m.cancel(errStalled)
		}
		if enough(sum, least) {
			return
		}
		select {
		case <-m.ended:
			return
		case <-ticker.C:
		}
	}
}

// errStalled ends flows that stand still.
var errStalled = fmt.Errorf("no byte moved for %v", stallLimit)

// complete returns the first error of a transfer that must be whole.
func (r result) complete() error {
	for _, err := range r.errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// errEnough ends flows that have shown what they were to show.
var errEnough = errors.New("moved enough")

// each is how many bytes of each flow arrived so far.
func (m *moving) each() []int64 {
	moved := make([]int64, len(m.list))
	for i, f := range m.list {
		moved[i] = f.moved.Load()
	}
	return moved
}

// beyond reports whether each flow has moved n bytes more than before.
func (m *moving) beyond(before []int64, n int64) bool { //nolint:unparam // the amount reads better at the call
	for i, f := range m.list {
		if f.moved.Load() < before[i]+n {
			return false
		}
	}
	return true
}

// carried judges flows that were ended by errEnough: none may have ended in another way, by a wrong byte or a lost
// connection.
func (r result) carried() error {
	for _, err := range r.errs {
		switch {
		case err == nil:
			return errors.New("a transfer ended too early")
		case !errors.Is(err, errEnough):
			return err
		}
	}
	return nil
}

// echo sends bytes over a new connection to a service and reads them back.
func (s *flows) echo(ctx context.Context, service, address string) error {
	const length = 1 << 10
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	s.mu.Lock()
	s.last++
	h := header{verb: verbEcho, flow: s.last, length: length, service: service}
	s.mu.Unlock()
	sent := newPattern(h.flow).next(length)
	if _, err := c.Write(append(h.bytes(), sent...)); err != nil {
		return err
	}
	_, err = receive(c, newPattern(h.flow), length, func(int) {})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}
