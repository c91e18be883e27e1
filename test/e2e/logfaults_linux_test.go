package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// A device's log may be unattended for years: the disk fills, the reader dies or hangs. Tunnels must be unaffected.
func TestALogWithoutAReader(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *os.File{
		"because its disk is full": func(t *testing.T) *os.File {
			f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Skip(err)
			}
			return f
		},
		"because its reader is gone": func(t *testing.T) *os.File {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
			return w
		},
		"because its reader hangs": func(t *testing.T) *os.File {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = r.Close() })
			if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
				t.Fatal(err)
			}
			return w
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			box := startSandbox(t, sandbox.Config{Services: map[string]string{"ECHO": echoServer(t)}})
			files, err := box.Device("pi-1")
			if err != nil {
				t.Fatal(err)
			}
			log := open(t)
			defer log.Close()
			cmd := exec.Command(culvertd(t), "--config", files.ConfigFile)
			cmd.Stderr = log
			d := startCommand(t, files.ConfigFile, cmd)
			eventually(t, 20*time.Second, "the daemon has subscribed", func() bool {
				out, err := d.run(t, "", "status", "--json")
				return err == nil && strings.Contains(out, `"`+string(agent.Subscribed)+`"`)
			})
			tunnel := openTunnel(t, box, d, "ECHO")
			source := startSource(t, box, tunnel.SourceToken, proxy.V3)
			eventually(t, 20*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
			// More lines than the pipe and the daemon's own queue hold.
			for i := range 400 {
				if !answers(source, "ECHO", 10*time.Second) {
					t.Fatalf("connection %d does not work", i)
				}
			}
			d.stop(t)
		})
	}
}

// Where the socket cannot be made, the daemon does without it.
func TestAFullDiskWhereTheControlSocketShouldBe(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"ECHO": echoServer(t)}})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	// One inode, which the root directory has.
	full := filepath.Join(shortDir(t), "run")
	if err := os.Mkdir(full, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", full, "tmpfs", 0, "size=4k,nr_inodes=1"); err != nil {
		t.Skipf("this machine lets a test mount nothing: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(full, unix.MNT_DETACH) })
	text, err := os.ReadFile(files.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	old := ""
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "socket") {
			old = line
		}
	}
	d := startDaemon(t, configWith(t, files.ConfigFile, old, `socket = "`+filepath.Join(full, "culvertd.sock")+`"`+"\n"))
	line := d.waitLog(t, "control socket cannot be made, status and notify will not work", 20*time.Second)
	if !strings.Contains(line, "no space left on device; free some space") || !strings.Contains(line, full) {
		t.Errorf("the remedy is missing: %s", line)
	}
	d.waitLog(t, "mqtt subscribed", 20*time.Second)
	tunnel := openTunnel(t, box, d, "ECHO")
	source := startSource(t, box, tunnel.SourceToken, proxy.V3)
	eventually(t, 20*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
}
