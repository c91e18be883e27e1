package e2e

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// memoryGroup is a control group with a limit, as MemoryMax= of a unit makes one.
type memoryGroup struct{ dir, peak string }

func newMemoryGroup(t *testing.T, limit int) memoryGroup {
	t.Helper()
	const root = "/sys/fs/cgroup"
	parent, limitFile, peak := filepath.Join(root, "memory"), "memory.limit_in_bytes", "memory.max_usage_in_bytes" // v1
	if _, err := os.Stat(parent); err != nil {
		parent, limitFile, peak = root, "memory.max", "memory.peak" // v2
	}
	dir, err := os.MkdirTemp(parent, "culvert-e2e-")
	if err != nil {
		t.Skipf("this machine gives a test no control group of its own: %v", err)
	}
	t.Cleanup(func() {
		// Its processes have ended before; the kernel may need a moment to see it.
		poll(10*time.Second, func() bool { err := os.Remove(dir); return err == nil || errors.Is(err, os.ErrNotExist) })
	})
	if err := os.WriteFile(filepath.Join(dir, limitFile), []byte(strconv.Itoa(limit)), 0); err != nil {
		t.Skipf("this machine's control groups do not limit memory: %v", err)
	}
	return memoryGroup{dir, filepath.Join(dir, peak)}
}

// start runs culvertd inside.
func (g memoryGroup) start(t *testing.T, config string, env ...string) *daemon {
	t.Helper()
	enter := exec.Command("sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, g.dir, culvertd(t), "--config", config)
	return startCommand(t, config, enter, env...)
}

// used is the most that the group ever had, in bytes; 0 where the kernel does not tell.
func (g memoryGroup) used() int {
	text, _ := os.ReadFile(g.peak)
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}

// zeros is an endless reader that costs nothing.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// All tunnels that the daemon takes, each flooded from both ends by those who take nothing: with half of the limit that
// its unit has, and with less and a limit of the Go runtime's own. The kernel kills a process that takes more.
func TestFloodsWithinAMemoryLimit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit int
		env   []string
	}{
		"of 64 MiB":                       {64 << 20, nil},
		"of 48 MiB with GOMEMLIMIT=24MiB": {48 << 20, []string{"GOMEMLIMIT=24MiB"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			group := newMemoryGroup(t, c.limit)
			over := make(chan struct{})
			box := startSandbox(t, sandbox.Config{Services: map[string]string{
				"ECHO": echoServer(t),
				"DEAF": server(t, func(net.Conn) { <-over }),
				"GUSH": server(t, func(c net.Conn) { _, _ = io.Copy(c, zeros{}) }),
			}})
			defer close(over)
			files, err := box.Device("pi-1")
			if err != nil {
				t.Fatal(err)
			}
			d := group.start(t, files.ConfigFile, c.env...)
			d.waitLog(t, "mqtt subscribed", 20*time.Second)
			const tunnels = 8 // as many as max_tunnels allows
			var sources []*proxy.Source
			for range tunnels {
				tunnel := openTunnel(t, box, d, "ECHO", "DEAF", "GUSH")
				sources = append(sources, startSource(t, box, tunnel.SourceToken, proxy.V3))
			}
			for _, s := range sources {
				eventually(t, 20*time.Second, "every tunnel answers", func() bool { return answers(s, "ECHO", time.Second) })
			}
			live := startPulse(t, connectTo(t, sources[0], "ECHO"))
			var floods sync.WaitGroup
			for _, s := range sources[1:] {
				connectTo(t, s, "GUSH") // a client that never reads
				c := connectTo(t, s, "DEAF")
				floods.Go(func() { _, _ = io.Copy(c, zeros{}) })
				// Its target takes nothing, and no other connection waits for it: the flood ends when its program does.
				time.AfterFunc(15*time.Second, func() { _ = c.Close() })
			}
			floods.Wait()
			t.Logf("the group had %.1f MB at most, the daemon %.1f MB", float64(group.used())/1e6, float64(processFigure(t, d.Cmd.Process.Pid, "VmHWM"))/1e3)
			for i, s := range sources {
				// What is on its way when the flood ends is tens of MB a tunnel, which a busy machine takes its time for.
				if !poll(60*time.Second, func() bool { return answers(s, "ECHO", 5*time.Second) }) {
					t.Errorf("tunnel %d does not answer after the flood", i)
				}
			}
			if strings.Contains(d.log(), "tunnel lost") {
				t.Error("a tunnel was lost")
			}
			live.lived(t, "floods in seven other tunnels")
		})
	}
}

// More connections than the unit's memory holds are asked for, in all tunnels that there may be: the daemon takes what
// fits, refuses the others, and lives.
func TestAllConnectionsWithinTheUnitsMemory(t *testing.T) {
	t.Parallel()
	group := newMemoryGroup(t, 128<<20) // MemoryMax of configs/culvertd.service
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"ECHO": echoServer(t)}})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	d := group.start(t, files.ConfigFile)
	d.waitLog(t, "mqtt subscribed", 20*time.Second)
	const tunnels, each = 8, 250
	limit := d.status(t).Limits.MaxConnections
	if limit < tunnels*100 || limit >= tunnels*each {
		t.Fatalf("the daemon allows %d connections", limit)
	}
	var opened, refused atomic.Int64
	var all sync.WaitGroup
	var sources []*proxy.Source
	for range tunnels {
		tunnel := openTunnel(t, box, d, "ECHO")
		sources = append(sources, startSource(t, box, tunnel.SourceToken, proxy.V3))
	}
	for _, s := range sources {
		eventually(t, 20*time.Second, "every tunnel answers", func() bool { return answers(s, "ECHO", time.Second) })
	}
	live := startPulse(t, connectTo(t, sources[0], "ECHO"))
	for _, s := range sources {
		for range each {
			c := connectTo(t, s, "ECHO")
			all.Go(func() {
				if err := exchangeByte(c); err != nil {
					refused.Add(1)
				} else {
					opened.Add(1)
				}
			})
		}
	}
	all.Wait()
	t.Logf("%d opened, %d refused, %d allowed; the group had %.1f MB at most, the daemon %.1f MB", opened.Load(), refused.Load(), limit,
		float64(group.used())/1e6, float64(processFigure(t, d.Cmd.Process.Pid, "VmHWM"))/1e3)
	// The limit, and the 16 that each tunnel may have in any case; a few may still be ending.
	if n := int(opened.Load()); n < limit*9/10 || n > limit+tunnels*16 {
		t.Errorf("%d connections were opened", n)
	}
	if refused.Load() == 0 {
		t.Error("none was refused")
	}
	live.lived(t, "more connections than there is memory for")
}
