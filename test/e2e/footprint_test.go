package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/test/harness"
)

// subject is a daemon whose memory is looked at, with some tunnels from the same sandbox.
type subject struct {
	box     *sandbox.Sandbox
	daemon  *daemon
	sources []*proxy.Source
}

// startSubject runs a daemon with tunnels that have each carried a byte.
func startSubject(t testing.TB, program string, tunnels int, target string) *subject {
	t.Helper()
	if _, err := os.Stat("/proc/self/smaps_rollup"); err != nil {
		t.Skipf("memory is read from /proc: %v", err)
	}
	s := &subject{box: startSandbox(t, sandbox.Config{Services: map[string]string{"ECHO": lightEcho(t), "OTHER": target}})}
	files, err := s.box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	s.daemon = startProgram(t, program, files.ConfigFile)
	s.daemon.waitLog(t, "mqtt subscribed", 20*time.Second)
	for range tunnels {
		opened := openTunnel(t, s.box, s.daemon, "ECHO", "OTHER")
		source := startSource(t, s.box, opened.SourceToken, proxy.V3)
		eventually(t, 20*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
		s.sources = append(s.sources, source)
	}
	return s
}

func (s *subject) pid() int { return s.daemon.Cmd.Process.Pid }

// lightEcho is an echo server that can hold ten thousand connections.
func lightEcho(t testing.TB) string {
	return server(t, func(c net.Conn) {
		var b [64]byte
		for {
			n, err := c.Read(b[:])
			if err != nil {
				return
			}
			if _, err := c.Write(b[:n]); err != nil {
				return
			}
		}
	})
}

// open opens connections through all tunnels evenly, each of which carries a byte both ways. They end with the test.
func (s *subject) open(t testing.TB, count int) {
	t.Helper()
	var all sync.WaitGroup
	for _, source := range s.sources {
		all.Go(func() {
			for range count / len(s.sources) {
				near, far := net.Pipe()
				t.Cleanup(func() { _ = near.Close() })
				if err := source.Open(context.Background(), "ECHO", far); err != nil {
					t.Error(err)
					return
				}
				if err := exchangeByteWithin(near, 30*time.Second); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// BenchmarkFootprint reports what a device spends: memory of the daemon connected and idle, with one tunnel at rest and
// after that has carried something, and the size of its stripped armv6 binary. Memory is given back two seconds after a
// handshake, so each figure is taken once it rests.
func BenchmarkFootprint(b *testing.B) {
	path := stripped(b, "amd64")
	info, err := os.Stat(stripped(b, "arm"))
	if err != nil {
		b.Fatal(err)
	}
	figures := map[string]float64{"armv6-MB": float64(info.Size()) / 1e6}
	for b.Loop() {
		s := startSubject(b, path, 0, lightEcho(b))
		figures["subscribed-Pss-MB"] = settled(b, s.pid(), "Pss")
		figures["subscribed-Rss-MB"] = megabytes(memory(b, s.pid(), "Rss"))
		opened := openTunnel(b, s.box, s.daemon, "ECHO")
		s.daemon.waitLog(b, "tunnel connected", 20*time.Second)
		figures["tunnel-Pss-MB"] = settled(b, s.pid(), "Pss")
		figures["tunnel-Rss-MB"] = megabytes(memory(b, s.pid(), "Rss"))
		s.sources = append(s.sources, startSource(b, s.box, opened.SourceToken, proxy.V3))
		s.open(b, 10)
		figures["used-Pss-MB"] = settled(b, s.pid(), "Pss")
		figures["used-Rss-MB"] = megabytes(memory(b, s.pid(), "Rss"))
		figures["used-own-MB"] = settled(b, s.pid(), "Anonymous")
	}
	for name, value := range figures {
		b.ReportMetric(value, name)
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIdleConnections reports what connections cost that do nothing: a thousand of one tunnel, and as many as a
// daemon may be asked for.
func BenchmarkIdleConnections(b *testing.B) {
	path := stripped(b, "amd64")
	for _, c := range []struct{ tunnels, count int }{{1, 1000}, {8, 10_000}} {
		b.Run(fmt.Sprintf("%d-in-%d", c.count, c.tunnels), func(b *testing.B) {
			for b.Loop() {
				s := startSubject(b, path, c.tunnels, lightEcho(b))
				s.open(b, 10*c.tunnels) // so that the pages which connections need are there
				before, own := settled(b, s.pid(), "Rss"), memory(b, s.pid(), "Anonymous")
				files := openFiles(b, s.pid())
				start := time.Now()
				s.open(b, c.count)
				took := time.Since(start)
				after := settled(b, s.pid(), "Rss")
				busy := processorTime(b, s.pid())
				<-time.After(10 * time.Second)
				b.ReportMetric(float64(processorTime(b, s.pid())-busy)/float64(10*time.Second)*100, "idle-CPU-%")
				b.ReportMetric((after-before)*1e6/float64(c.count)/1024, "KiB/conn")
				b.ReportMetric(float64(memory(b, s.pid(), "Anonymous")-own)/float64(c.count), "own-KiB/conn")
				b.ReportMetric(after, "RSS-MB")
				b.ReportMetric(float64(openFiles(b, s.pid())-files)/float64(c.count), "fds/conn")
				b.ReportMetric(took.Seconds(), "open-s")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// settled is a figure of a process's memory, in MB, once it has not grown or shrunk by a twentieth for three seconds.
func settled(t testing.TB, pid int, field string) float64 {
	t.Helper()
	last, same := 0, 0
	eventually(t, 40*time.Second, "memory settles", func() bool {
		<-time.After(time.Second)
		now := memory(t, pid, field)
		if same++; now > last+last/20 || now < last-last/20 {
			last, same = now, 0
		}
		return same >= 3
	})
	return megabytes(memory(t, pid, field))
}

func megabytes(kB int) float64 { return float64(kB) * 1024 / 1e6 }

// stripped builds the daemon as it ships.
func stripped(t testing.TB, arch string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "culvertd-"+arch)
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, "github.com/culvert-iot/culvert/cmd/culvertd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOARM=6")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// memory reads a figure of a process's memory map, in kilobytes.
func memory(t testing.TB, pid int, field string) (kB int) {
	t.Helper()
	return procField(t, pid, "smaps_rollup", field)
}

// peakMemory is the most that a process ever had in memory, in MB.
func peakMemory(t testing.TB, pid int) float64 {
	t.Helper()
	return megabytes(procField(t, pid, "status", "VmHWM"))
}

func procField(t testing.TB, pid int, file, field string) int {
	t.Helper()
	n, err := harness.Figure(pid, file, field)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// processorTime is what a process has used, to a hundredth of a second.
func processorTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	used, err := harness.ProcessorTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	return used
}
