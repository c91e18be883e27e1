package e2e

import (
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
)

// BenchmarkResumption moves 64 MiB through two daemons in turn: one whose connections can be resumed, and one that
// speaks plain V3, as with a foreign peer, since its relay drops what the agreement needs. Processor time is the
// daemon's. up is from the operator to the device.
func BenchmarkResumption(b *testing.B) {
	path, target := stripped(b, "amd64"), bulkServer(b)
	start := func(b *testing.B, resumes bool) *subject {
		s := &subject{box: startSandbox(b, sandbox.Config{
			Services: map[string]string{"BULK": target},
			Relay:    relay.Config{Cutting: relay.Straight, DropsEmptyData: !resumes},
		})}
		files, err := s.box.Device("pi-1")
		if err != nil {
			b.Fatal(err)
		}
		s.daemon = startProgram(b, path, files.ConfigFile)
		s.daemon.waitLog(b, "mqtt subscribed", 20*time.Second)
		opened := openTunnel(b, s.box, s.daemon, "BULK")
		resume := proxy.NewResumption(proxy.DefaultResumeTimeout)
		b.Cleanup(resume.Close)
		s.sources = append(s.sources, startSourceWith(b, s.box, opened.SourceToken, proxy.V3, resume))
		return s
	}
	for name, direction := range map[string]byte{"up": 'u', "down": 'd'} {
		b.Run(name, func(b *testing.B) {
			both := map[bool]*subject{true: start(b, true), false: start(b, false)}
			rates, cpu := map[bool][]float64{}, map[bool][]float64{}
			var rateRatios, cpuRatios []float64
			measure := func(resumes bool) (rate, used float64) {
				s := both[resumes]
				c := connectTo(b, s.sources[0], "BULK")
				defer c.Close()
				bulk(b, c, direction, bulkSize/8) // buffers and windows grow to their size
				before := processorTime(b, s.pid())
				took := bulk(b, c, direction, bulkSize*2)
				rate, used = 2*bulkSize/took.Seconds()/1e6, (processorTime(b, s.pid())-before).Seconds()*1e3
				rates[resumes], cpu[resumes] = append(rates[resumes], rate), append(cpu[resumes], used)
				return rate, used
			}
			for turn := 0; b.Loop(); turn++ {
				first := turn%2 == 0
				r1, c1 := measure(first)
				r2, c2 := measure(!first)
				if !first {
					r1, c1, r2, c2 = r2, c2, r1, c1
				}
				rateRatios, cpuRatios = append(rateRatios, r1/r2), append(cpuRatios, c1/c2)
			}
			b.ReportMetric(median(rates[true]), "resumable-MB/s")
			b.ReportMetric(median(rates[false]), "plain-MB/s")
			b.ReportMetric(median(rateRatios), "rate-ratio")
			b.ReportMetric(median(cpuRatios), "CPU-ratio")
			b.ReportMetric(median(cpu[true])/2/bulkSize*1e9/1e3, "resumable-CPU-s/GB")
			b.ReportMetric(median(cpu[false])/2/bulkSize*1e9/1e3, "plain-CPU-s/GB")
			b.ReportMetric(0, "ns/op")
		})
	}
}
