package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
)

// BenchmarkStart reports how long the daemon takes from its start to the subscription, on loopback: TLS with a client
// certificate, CONNECT and SUBSCRIBE.
func BenchmarkStart(b *testing.B) {
	path := stripped(b, "amd64")
	box := startSandbox(b, sandbox.Config{})
	files, err := box.Device("pi-1")
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		d := startProgram(b, path, files.ConfigFile)
		d.waitLog(b, "mqtt subscribed", 20*time.Second)
		took = append(took, time.Since(start))
		d.stop(b)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "most-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIdle reports what the daemon spends while nothing happens, for CULVERT_MINUTES (1): the part of a core, and
// how often a thread of it woke up, subscribed alone and with an unused tunnel. The cost of getting there is not
// counted.
func BenchmarkIdle(b *testing.B) {
	minutes, err := strconv.Atoi(os.Getenv("CULVERT_MINUTES"))
	if err != nil {
		minutes = 1
	}
	length := time.Duration(minutes) * time.Minute
	path := stripped(b, "amd64")
	for b.Loop() {
		alone, tunnel := startSubject(b, path, 0, lightEcho(b)), startSubject(b, path, 1, lightEcho(b))
		<-time.After(10 * time.Second) // memory is given back, then it is quiet
		subjects := map[string]*subject{"subscribed": alone, "tunnel": tunnel}
		busy, woken := map[string]time.Duration{}, map[string]int{}
		for name, s := range subjects {
			busy[name], woken[name] = ran(b, s.pid()), wakeUps(b, s.pid())
		}
		<-time.After(length)
		for name, s := range subjects {
			b.ReportMetric(100*float64(ran(b, s.pid())-busy[name])/float64(length), name+"-CPU-%")
			b.ReportMetric(float64(wakeUps(b, s.pid())-woken[name])/length.Minutes(), name+"-wakeups/min")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// ran is the processor time of all threads, to the nanosecond (proc(5), schedstat), and wakeUps how often one of them
// had gone to sleep of itself. Go's threads stay: none of them takes its figures with it.
func ran(t testing.TB, pid int) (sum time.Duration) {
	t.Helper()
	for _, dir := range threads(t, pid) {
		data, err := os.ReadFile(filepath.Join(dir, "schedstat"))
		if err != nil {
			t.Fatal(err)
		}
		var ns int64
		if _, err := fmt.Sscan(string(data), &ns); err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(ns)
	}
	return sum
}

func wakeUps(t testing.TB, pid int) (sum int) {
	t.Helper()
	for _, dir := range threads(t, pid) {
		sum += procField(t, pid, filepath.Join("task", filepath.Base(dir), "status"), "voluntary_ctxt_switches")
	}
	return sum
}

func threads(t testing.TB, pid int) []string {
	t.Helper()
	dirs, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no threads of %d: %v", pid, err)
	}
	return dirs
}
