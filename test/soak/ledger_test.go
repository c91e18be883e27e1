package main

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// damage is a connection to a target that something is done to on its way.
type damage struct {
	net.Conn
	mu    sync.Mutex
	read  int64
	at    int64                     // when that many bytes have come
	do    func(b []byte, i int) int // damages b at i and returns how much of it is left, or less than 0 for an end
	close func() error              // nil: the connection's
	spare []byte
}

func (d *damage) Read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.spare) > 0 {
		n := copy(p, d.spare)
		d.spare = d.spare[n:]
		return n, nil
	}
	n, err := d.Conn.Read(p)
	before := d.read
	d.read += int64(n)
	if d.do == nil || before > d.at || d.read <= d.at {
		return n, err
	}
	if n = d.do(p[:n], int(d.at-before)); n < 0 {
		_ = d.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func (d *damage) Close() error {
	if d.close != nil {
		return d.close()
	}
	return d.Conn.Close()
}

func (d *damage) CloseWrite() error { return d.Conn.(*net.TCPConn).CloseWrite() }

// bench is a ledger and a target without a tunnel between: what the tunnel may do is done by wrap.
type bench struct {
	t      *testing.T
	ledger *ledger
	target *target
	limit  time.Duration
}

func newBench(t *testing.T, limit time.Duration, wrap func(net.Conn) net.Conn) *bench {
	t.Helper()
	b := &bench{t: t, ledger: newLedger(1, nil), limit: limit}
	ctx, cancel := context.WithCancel(context.Background())
	b.target = &target{service: "X", network: "tcp", address: "127.0.0.1:0", ledger: b.ledger, limit: limit, ctx: ctx, wrap: wrap}
	if err := b.target.listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		b.target.close()
		b.target.tasks.Wait()
	})
	return b
}

// calm says that no fault is felt.
func (b *bench) calm() *bench {
	if !b.ledger.settled(0, time.Now(), time.Now()) {
		b.t.Fatal("the ledger does not take it as calm")
	}
	return b
}

// talk makes a connection, and returns the violations once both sides have ended.
func (b *bench) talk(tk talk) string {
	b.t.Helper()
	c, err := net.Dial("tcp", b.target.address)
	if err != nil {
		b.t.Fatal(err)
	}
	entry := b.ledger.begin(0, "X", tk)
	side := &side{ctx: b.target.ctx, conn: c, limit: b.limit, clock: b.ledger.count}
	got, err := side.client(&tk)
	_ = c.Close()
	b.ledger.ended(entry, false, got, err)
	b.target.close()
	b.target.tasks.Wait()
	b.ledger.sweep(time.Now())
	return strings.Join(b.ledger.violations, "\n")
}

func talkOf(k kind) talk {
	return talk{id: 4711, kind: k, up: 300_000, down: 200_000, cut: 150_000, pause: 50 * time.Millisecond}
}

func TestWhatGoesWellIsNoViolation(t *testing.T) {
	for k := range kinds {
		t.Run(k.String(), func(t *testing.T) {
			b := newBench(t, 20*time.Second, nil).calm()
			if found := b.talk(talkOf(k)); found != "" {
				t.Error(found)
			}
			if left := b.ledger.lingering(); len(left) > 0 || len(b.ledger.conns) > 0 {
				t.Errorf("still there: %v, %d", left, len(b.ledger.conns))
			}
			if n := b.ledger.tally.operations[k]; n != 1 || b.ledger.tally.cut != 0 {
				t.Errorf("%d operations and %d cut, want 1 and 0", n, b.ledger.tally.cut)
			}
		})
	}
}

