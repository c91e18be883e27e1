package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/internal/hint"
)

// pipes is a network whose every connect gives one end of a net.Pipe and keeps the other.
func pipes(t *Table) (far func() []net.Conn) {
	var mu sync.Mutex
	var ends []net.Conn
	t.net.dial = func(context.Context, string, string) (net.Conn, error) {
		near, end := net.Pipe()
		mu.Lock()
		defer mu.Unlock()
		ends = append(ends, end)
		return near, nil
	}
	return func() []net.Conn {
		mu.Lock()
		defer mu.Unlock()
		return ends
	}
}

func mustDial(t *testing.T, table *Table, name string) net.Conn {
	t.Helper()
	c, err := table.Dial(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNamesAreTheEnabledServicesSorted(t *testing.T) {
	table := NewTable([]Service{{Name: "b"}, {Name: "off", Disabled: true}, {Name: "a"}})
	if diff := cmp.Diff([]string{"a", "b"}, table.Names()); diff != "" {
		t.Error(diff)
	}
	if s, ok := table.Lookup("off"); !ok || !s.Disabled {
		t.Errorf("Lookup(off) = %+v, %v", s, ok)
	}
	if _, ok := table.Lookup("A"); ok {
		t.Error("case does not count")
	}
}

// A name outlives its service, and names that change all the time do not fill the memory.
func TestNamesOfServicesThatAreGoneAreKnown(t *testing.T) {
	table := NewTable([]Service{{Name: "a"}, {Name: "off", Disabled: true}})
	table.Replace([]Service{{Name: "b"}})
	for name, want := range map[string]bool{"a": true, "off": true, "b": true, "c": false} {
		if got := table.Known(name); got != want {
			t.Errorf("Known(%s) = %v", name, got)
		}
	}
	for i := range 3 * maxKnown {
		table.Replace([]Service{{Name: "b"}, {Name: fmt.Sprint(i)}})
		if n := len(table.known); n > maxKnown {
			t.Fatalf("%d names are remembered", n)
		}
	}
	if !table.Known("b") || !table.Known(fmt.Sprint(3*maxKnown-1)) {
		t.Error("a service that is there was forgotten")
	}
}

func TestTheLimitHoldsUnderManyDialsAtOnce(t *testing.T) {
	const limit, dials = 7, 200
	table := NewTable([]Service{{Name: "a", Network: "tcp", Address: "127.0.0.1:1", MaxConnections: limit}})
	var now, most, full, made atomic.Int64
	pipes(table)
	inner := table.net.dial
	table.net.dial = func(ctx context.Context, n, a string) (net.Conn, error) {
		for v := now.Add(1); ; {
			if m := most.Load(); v <= m || most.CompareAndSwap(m, v) {
				break
			}
		}
		runtime.Gosched()       // so that dials overlap
		if made.Add(1)%5 == 0 { // a failed dial must give its place back too
			now.Add(-1)
			return nil, errors.New("no route")
		}
		return inner(ctx, n, a)
	}
	var wg sync.WaitGroup
	for range dials {
		wg.Go(func() {
			c, err := table.Dial(t.Context(), "a")
			if err != nil {
				if de, ok := errors.AsType[*DialError](err); ok && de.Kind == Full {
					full.Add(1)
				}
				return
			}
			now.Add(-1)
			_ = c.Close()
			_ = c.Close() // must not count twice
		})
	}
	wg.Wait()
	if m := most.Load(); m > limit {
		t.Errorf("%d connections at once, the limit is %d", m, limit)
	}
	if n := table.Active("a"); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
	if full.Load()+made.Load() != dials {
		t.Errorf("%d refused as full and %d dialled of %d", full.Load(), made.Load(), dials)
	}
}

// The last place goes to one of those who ask for it at the same moment, never to two.
func TestTheLastPlaceIsTakenOnce(t *testing.T) {
	table := NewTable([]Service{{Name: "a", Network: "tcp", Address: "127.0.0.1:1", MaxConnections: 1}})
	pipes(table)
	for range 300 {
		conns := make(chan net.Conn, 32)
		gate := make(chan struct{})
		var wg sync.WaitGroup
		for range cap(conns) {
			wg.Go(func() {
				<-gate
				if c, err := table.Dial(t.Context(), "a"); err == nil {
					conns <- c
				}
			})
		}
		close(gate)
		wg.Wait()
		if n := len(conns); n != 1 {
			t.Fatalf("%d connections, the limit is 1", n)
		}
		_ = (<-conns).Close()
	}
}

func TestAFullServiceTakesANewConnectionAfterOneCloses(t *testing.T) {
	table := NewTable([]Service{{Name: "a", Network: "tcp", Address: "127.0.0.1:1", MaxConnections: 2}})
	pipes(table)
	c1, c2 := mustDial(t, table, "a"), mustDial(t, table, "a")
	_, err := table.Dial(t.Context(), "a")
	if want := `service "a" at 127.0.0.1:1 has its 2 connections; close one, or raise max_connections`; err == nil || hint.Line(err) != want {
		t.Errorf("err = %v, want %s", err, want)
	}
	_ = c1.Close()
	_ = c1.Close()
	c3 := mustDial(t, table, "a")
	if n := table.Active("a"); n != 2 {
		t.Errorf("Active = %d", n)
	}
	_ = c2.Close()
	_ = c3.Close()
}

func TestReplaceLeavesLiveConnectionsAndTheirCounts(t *testing.T) {
	table := NewTable([]Service{{Name: "a", Network: "tcp", Address: "127.0.0.1:1", MaxConnections: 5}, {Name: "b", Network: "tcp", Address: "127.0.0.1:2"}})
	far := pipes(table)
	a1, a2, b := mustDial(t, table, "a"), mustDial(t, table, "a"), mustDial(t, table, "b")

	table.Replace([]Service{{Name: "a", Network: "tcp", Address: "127.0.0.1:9", MaxConnections: 2}})
	if _, err := table.Dial(t.Context(), "a"); kindOf(err) != Full {
		t.Errorf("the old connections do not count against the new limit: %v", err)
	}
	if _, err := table.Dial(t.Context(), "b"); kindOf(err) != Unknown {
		t.Errorf("a service that is gone was dialled: %v", err)
	}
	if n := table.Active("b"); n != 1 {
		t.Errorf("Active(b) = %d after its service went", n)
	}
	go func() { _, _ = far()[2].Write([]byte("x")) }()
	if n, err := b.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("a live connection of a removed service: Read = %d, %v", n, err)
	}
	_ = a1.Close()
	a3 := mustDial(t, table, "a")

	table.Replace(nil)
	for _, c := range []net.Conn{a2, a3, b} {
		_ = c.Close()
	}
	table.Replace([]Service{{Name: "a"}, {Name: "b"}})
	if n, m := table.Active("a"), table.Active("b"); n != 0 || m != 0 {
		t.Errorf("Active = %d, %d after all were closed", n, m)
	}
}

func kindOf(err error) Kind {
	if de, ok := errors.AsType[*DialError](err); ok {
		return de.Kind
	}
	return -1
}

func TestNamesThatCannotBeDialled(t *testing.T) {
	table := NewTable([]Service{{Name: "off", Network: "unix", Address: "/run/x", Disabled: true}})
	tests := []struct {
		name string
		kind Kind
		want string
	}{
		{"nope", Unknown, `service "nope" is not configured; add it to the services, or leave it out of the tunnel`},
		{"off", Disabled, `service "off" at unix:/run/x is disabled; enable it in the configuration`},
	}
	for _, tt := range tests {
		_, err := table.Dial(t.Context(), tt.name)
		if kindOf(err) != tt.kind || hint.Line(err) != tt.want {
			t.Errorf("%s: %v: %v", tt.name, kindOf(err), err)
		}
		if n := table.Active(tt.name); n != 0 {
			t.Errorf("%s: a refused dial holds a place", tt.name)
		}
	}
}
