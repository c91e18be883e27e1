package e2e

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox/relay"
)

// The most memory that the daemon may use while something is stalled, in MB.
const (
	oneStalledMB  = 24
	manyStalledMB = 40
)

// gushing is a server whose connections write without end and count the bytes.
func gushing(t testing.TB, moved *atomic.Int64) string {
	return server(t, func(c net.Conn) {
		for b := make([]byte, 64<<10); ; {
			n, err := c.Write(b)
			if moved.Add(int64(n)); err != nil {
				return
			}
		}
	})
}

// deaf is a server that reads nothing until the test ends.
func deaf(t testing.TB) string {
	over := make(chan struct{})
	address := server(t, func(c net.Conn) {
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10) // or the kernel would take megabytes for it
		<-over
	})
	t.Cleanup(func() { close(over) })
	return address
}

// stallTunnel lets applications write without end while the relay lets nothing pass, and returns the daemon's peak.
func stallTunnel(t testing.TB, program string, count int) (peakMB float64) {
	t.Helper()
	var moved atomic.Int64
	s := startSubject(t, program, 1, gushing(t, &moved))
	for range count {
		c := connectTo(t, s.sources[0], "OTHER")
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		// On, or it would be this end whose targets take nothing.
		go func() { _, _ = io.Copy(io.Discard, c) }()
	}
	s.box.Relay.Faults().Set(relay.Target{}, relay.Conditions{BlackHole: true})
	defer s.box.Relay.Faults().Clear()
	last := int64(-1)
	eventually(t, 20*time.Second, "nothing moves any more", func() bool {
		<-time.After(2 * time.Second)
		now := moved.Load()
		defer func() { last = now }()
		return now == last
	})
	return peakMemory(t, s.pid())
}

// floodDeaf makes the peer write without end to targets that read nothing, and returns the daemon's peak memory.
func floodDeaf(t testing.TB, program string, count int) (peakMB float64) {
	t.Helper()
	s := startSubject(t, program, 1, deaf(t))
	var all sync.WaitGroup
	for range count {
		c := connectTo(t, s.sources[0], "OTHER")
		all.Go(func() {
			for b := make([]byte, 64<<10); ; {
				if _, err := c.Write(b); err != nil {
					return // its target takes nothing, and others wait
				}
			}
		})
		defer func() { _ = c.Close() }()
	}
	over := make(chan struct{})
	go func() { all.Wait(); close(over) }()
	select {
	case <-over:
	case <-time.After(8 * time.Second):
	}
	if err := exchangeByteWithin(connectTo(t, s.sources[0], "ECHO"), time.Minute); err != nil {
		t.Errorf("the tunnel does not live: %v", err)
	}
	return peakMemory(t, s.pid())
}

func TestMemoryStaysBoundedWhileTheTunnelStalls(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs memory of its own")
	}
	t.Parallel()
	if peak := stallTunnel(t, culvertd(t), 20); peak > manyStalledMB {
		t.Errorf("culvertd had %.1f MB in memory, more than %d", peak, manyStalledMB)
	} else {
		t.Logf("culvertd had %.1f MB in memory", peak)
	}
}

func TestMemoryStaysBoundedWhileTargetsStall(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs memory of its own")
	}
	t.Parallel()
	if peak := floodDeaf(t, culvertd(t), 100); peak > manyStalledMB {
		t.Errorf("culvertd had %.1f MB in memory, more than %d", peak, manyStalledMB)
	} else {
		t.Logf("culvertd had %.1f MB in memory", peak)
	}
}

// A generous bound: the figure of BenchmarkIdleConnections is 6 KiB, and a collection may be due.
// idleMemory is the most that the daemon may have in memory, in kilobytes, while its tunnel is at rest.
const idleMemory = 16_000_000 / 1024

func TestIdleConnectionsCostLittleMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs memory of its own")
	}
	t.Parallel()
	const count, limit = 1000, 12 << 10
	s := startSubject(t, culvertd(t), 1, lightEcho(t))
	s.open(t, 10)
	before := 0
	if !poll(20*time.Second, func() bool { before = memory(t, s.pid(), "Rss"); return before < idleMemory }) {
		t.Errorf("with a tunnel at rest the daemon has %d kB in memory, more than %d", before, idleMemory)
	}
	s.open(t, count)
	each := (memory(t, s.pid(), "Rss") - before) * 1024 / count
	if t.Logf("%d bytes each", each); each > limit {
		t.Errorf("an idle connection takes %d bytes, more than %d", each, limit)
	}
}

// BenchmarkStalled reports the most that the daemon has in memory while the tunnel stands still and applications write
// without end, or the tunnel floods targets that take nothing.
func BenchmarkStalled(b *testing.B) {
	path := stripped(b, "amd64")
	for name, run := range map[string]func() float64{
		"tunnel-1-connection":    func() float64 { return stallTunnel(b, path, 1) },
		"tunnel-100-connections": func() float64 { return stallTunnel(b, path, 100) },
		"targets-100":            func() float64 { return floodDeaf(b, path, 100) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(run(), "peak-RSS-MB")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
