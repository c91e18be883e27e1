package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// often is how often a test repeats something: a few times with the others, and as often as in years with make endurance.
func often(short, long int) int {
	if os.Getenv("CULVERT_ENDURANCE") != "" {
		return long
	}
	return short
}

// usage is what a daemon holds of the system.
type usage struct{ files, threads, goroutines, memory int }

func (u usage) String() string {
	return fmt.Sprintf("%d descriptors, %d threads, %d goroutines, %.1f MB", u.files, u.threads, u.goroutines, float64(u.memory)/1e6)
}

func usageOf(t testing.TB, d *daemon) usage {
	t.Helper()
	pid := d.Cmd.Process.Pid
	// Status first: its answer needs a goroutine and a descriptor, which are gone when the command has ended.
	goroutines := d.status(t).Goroutines
	return usage{openFiles(t, pid), processFigure(t, pid, "Threads"), goroutines, residentMemory(t, pid)}
}

// Bounds of what repetition may leave behind. Descriptors and goroutines: what is still ending. Threads: Go keeps them.
const (
	leftFiles, leftThreads, leftGoroutines = 3, 6, 6
	leftMemory                             = 6 << 20
)

// leavesNothing repeats something n times and compares what the daemon holds after a tenth of it and in the end.
func leavesNothing(t *testing.T, d *daemon, n int, repeat func(i int)) {
	t.Helper()
	var before, after usage
	inProcess := 0
	for i := range n {
		repeat(i)
		if (i+1)%(n/10) != 0 {
			continue
		}
		after = usageOf(t, d)
		if before == (usage{}) {
			before, inProcess = after, runtime.NumGoroutine()
		}
		t.Logf("%7d: %v", i+1, after)
	}
	ok := poll(20*time.Second, func() bool {
		after = usageOf(t, d)
		return after.files <= before.files+leftFiles && after.threads <= before.threads+leftThreads &&
			after.goroutines <= before.goroutines+leftGoroutines && after.memory <= before.memory+leftMemory
	})
	if !ok {
		t.Errorf("after a tenth %v, in the end %v", before, after)
	}
	// This process is sandbox and operator, and in CI much else besides.
	if os.Getenv("CULVERT_ENDURANCE") != "" && !poll(20*time.Second, func() bool { return runtime.NumGoroutine() <= inProcess+20 }) {
		t.Errorf("sandbox and source have %d goroutines, %d at first", runtime.NumGoroutine(), inProcess)
	}
}

func TestRotationsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	d := startDevice(t, sandbox.Config{})
	// A source that resumes, as the operator's command does: the daemon keeps a lost connection for ten minutes else.
	r, err := d.box.Store.Rotate(d.tunnel.Tunnel.ID, "SOURCE", nil)
	if err != nil {
		t.Fatal(err)
	}
	d.source = startSourceWith(t, d.box, r.SourceToken, proxy.V3, proxy.NewResumption(proxy.DefaultResumeTimeout))
	tokens := []string{d.tunnel.DestinationToken}
	marks := []int{0}
	leavesNothing(t, d.daemon, often(50, 1000), func(i int) {
		mark := d.daemon.mark()
		token := rotate(t, d.box, d.daemon, d.tunnel, "ECHO")
		d.daemon.waitLogFrom(t, mark, "tunnel connected "+sessionOf(token), 20*time.Second)
		tokens, marks = append(tokens, token), append(marks, mark)
		// The old session notices within its first wait. A few may overlap, as with an impatient operator.
		if n := len(tokens); n > 4 {
			d.daemon.waitLogFrom(t, marks[n-5], "tunnel ended "+sessionOf(tokens[n-5]), 20*time.Second)
		}
		if i%10 == 0 {
			d.comesBack(t, 10*time.Second)
		}
	})
}

func TestConnectionsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "app.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go serveEcho(l)
	// Most go to a socket file: each connection over TCP keeps a port for a minute after its end.
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"ECHO": echoServer(t), "APP": "unix:" + path}})
	d, _ := startSubscribed(t, box)
	tunnel := openTunnel(t, box, d, "ECHO", "APP")
	source := startSource(t, box, tunnel.SourceToken, proxy.V3)
	eventually(t, 20*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })

	local, err := net.Listen("unix", filepath.Join(shortDir(t), "local.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	words := rand.NewChaCha8([32]byte{})
	word, back := make([]byte, 100), make([]byte, 100)
	leavesNothing(t, d, often(3000, 100_000), func(i int) {
		_, _ = words.Read(word)
		near, err := net.Dial("unix", local.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer near.Close()
		far, err := local.Accept()
		if err != nil {
			t.Fatal(err)
		}
		service := "APP"
		if i%20 == 0 {
			service = "ECHO"
		}
		if err := source.Open(context.Background(), service, far); err != nil {
			t.Fatal(err)
		}
		_ = near.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := near.Write(word); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		if _, err := io.ReadFull(near, back); err != nil || !bytes.Equal(word, back) {
			t.Fatalf("connection %d: came back changed, %v", i, err)
		}
	})
	for _, s := range d.status(t).Services {
		if s.Connections > 1 {
			t.Errorf("service %s still counts %d connections", s.Service, s.Connections)
		}
	}
}
