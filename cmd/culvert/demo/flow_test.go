package demo

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// tunnelOf is a stand-in for a tunnel: it joins each connection to a port with one to the target, and may do harm.
type tunnelOf struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	pairs    []net.Conn
	tasks    sync.WaitGroup
}

func newTunnelOf(t *testing.T, target string, harm func(net.Conn) io.Reader) *tunnelOf {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &tunnelOf{listener: l, target: target}
	s.tasks.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", target)
			if err != nil {
				_ = a.Close()
				continue
			}
			s.mu.Lock()
			s.pairs = append(s.pairs, a, b)
			s.mu.Unlock()
			join := func(to net.Conn, from io.Reader) {
				_, _ = io.Copy(to, from)
				_, _ = a.Close(), b.Close()
			}
			s.tasks.Go(func() { join(b, a) })
			s.tasks.Go(func() { join(a, harm(b)) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.cut()
		s.tasks.Wait()
	})
	return s
}

// cut ends all connections.
func (s *tunnelOf) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.pairs {
		_ = c.Close()
	}
}

func noHarm(c net.Conn) io.Reader { return c }

// spoil changes the nth byte of what passes.
type spoil struct {
	r io.Reader
	n int
}

func (s *spoil) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if s.n < n && s.n >= 0 {
		p[s.n]++
	}
	s.n -= n
	return n, err
}

func newFixture(t *testing.T, harm func(net.Conn) io.Reader) (*flows, *target, *tunnelOf) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := newFlows()
	target := newTarget("SSH", l, f)
	t.Cleanup(target.close)
	return f, target, newTunnelOf(t, l.Addr().String(), harm)
}

func TestWholeTransfersBothWays(t *testing.T) {
	f, target, tun := newFixture(t, noHarm)
	address := tun.listener.Addr().String()
	const length = 3<<20 + 17
	m := start(t.Context(), []*flow{
		f.make("SSH", address, toDevice, length), f.make("SSH", address, fromDevice, length),
		f.make("SSH", address, toDevice, 1), f.make("SSH", address, fromDevice, 1),
	})
	m.watch(func(_, _ int64) bool { return false })
	<-m.ended
	if err := m.result.complete(); err != nil {
		t.Error(err)
	}
	if sum, _ := m.moved(); m.result.bytes != 2*length+2 || sum != m.result.bytes {
		t.Errorf("%d bytes, shown as %d on the way, want %d", m.result.bytes, sum, 2*length+2)
	}
	if err := f.echo(t.Context(), "SSH", address); err != nil {
		t.Errorf("echo: %v", err)
	}
	if err := target.complaint(); err != nil {
		t.Error(err)
	}
	if err := m.result.carried(); err == nil {
		t.Error("transfers that ended pass for some that went on")
	}
}

func TestAWrongByteIsSeen(t *testing.T) {
	const at = 100_000
	t.Run("on its way to the operator", func(t *testing.T) {
		f, _, tun := newFixture(t, func(c net.Conn) io.Reader { return &spoil{c, at} })
		n, err := f.make("SSH", tun.listener.Addr().String(), fromDevice, 1<<20).run(t.Context())
		if n != at || !errors.Is(err, errWrong) || !strings.Contains(err.Error(), "after 100,000 bytes") {
			t.Errorf("%d bytes, %v", n, err)
		}
		if err := (result{errs: []error{errEnough, err}}).carried(); !errors.Is(err, errWrong) {
			t.Errorf("it passes for a transfer that went on: %v", err)
		}
	})
	t.Run("in the far side's SHA-256", func(t *testing.T) {
		f, _, tun := newFixture(t, func(c net.Conn) io.Reader { return &spoil{c, 1<<10 + 5} })
		if _, err := f.make("SSH", tun.listener.Addr().String(), fromDevice, 1<<10).run(t.Context()); !errors.Is(err, errWrong) {
			t.Errorf("%v", err)
		}
	})
	t.Run("on its way to the device", func(t *testing.T) {
		p := newPattern(7)
		sent := append([]byte(nil), p.next(1<<10)...)
		sent[1000]++
		n, err := receive(strings.NewReader(string(sent)), newPattern(7), 1<<10, func(int) {})
		if n != 1000 || !errors.Is(err, errWrong) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	t.Run("from another flow", func(t *testing.T) {
		if n, err := newPattern(1).check(newPattern(2).next(64)); n > 4 || !errors.Is(err, errWrong) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

func TestAConnectionAtAnotherServiceIsSeen(t *testing.T) {
	f, target, tun := newFixture(t, noHarm)
	if err := f.echo(t.Context(), "HTTP", tun.listener.Addr().String()); err == nil {
		t.Error("service SSH answered for HTTP")
	}
	if err := target.complaint(); err == nil || !strings.Contains(err.Error(), `"HTTP" came out at SSH`) {
		t.Errorf("complaint: %v", err)
	}
}

func TestATransferThatIsCutDoesNotPassForOneThatWentOn(t *testing.T) {
	f, _, tun := newFixture(t, noHarm)
	address := tun.listener.Addr().String()
	m := start(t.Context(), []*flow{f.make("SSH", address, toDevice, 1<<50), f.make("SSH", address, fromDevice, 1<<50)})
	m.watch(func(_, least int64) bool { return least > 1<<20 })
	before := m.each()
	m.watch(func(_, _ int64) bool { return m.beyond(before, 1<<20) })
	if !m.beyond(before, 1<<20) || before[0] <= 1<<20 || before[1] <= 1<<20 {
		t.Errorf("they moved from %d to %d bytes", before, m.each())
	}
	tun.cut()
	<-m.ended
	if err := m.result.carried(); err == nil || errors.Is(err, errEnough) {
		t.Errorf("cut transfers pass for some that went on: %v", err)
	}
	if err := m.result.complete(); err == nil {
		t.Error("cut transfers pass for whole ones")
	}
	if sum, _ := m.moved(); m.result.bytes <= 2<<20 || m.result.bytes != sum {
		t.Errorf("%d bytes arrived, %d were seen to", m.result.bytes, sum)
	}
}

func TestTransfersThatWentOnAreEnded(t *testing.T) {
	f, _, tun := newFixture(t, noHarm)
	address := tun.listener.Addr().String()
	m := start(t.Context(), []*flow{f.make("SSH", address, toDevice, 1<<50), f.make("SSH", address, fromDevice, 1<<50)})
	m.watch(func(_, least int64) bool { return least > 1<<20 })
	m.cancel(errEnough)
	<-m.ended
	if err := m.result.carried(); err != nil {
		t.Error(err)
	}
}

func TestTransfersEndWithTheirContext(t *testing.T) {
	f, _, tun := newFixture(t, noHarm)
	address := tun.listener.Addr().String()
	ctx, cancel := context.WithCancelCause(t.Context())
	m := start(ctx, []*flow{f.make("SSH", address, toDevice, 1<<50), f.make("SSH", address, fromDevice, 1<<50)})
	m.watch(func(_, least int64) bool { return least > 1<<20 })
	gone := errors.New("gone")
	cancel(gone)
	select {
	case <-m.ended:
	case <-time.After(5 * time.Second):
		t.Fatal("they go on")
	}
	for _, err := range m.result.errs {
		if !errors.Is(err, gone) {
			t.Errorf("%v, want %v", err, gone)
		}
	}
}