func TestWhatTheCheckerFinds(t *testing.T) {
	drop := func(b []byte, i int) int { return i + copy(b[i:], b[min(i+100, len(b)):]) }
	tests := []struct {
		name string
		kind kind
		hurt *damage
		want string // "" is none
		calm bool   // no fault excuses
	}{
		{"a byte changed", duplex, &damage{at: 200_000, do: func(b []byte, i int) int { b[i] ^= 1; return len(b) }}, "must be", true},
		{"a byte changed, and a fault is no excuse", duplex, &damage{at: 200_000, do: func(b []byte, i int) int { b[i] ^= 1; return len(b) }}, "must be", false},
		{"a byte of the header", request, &damage{at: 20, do: func(b []byte, i int) int { b[i] ^= 1; return len(b) }}, "first bytes", false},
		{"bytes missing", halfClose, &damage{at: 100_000, do: drop}, "are missing", false},
		{"an end before all was there", request, &damage{at: 100_000, do: func([]byte, int) int { return -1 }}, "ended early though no fault was felt", true},
		{"the same while a fault is felt", request, &damage{at: 100_000, do: func([]byte, int) int { return -1 }}, "", false},
		{"the same where it was asked for", clientGone, &damage{at: 100_000, do: func([]byte, int) int { return -1 }}, "", true},
		{"a connection that is never closed", answerFirst, &damage{close: func() error { return nil }}, "nor did it end within", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, time.Second, func(c net.Conn) net.Conn { tt.hurt.Conn = c; return tt.hurt })
			if tt.calm {
				b.calm()
			}
			found := b.talk(talkOf(tt.kind))
			_ = tt.hurt.Conn.Close()
			if (found == "") != (tt.want == "") || !strings.Contains(found, tt.want) {
				t.Errorf("found %q, want %q", found, tt.want)
			}
		})
	}
}

func TestBytesThatComeTwice(t *testing.T) {
	hurt := &damage{at: 100_000}
	hurt.do = func(b []byte, i int) int {
		hurt.spare = append([]byte(nil), b[i-64:]...)
		return len(b)
	}
	b := newBench(t, 5*time.Second, func(c net.Conn) net.Conn { hurt.Conn = c; return hurt })
	if found := b.talk(talkOf(duplex)); !strings.Contains(found, "came twice") {
		t.Errorf("found %q", found)
	}
}

func TestMoreThanWasSent(t *testing.T) {
	tk := talkOf(halfClose)
	hurt := &damage{at: headerSize + tk.up - 1}
	hurt.do = func(b []byte, _ int) int {
		hurt.spare = []byte("x")
		return len(b)
	}
	b := newBench(t, 5*time.Second, func(c net.Conn) net.Conn { hurt.Conn = c; return hurt })
	if found := b.talk(tk); !strings.Contains(found, "more came") {
		t.Errorf("found %q", found)
	}
}

// A connection that no target ever hears of is lost, though its client saw nothing of that.
func TestAConnectionThatArrivesNowhere(t *testing.T) {
	for _, calm := range []bool{true, false} {
		l := newLedger(1, nil)
		if calm {
			l.settled(0, time.Now(), time.Now())
		}
		c := l.begin(0, "X", talk{id: 1, up: 10})
		l.ended(c, false, 0, nil)
		if n := len(l.lingering()); (n == 1) != calm {
			t.Errorf("calm %v: %d connections are waited for", calm, n)
		}
		l.sweep(time.Now())
		if n := len(l.violations); (n == 1) != calm {
			t.Errorf("calm %v: violations %q", calm, l.violations)
		}
	}
}

func TestATargetHearsOfAnUnknownConnection(t *testing.T) {
	l := newLedger(1, nil)
	tk := talk{id: 1, up: 10}
	if _, err := l.accepted(tk); err == nil {
		t.Error("a connection that no client opened was taken")
	}
	l.begin(0, "X", tk)
	if _, err := l.accepted(talk{id: 1, up: 11}); err == nil {
		t.Error("a connection with another header was taken")
	}
	if _, err := l.accepted(tk); err != nil {
		t.Error(err)
	}
	if _, err := l.accepted(tk); err == nil {
		t.Error("a connection was taken twice")
	}
}

func TestACalmTunnelIsOneThatWasShownToWorkSince(t *testing.T) {
	l := newLedger(1, nil)
	heal := func() bool { _, disturbed := l.disturbed(0); return !disturbed }
	if heal() {
		t.Error("calm before it was ever shown to work")
	}
	began := time.Now()
	fired := l.disturb(0, "a fault")
	if l.settled(0, began, began) || l.settled(0, time.Now(), began) {
		t.Error("calm while a fault is about to fire")
	}
	fired()
	if l.settled(0, began, began) {
		t.Error("calm by what began before the fault")
	}
	connected := time.Now().Add(time.Millisecond)
	if !l.settled(0, time.Now(), connected) || !heal() {
		t.Error("not calm when it was shown to work")
	}
	if len(l.tally.back) != 1 || l.tally.back[0] <= 0 {
		t.Errorf("time back %v", l.tally.back)
	}
	c := l.calm[0]
	if now := time.Now(); c.excused(now, now) || !c.excused(began, now) {
		t.Error("a fault excuses what it could not touch, or does not excuse what it touched")
	}
}
