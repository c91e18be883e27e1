package e2e

import (
	"testing"
	"time"
)

// BenchmarkLook measures the cost of asking AWS IoT first whether a device is connected, when it is: culvert connect
// with and without --no-look, in turn, from the start to the service's first byte. Each run opens a tunnel and closes
// it. One round has five pairs.
func BenchmarkLook(b *testing.B) {
	o, _, _ := startSSHSite(b)
	run := func(more ...string) time.Duration {
		return firstByte(b, o.culvert(b, append(append([]string{"connect", "--quiet", "--stdio"}, more...), "pi-1", "SSH")...))
	}
	looking := func() time.Duration { return run() }
	blind := func() time.Duration { return run("--no-look") }
	looking() // the first one also fills the cache of endpoints
	blind()
	var with, without, more []float64
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	for b.Loop() {
		for i := range 5 {
			var l, n time.Duration
			if i%2 == 0 {
				l, n = looking(), blind()
			} else {
				n, l = blind(), looking()
			}
			with, without, more = append(with, milliseconds(l)), append(without, milliseconds(n)), append(more, milliseconds(l-n))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(with), "look-ms")
	b.ReportMetric(median(without), "no-look-ms")
	b.ReportMetric(median(more), "more-ms")
}
