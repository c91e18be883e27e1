package e2e

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
)

const requestSize, answerSize = 100, 10_000

// newSite runs a server of short answers behind two culvert proxy processes and the sandbox, and returns the port that
// leads to it.
func newSite(b *testing.B) (port string) {
	answer := make([]byte, answerSize)
	target := server(b, func(c net.Conn) {
		if _, err := io.ReadFull(c, make([]byte, requestSize)); err == nil {
			_, _ = c.Write(answer)
		}
	})
	box := startSandbox(b, sandbox.Config{Relay: relay.Config{Cutting: relay.Straight}})
	tunnel := tunnelFor(b, box, "WEB")
	startProxy(b, box, tunnel.DestinationToken, "-d", "WEB="+target).connected(b)
	return startProxy(b, box, tunnel.SourceToken, "-s", "WEB=0").port(b)
}

// request makes one request on a connection of its own, and returns how long it took to the answer's end.
func request(port string) (time.Duration, error) {
	start := time.Now()
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(start.Add(10 * time.Second))
	if _, err := c.Write(make([]byte, requestSize)); err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, c)
	if err == nil && n != answerSize {
		err = fmt.Errorf("%d bytes came back", n)
	}
	return time.Since(start), err
}

func reportTimes(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkShortRequest makes short requests one after the other: a new connection each, 100 bytes there, 10 kB back,
// and its end. Run it with -benchtime 500x.
func BenchmarkShortRequest(b *testing.B) {
	port := newSite(b)
	var took []time.Duration
	for b.Loop() {
		t, err := request(port)
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, t)
	}
	reportTimes(b, took)
}

// BenchmarkPage makes forty such requests at once, as a browser does for a page, again and again. None may fail. Run it
// with -benchtime 20x.
func BenchmarkPage(b *testing.B) {
	const parts = 40
	port := newSite(b)
	var took []time.Duration
	for b.Loop() {
		var all sync.WaitGroup
		round := make([]time.Duration, parts)
		for i := range parts {
			all.Go(func() {
				t, err := request(port)
				if err != nil {
					b.Errorf("request: %v", err)
				}
				round[i] = t
			})
		}
		all.Wait()
		took = append(took, round...)
	}
	reportTimes(b, took)
}
