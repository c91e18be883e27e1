package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// BenchmarkResumption moves 512 MiB through two daemons in turn: one whose connections can be resumed, and one that
// speaks plain V3, as with a foreign peer, since its relay drops the empty DATA that the agreement needs. Processor
// time is the daemon's. up is from the operator to the device.
//
// Each round starts the daemon and the relay anew, because two processes of the same program differ by up to a quarter
// and keep their speed as long as they run.
func BenchmarkResumption(b *testing.B) {
	const size = 8 * bulkSize
	path, target := stripped(b, "amd64"), bulkServer(b)
	start := func(b testing.TB, resumes bool) *subject {
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
		s.daemon.waitLog(b, "tunnel connected", 20*time.Second)
		resume := proxy.NewResumption(proxy.DefaultResumeTimeout)
		b.Cleanup(resume.Close)
		s.sources = append(s.sources, startSourceWith(b, s.box, opened.SourceToken, proxy.V3, resume))
		return s
	}
	for name, direction := range map[string]byte{"up": 'u', "down": 'd'} {
		b.Run(name, func(b *testing.B) {
			rates, cpu := map[bool][]float64{}, map[bool][]float64{}
			var rateRatios, cpuRatios []float64
			measure := func(resumes bool) (rate, used float64) {
				scope := &scope{TB: b}
				defer scope.end()
				s := start(scope, resumes)
				c := connectTo(scope, s.sources[0], "BULK")
				defer c.Close()
				bulk(b, c, direction, bulkSize) // buffers and windows grow to their size
				before := ran(b, s.pid())
				took := bulk(b, c, direction, size)
				rate, used = size/took.Seconds()/1e6, (ran(b, s.pid()) - before).Seconds()
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
			b.ReportMetric(median(cpu[true])/size*1e9, "resumable-CPU-s/GB")
			b.ReportMetric(median(cpu[false])/size*1e9, "plain-CPU-s/GB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// scope is a part of a benchmark that ends before it: what it started ends with it.
type scope struct {
	testing.TB
	ends []func()
}

func (s *scope) Cleanup(f func()) { s.ends = append(s.ends, f) }

func (s *scope) end() {
	for _, f := range slices.Backward(s.ends) {
		f()
	}
}

// BenchmarkPause cuts a link under an application that exchanges bytes without end, through culvert connect and
// culvertd, and reports the longest silence that the application sees. It cuts the sides in turn.
func BenchmarkPause(b *testing.B) {
	for _, c := range []struct{ rtt, every time.Duration }{{0, 11 * time.Second}, {0, 2 * time.Second}, {100 * time.Millisecond, 11 * time.Second}} {
		b.Run(fmt.Sprintf("path-of-%v/every-%v", c.rtt, c.every), func(b *testing.B) { benchmarkPause(b, c.rtt, c.every) })
	}
}

func benchmarkPause(b *testing.B, rtt, every time.Duration) {
	box := startSandbox(b, sandbox.Config{Services: map[string]string{"ECHO": echoServer(b)}})
	files, err := box.Device("pi-1")
	if err != nil {
		b.Fatal(err)
	}
	startProgram(b, stripped(b, "amd64"), files.ConfigFile).waitLog(b, "mqtt subscribed", 20*time.Second)
	box.Relay.Faults().Set(relay.Target{Side: tunnels.Destination}, relay.Conditions{Delay: rtt / 2})
	_, address, _ := newOperatorSite(b, box).startConnect(b, "pi-1", "ECHO")
	c, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var word [1]byte
	exchange := func(length time.Duration) (longest time.Duration) {
		for end := time.Now().Add(length); time.Now().Before(end); {
			began := time.Now()
			if _, err := c.Write(word[:]); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, word[:]); err != nil {
				b.Fatal(err)
			}
			longest = max(longest, time.Since(began))
		}
		return longest
	}
	exchange(every)
	var pauses []time.Duration
	for turn := 0; b.Loop(); turn++ {
		side := []tunnels.Mode{tunnels.Source, tunnels.Destination}[turn%2]
		if box.Relay.Faults().Cut(relay.Target{Side: side}) == 0 {
			b.Fatal("the cut met no connection")
		}
		pauses = append(pauses, exchange(every))
	}
	slices.Sort(pauses)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	b.ReportMetric(ms(pauses[len(pauses)/2]), "p50-ms")
	b.ReportMetric(ms(pauses[len(pauses)*99/100]), "p99-ms")
	b.ReportMetric(ms(pauses[len(pauses)-1]), "max-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkDetached reports the most memory that the daemon has while 64 connections whose targets send without end wait
// for a websocket, and its peak until then.
func BenchmarkDetached(b *testing.B) {
	const connections = 64
	var detached, peak float64
	for b.Loop() {
		s := &subject{box: startSandbox(b, sandbox.Config{Services: map[string]string{"BULK": bulkServer(b)}})}
		files, err := s.box.Device("pi-1")
		if err != nil {
			b.Fatal(err)
		}
		s.daemon = startProgram(b, stripped(b, "amd64"), files.ConfigFile)
		s.daemon.waitLog(b, "mqtt subscribed", 20*time.Second)
		opened := openTunnel(b, s.box, s.daemon, "BULK")
		s.daemon.waitLog(b, "tunnel connected", 20*time.Second)
		resume := proxy.NewResumption(proxy.DefaultResumeTimeout)
		b.Cleanup(resume.Close)
		source := startSourceWith(b, s.box, opened.SourceToken, proxy.V3, resume)
		for range connections {
			c := connectTo(b, source, "BULK")
			if _, err := c.Write(binary.BigEndian.AppendUint64([]byte{'d'}, 1<<40)); err != nil {
				b.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
		<-time.After(2 * time.Second) // windows grow to their size
		s.box.Relay.Faults().Refuse(relay.Target{Side: tunnels.Destination}, relay.Refusal{Count: 1 << 20})
		s.box.Relay.Faults().Cut(relay.Target{Side: tunnels.Destination})
		eventually(b, 20*time.Second, "all are detached", func() bool {
			return s.daemon.status(b).Detached.Connections == connections
		})
		detached = max(detached, settled(b, s.pid(), "Rss"))
		peak = max(peak, peakMemory(b, s.pid()))
		s.box.Relay.Faults().Refuse(relay.Target{}, relay.Refusal{})
	}
	b.ReportMetric(detached, "detached-Rss-MB")
	b.ReportMetric(peak, "peak-Rss-MB")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkStalledBeside measures typing on one connection while the application of another takes nothing, for
// CULVERT_STALL (default 20s; 10m for the figure in the documents), and alone before. down: the operator's
// application stalls; up: the device's.
func BenchmarkStalledBeside(b *testing.B) {
	length := 20 * time.Second
	if text := os.Getenv("CULVERT_STALL"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			b.Fatal(err)
		}
	}
	for _, up := range []bool{true, false} {
		b.Run(map[bool]string{true: "up", false: "down"}[up], func(b *testing.B) {
			for b.Loop() {
				silent := deaf(b)
				s := startSubject(b, stripped(b, "amd64"), 0, silent)
				opened := openTunnel(b, s.box, s.daemon, "ECHO", "OTHER")
				s.daemon.waitLog(b, "tunnel connected", 20*time.Second)
				resume := proxy.NewResumption(proxy.DefaultResumeTimeout)
				b.Cleanup(resume.Close)
				source := startSourceWith(b, s.box, opened.SourceToken, proxy.V3, resume)
				typist := connectTo(b, source, "ECHO")
				count := int(length / keystrokes)
				alone := typing(b, typist, count/2)
				stalled := connectTo(b, source, map[bool]string{true: "OTHER", false: "ECHO"}[up])
				ended := make(chan error, 1)
				go func() { // it writes without end; an echo that the client does not read stalls the other direction
					buf := make([]byte, 64<<10)
					for {
						if _, err := stalled.Write(buf); err != nil {
							ended <- err
							return
						}
					}
				}()
				before := settled(b, s.pid(), "Rss")
				took := typing(b, typist, count)
				select {
				case err := <-ended:
					b.Errorf("the stalled connection ended: %v", err)
				default:
				}
				lonely := alone[len(alone)*99/100]
				b.ReportMetric(float64(lonely.Microseconds())/1e3, "alone-p99-ms")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "beside-p99-ms")
				b.ReportMetric(before, "before-Rss-MB")
				b.ReportMetric(settled(b, s.pid(), "Rss"), "after-Rss-MB")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
