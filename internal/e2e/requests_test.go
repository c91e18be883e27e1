package e2e

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
)

// BenchmarkShortRequest makes short requests one after the other through two culvert proxy processes and the
// sandbox: a new connection each, 100 bytes there, 10 kB back, and its end. Run it with -benchtime 500x.
func BenchmarkShortRequest(b *testing.B) {
	const requestSize, answerSize = 100, 10_000
	answer := make([]byte, answerSize)
	target := server(b, func(c net.Conn) {
		if _, err := io.ReadFull(c, make([]byte, requestSize)); err == nil {
			_, _ = c.Write(answer)
		}
	})
	box := startSandbox(b, sandbox.Config{Relay: relay.Config{Cutting: relay.Straight}})
	tunnel := tunnelFor(b, box, "WEB")
	startProxy(b, box, tunnel.DestinationToken, "-d", "WEB="+target).connected(b)
	port := startProxy(b, box, tunnel.SourceToken, "-s", "WEB=0").port(b)
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Write(answer[:requestSize]); err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, c); err != nil || n != answerSize {
			b.Fatalf("%d bytes came back, %v", n, err)
		}
		_ = c.Close()
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
