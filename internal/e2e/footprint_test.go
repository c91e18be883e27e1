package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// BenchmarkFootprint reports what a device spends: memory of the daemon connected and idle, with one tunnel,
// and with 100 open connections, and the size of its stripped armv6 binary.
func BenchmarkFootprint(b *testing.B) {
	if _, err := os.Stat("/proc/self/smaps_rollup"); err != nil {
		b.Skipf("memory is read from /proc: %v", err)
	}
	path := stripped(b, "amd64")
	info, err := os.Stat(stripped(b, "arm"))
	if err != nil {
		b.Fatal(err)
	}
	figures := map[string]float64{"armv6-MB": float64(info.Size()) / 1e6}
	for b.Loop() {
		box := startSandbox(b, sandbox.Config{Services: map[string]string{"ECHO": echoServer(b)}})
		files, err := box.Device("pi-1")
		if err != nil {
			b.Fatal(err)
		}
		d := startProgram(b, path, files.ConfigFile)
		d.waitLog(b, "mqtt subscribed", 20*time.Second)
		figures["idle-RSS-MB"] = settledRSS(b, d)
		tunnel := openTunnel(b, box, d, "ECHO")
		source := startSource(b, box, tunnel.SourceToken, proxy.V3)
		eventually(b, 5*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
		figures["tunnel-RSS-MB"] = settledRSS(b, d)
		for range 100 {
			if err := exchangeByte(connectTo(b, source, "ECHO")); err != nil {
				b.Fatal(err)
			}
		}
		figures["100-conns-RSS-MB"] = settledRSS(b, d)
	}
	for name, value := range figures {
		b.ReportMetric(value, name)
	}
	b.ReportMetric(0, "ns/op")
}

// settledRSS is what the daemon has in memory, in MB, once two readings a second apart agree.
func settledRSS(b *testing.B, d *daemon) float64 {
	b.Helper()
	last := 0
	eventually(b, 20*time.Second, "memory settles", func() bool {
		<-time.After(time.Second)
		now := memory(b, d.cmd.Process.Pid, "Rss:")
		defer func() { last = now }()
		return now == last
	})
	return float64(last) / 1e3
}

// stripped builds the daemon as it ships.
func stripped(t testing.TB, arch string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "culvertd-"+arch)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "github.com/culvert-iot/culvert/cmd/culvertd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOARM=6")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// memory reads a figure of a process's memory map, in kilobytes.
func memory(t testing.TB, pid int, field string) (kB int) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), field); ok {
			if _, err := fmt.Sscan(rest, &kB); err != nil {
				t.Fatal(err)
			}
			return kB
		}
	}
	t.Fatalf("no field %s", field)
	return 0
}
