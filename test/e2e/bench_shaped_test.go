package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

const (
	// tunnelCap is what AWS allows a tunnel, in bytes a second, both directions together.
	tunnelCap = 800_000
	// keystrokes are sent at this interval, however slow their echo is.
	keystrokes = 20 * time.Millisecond
)

// newShapedChain is a chain with an ECHO and a BULK service whose device is rtt away from the relay, and whose tunnel
// carries rate bytes a second; 0 is no limit.
func newShapedChain(b *testing.B, rtt time.Duration, rate int) *chain {
	b.Helper()
	echo, target := echoServer(b), bulkServer(b)
	c := newChain(b, proxy.V3, relay.Straight, []string{"ECHO", "BULK"}, func(ctx context.Context, service string) (net.Conn, error) {
		if service == "BULK" {
			return dialTo(target)(ctx, service)
		}
		return dialTo(echo)(ctx, service)
	})
	if rate > 0 {
		c.relay.Faults().Set(relay.Target{}, relay.Conditions{RateLimit: rate, RateShared: true})
	}
	if rtt > 0 {
		c.relay.Faults().Set(relay.Target{Side: tunnels.Destination}, relay.Conditions{Delay: rtt / 2})
	}
	return c
}

// typing sends n bytes to an echo server, each at its time, and returns how long after that time each was back: an
// open loop, so that a slow moment counts for every byte that it meets.
func typing(b *testing.B, c net.Conn, n int) []time.Duration {
	b.Helper()
	took := make([]time.Duration, n)
	start := time.Now().Add(keystrokes)
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range n {
			<-time.After(time.Until(start.Add(time.Duration(i) * keystrokes)))
			if _, err := c.Write([]byte{byte(i)}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	var back [1]byte
	for i := range n {
		if _, err := io.ReadFull(c, back[:]); err != nil || back[0] != byte(i) {
			b.Fatalf("byte %d: %v, %v", i, back, err)
		}
		took[i] = time.Since(start.Add(time.Duration(i) * keystrokes))
	}
	writer.Wait()
	slices.Sort(took)
	return took
}

// BenchmarkTyping measures the echo of single bytes beside 1 and 8 connections that send without end, on a path of
// 20 ms at AWS's limit, and on the bare loopback. up is from the operator to the device. Run it with -benchtime 500x.
func BenchmarkTyping(b *testing.B) {
	for _, path := range []struct {
		name string
		rtt  time.Duration
		rate int
	}{{"20ms-800kBps", 20 * time.Millisecond, tunnelCap}, {"loopback", 0, 0}} {
		for _, direction := range []string{"up", "down"} {
			for _, count := range []int{1, 8} {
				b.Run(fmt.Sprintf("%s/%s/beside-%d", path.name, direction, count), func(b *testing.B) {
					c := newShapedChain(b, path.rtt, path.rate)
					echo := c.open(b, "ECHO")
					defer echo.Close()
					idle := typing(b, echo, 50)
					var busy sync.WaitGroup
					defer busy.Wait()
					var moved atomic.Int64
					for range count {
						beside := c.open(b, "BULK")
						busy.Go(func() { endless(beside, direction[0], &moved) })
						defer beside.Close()
					}
					typing(b, echo, 100) // the start is not what a user lives with
					before, began := moved.Load(), time.Now()
					b.ResetTimer()
					took := typing(b, echo, b.N)
					ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
					b.ReportMetric(ms(idle[len(idle)/2]), "idle-ms")
					b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
					b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
					b.ReportMetric(ms(took[len(took)-1]), "max-ms")
					b.ReportMetric(float64(moved.Load()-before)/time.Since(began).Seconds()/1e6, "bulk-MB/s")
				})
			}
		}
	}
}

// BenchmarkCapped moves 8 MB alone, through a tunnel at AWS's limit, and reports which part of the limit that was.
func BenchmarkCapped(b *testing.B) {
	for _, rtt := range []time.Duration{20 * time.Millisecond, 80 * time.Millisecond, 200 * time.Millisecond} {
		for _, direction := range []string{"up", "down"} {
			b.Run(fmt.Sprintf("%v/%s", rtt, direction), func(b *testing.B) {
				c := newShapedChain(b, rtt, tunnelCap)
				conn := c.open(b, "BULK")
				defer conn.Close()
				bulk(b, conn, direction[0], 2*tunnelCap)
				const size = 10 * tunnelCap
				var shares []float64
				for b.Loop() {
					shares = append(shares, size/tunnelCap/bulk(b, conn, direction[0], size).Seconds()*100)
				}
				b.ReportMetric(median(shares), "%-of-cap")
			})
		}
	}
}
