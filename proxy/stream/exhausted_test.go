package stream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// raws is a daemon's tunnels to sources that write their records by hand.
type raws struct {
	t        *testing.T
	registry *resume.Registry
	budget   *Budget
	log      logLines
	deaf     bool // targets take nothing
}

func newRaws(t *testing.T, connections int) *raws {
	t.Helper()
	return &raws{
		t: t, registry: resume.NewRegistry(resume.DefaultWindow, resume.NewMemory(resume.DefaultMemory)),
		budget: NewBudget(BudgetConfig{Connections: connections}),
	}
}

// tunnel adds a tunnel. cut ends its websocket.
func (r *raws) tunnel() (h *rawRecords, m *mux, cut func()) {
	near, far := newPair()
	d := NewDestination(DestinationConfig{
		Config: Config{Transport: near, Resume: r.registry, Budget: r.budget, Logger: slog.New(&r.log)},
		Dial: func(context.Context, string) (net.Conn, error) {
			target, reads, _ := newOneWay()
			if !r.deaf {
				go func() { _, _ = io.Copy(io.Discard, reads) }()
			}
			return target, nil
		},
		DefaultService: func([]string) (string, error) { return "", errors.New("unused") },
	})
	served := make(chan struct{})
	go func() { defer close(served); _ = d.Serve() }()
	go func() { _, _ = io.Copy(io.Discard, far) }()
	return &rawRecords{t: r.t, stream: offeringID(true), far: far}, d.mux, func() {
		_ = far.Close(closeNormal, "")
		<-served
	}
}

// open opens n connections, with bytes for their targets, a multiple of 32 KiB.
func (r *raws) open(h *rawRecords, first byte, n int, bytes int) {
	r.registry.Lock()
	at := r.registry.Address()
	r.registry.Unlock()
	const size = 32 << 10
	piece := record(resume.Record{Type: resume.Bytes, Data: make([]byte, size)})
	for range n {
		conn := h.start()
		h.send(conn, record(resume.Record{Type: resume.Open, At: at, ID: resume.ID{first, byte(conn), byte(conn >> 8)}, Limit: resume.InitialCredit}))
		for range bytes / size {
			h.send(conn, piece)
		}
	}
	synctest.Wait()
}

// count is how many connections of a tunnel there are, attached or not.
func (r *raws) count(first byte) (n int) {
	r.registry.Lock()
	defer r.registry.Unlock()
	r.registry.All(func(w resume.Conn) {
		if c, ok := w.(*connection); ok && c.res.ID()[0] == first {
			n++
		}
	})
	return n
}

func (r *raws) end() {
	stop(r.registry)
	synctest.Wait()
	if n := r.budget.connections; n != 0 {
		r.t.Errorf("%d connections are counted after the end", n)
	}
	if n := r.registry.Memory.Used(); n != 0 {
		r.t.Errorf("%d bytes are kept after the end", n)
	}
}

// Connections that wait for a websocket have a place in the process, as their sockets and what waits in them have.
func TestConnectionsThatWaitCountInTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRaws(t, 100)
		few, _, cutFew := r.tunnel()
		r.open(few, 1, 10, 0)
		cutFew()
		many, _, cutMany := r.tunnel()
		r.open(many, 2, 200, 0)
		if n := r.count(1); n != 10 {
			t.Errorf("a tunnel that has more itself took the places of %d of 10 connections", 10-n)
		}
		if n := r.count(2); n != 90 {
			t.Errorf("%d connections beside 10 that wait, want 90", n)
		}
		cutMany()
		next, _, cutNext := r.tunnel()
		r.open(next, 3, 30, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		if n := r.count(3); n != 30 {
			t.Errorf("a new tunnel has %d connections beside 90 that wait, want 30", n)
		}
		if n, all := r.count(2), r.budget.connections; n > 90-14 || all > 100+connectionReserve {
			t.Errorf("%d that waited are left, and %d in all", n, all)
		}
		if n := r.count(1); n != 10 {
			t.Errorf("%d of the 10 are left, though others had more", n)
		}
		// All that are left come back, whatever the limit says: they have their places.
		back, m, cutBack := r.tunnel()
		for i := range 10 {
			back.send(back.start(), record(resume.Record{Type: resume.Resume, ID: resume.ID{1, byte(i + 1)}, Limit: resume.InitialCredit}))
		}
		synctest.Wait()
		m.mu.Lock()
		if n := len(m.conns); n != 10 {
			t.Errorf("%d of 10 connections were resumed", n)
		}
		m.mu.Unlock()
		cutNext()
		cutBack()
		r.end()
	})
}

// What was granted to connections whose targets take nothing has an end: the tunnel that holds most gives way, and no other.
func TestTheMemoryForStalledTargetsHasAnEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRaws(t, 4000)
		r.deaf = true
		honest, _, cutHonest := r.tunnel()
		r.open(honest, 1, 20, resume.InitialCredit)
		time.Sleep(time.Second)
		hostile, _, cutHostile := r.tunnel()
		r.open(hostile, 2, 1000, resume.InitialCredit)
		third, _, cutThird := r.tunnel()
		r.open(third, 3, 20, resume.InitialCredit)
		if n, most := r.registry.Memory.Used(), r.registry.Memory.Most(); n > most+2*largeChunk {
			t.Errorf("%d bytes are kept, the limit is %d", n, most)
		}
		if a, b := r.count(1), r.count(3); a != 20 || b != 20 {
			t.Errorf("of 20 connections of others %d and %d are left", a, b)
		}
		lines := 0
		for _, line := range r.log.all() {
			if strings.Contains(line, "memory for those is used up") {
				lines++
			}
		}
		if lines != 1 {
			t.Errorf("%d lines of the log say so: %q", lines, r.log.all())
		}
		for _, cut := range []func(){cutHonest, cutHostile, cutThird} {
			cut()
		}
		r.end()
	})
}

// A connection whose target takes all does not give way for those whose targets take nothing, though it is the oldest.
func TestAHealthyConnectionDoesNotGiveWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRaws(t, 4000)
		h, _, cut := r.tunnel()
		r.open(h, 1, 1, 0)
		healthy := h.conn
		r.deaf = true
		time.Sleep(time.Second)
		r.open(h, 2, 1000, resume.InitialCredit)
		h.send(healthy, record(resume.Record{Type: resume.Bytes, Data: make([]byte, 3<<10)}))
		synctest.Wait()
		if r.count(1) != 1 {
			t.Error("the healthy connection is gone")
		}
		cut()
		r.end()
	})
}
