package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// kill ends the daemon as the kernel's OOM killer or a watchdog does, and starts it again.
func (b *bed) kill() {
	b.t.Helper()
	// A daemon that was told to stop may have done so by now.
	if err := b.device.Cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		b.t.Fatalf("kill culvertd: %v", err)
	}
	b.device.waitExit(b.t, stopLimit)
	b.restart()
}

// pointsOfDeath are the states of a tunnel in which the daemon is killed. Each returns the token that must work
// afterwards.
var pointsOfDeath = []struct {
	name  string
	reach func(b *bed) (token string)
}{
	{"while streams move", func(b *bed) string { return b.tunnel.DestinationToken }},
	{"before the first handshake is answered", func(b *bed) string {
		b.box.Relay.Faults().Set(destinationSide, relay.Conditions{SlowHandshake: 5 * time.Second})
		token := b.rotate(tunnels.RotateDestination)
		b.device.waitLog(b.t, "tunnel accepted "+sessionOf(token), once)
		return token
	}},
	{"when the first handshake's answer was lost", func(b *bed) string {
		mark := b.device.mark()
		b.box.Relay.Faults().LoseAnswers(destinationSide, 1_000_000)
		token := b.rotate(tunnels.RotateDestination)
		b.device.waitLogFrom(b.t, mark, "tunnel not connected "+sessionOf(token), once)
		return token
	}},
	{"while it waits for the next attempt", func(b *bed) string {
		mark := b.device.mark()
		b.box.Relay.Faults().Refuse(destinationSide, relay.Refusal{Count: 3})
		cut(b)
		b.device.waitLogFrom(b.t, mark, "tunnel not connected", once)
		return b.tunnel.DestinationToken
	}},
	{"in the moment of a rotation", func(b *bed) string { return b.rotate(tunnels.RotateDestination) }},
	{"when the rotated token is connected and the old session has not ended", func(b *bed) string {
		token := b.rotate(tunnels.RotateDestination)
		b.device.waitLog(b.t, "tunnel connected "+sessionOf(token), once)
		return token
	}},
	{"in a black hole", func(b *bed) string {
		wireOf(b).drop(true)
		waits(100 * time.Millisecond)
		return b.tunnel.DestinationToken
	}},
	{"while it stops", func(b *bed) string {
		b.device.signal(b.t, syscall.SIGTERM)
		return b.tunnel.DestinationToken
	}},
}

func TestTheDaemonIsKilledAtAnyPointOfATunnelsLife(t *testing.T) {
	t.Parallel()
	for _, p := range pointsOfDeath {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			b := startBed(t, bedOptions{endpoint: cable, sandbox: sandbox.Config{
				Behaviour: tunnels.Behaviour{RotationKeepsConnection: rand.IntN(2) == 0},
			}})
			b.traffic.fault()
			token := p.reach(b)
			b.kill()
			b.device.hide(token)
			b.box.Relay.Faults().Clear()
			wireOf(b).drop(false)
			t.Logf("time back: %v after the start", b.back(20*time.Second))
			b.traffic.healed()
			b.device.waitLog(t, "tunnel connected "+sessionOf(token), once)
			if strings.Contains(b.device.log(), "tunnel ended "+sessionOf(token)) {
				t.Error("the token's session has ended")
			}
			eventually(t, 20*time.Second, "connections that stood end for the client too", func() bool { return b.traffic.stands() == 0 })
			b.traffic.stop(t)
		})
	}
}

// A token's first milliseconds hold several steps: here the daemon is killed at a random moment of them.
func TestTheDaemonIsKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	b := startBed(t, bedOptions{})
	b.traffic.stop(t)
	var longest time.Duration
	for i := range 12 {
		token := b.rotate(tunnels.RotateDestination)
		alive := time.Duration(rand.IntN(int(60 * time.Millisecond)))
		waits(alive)
		b.kill()
		b.device.hide(token)
		start := time.Now()
		b.device.waitLog(t, "tunnel connected "+sessionOf(token), 20*time.Second)
		b.back(once)
		longest = max(longest, time.Since(start))
		if t.Failed() {
			t.Fatalf("death %d came %v after the rotation", i, alive)
		}
	}
	t.Logf("12 deaths; time back: %v at most", longest.Round(time.Millisecond))
}

// An upgrade replaces the file of the running program, and restarts it.
func TestTheProgramIsReplacedUnderTheDaemon(t *testing.T) {
	t.Parallel()
	b := startBed(t, bedOptions{})
	program := filepath.Join(shortDir(t), "culvertd")
	install := func() {
		t.Helper()
		data, err := os.ReadFile(culvertd(t))
		if err == nil {
			err = harness.WriteProgram(program+".new", data)
		}
		if err == nil {
			err = os.Rename(program+".new", program)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b.traffic.fault()
	for range 2 {
		install()
		b.device.stop(t)
		b.device = startProgram(t, program, b.config)
		b.device.hide(b.tunnel.DestinationToken, b.tunnel.SourceToken)
		b.device.waitLog(t, "tunnel resumed "+sessionOf(b.tunnel.DestinationToken), once)
		t.Logf("time back: %v after the start", b.back(20*time.Second))
	}
	b.traffic.healed()
	b.traffic.stop(t)
}

// tmpfs mounts a file system of its own.
func tmpfs(t *testing.T, options string) (dir string) {
	t.Helper()
	dir = filepath.Join(shortDir(t), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("this machine lets a test mount nothing: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func readOnly(t *testing.T, dir string, on bool) {
	t.Helper()
	flags := uintptr(unix.MS_REMOUNT)
	if on {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("none", dir, "tmpfs", flags, ""); err != nil {
		t.Skipf("this machine lets a test remount nothing: %v", err)
	}
}

// withState is an option of a bed: another state directory.
func withState(dir string) func(*testing.T, *bed) {
	return func(t *testing.T, b *bed) {
		text, err := os.ReadFile(b.config)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "state_dir") {
				b.config = configWith(t, b.config, line, fmt.Sprintf("state_dir = %q\n", dir))
				return
			}
		}
		t.Fatal("the configuration has no state_dir")
	}
}

func TestAStateDirectoryThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		dir  func(t *testing.T) string
		says string // beside that it cannot be used
	}{
		{"read-only", func(t *testing.T) string {
			dir := tmpfs(t, "size=64k")
			readOnly(t, dir, true)
			return dir
		}, "read-only file system"},
		{"full", func(t *testing.T) string {
			dir := tmpfs(t, "size=8k")
			for i := 0; ; i++ {
				err := os.WriteFile(filepath.Join(dir, fmt.Sprint("log.", i)), make([]byte, 4096), 0o600)
				if errors.Is(err, syscall.ENOSPC) {
					return dir
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}, "free some space"},
		{"no inode left", func(t *testing.T) string { return tmpfs(t, "nr_inodes=1") }, "free some space"},
		{"not allowed", func(*testing.T) string { return "/sys/culvert" }, "permi"},
		{"a file", func(t *testing.T) string {
			path := filepath.Join(shortDir(t), "state")
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, "is not a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := startBed(t, bedOptions{edit: withState(test.dir(t))})
			if line := b.device.waitLog(t, "state directory cannot be used, tunnels will not survive a restart", once); !strings.Contains(line, test.says) {
				t.Errorf("not explained: %s", line)
			}
			// From memory all works but for a restart.
			b.traffic.fault()
			cut(b)
			t.Logf("time back after a reset: %v", b.back(once))
			token := b.rotate(tunnels.RotateDestination)
			b.device.waitLog(t, "tunnel connected "+sessionOf(token), once)
			b.back(once)
			b.kill()
			b.device.hide(token)
			b.device.waitLog(t, "mqtt subscribed", 20*time.Second)
			token = b.rotate(tunnels.RotateDestination)
			b.device.waitLog(t, "tunnel connected "+sessionOf(token), once)
			b.back(once)
			b.traffic.healed()
			b.traffic.stop(t)
			if n := strings.Count(b.device.log(), "state directory cannot be used"); n != 1 {
				t.Errorf("%d lines of the log tell of one trouble", n)
			}
		})
	}
}

// A disk fills up under the daemon, and has room again later: earlier tokens are still there, and the log says that a
// restart loses the tokens that came meanwhile.
func TestAStateDirectoryThatFillsUp(t *testing.T) {
	t.Parallel()
	dir := tmpfs(t, "size=64k")
	b := startBed(t, bedOptions{edit: withState(dir)})
	fill := filepath.Join(dir, "log")
	if err := os.WriteFile(fill, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk takes more than it has: %v", err)
	}
	mark := b.device.mark()
	b.traffic.fault()
	token := b.rotate(tunnels.RotateDestination)
	b.device.waitLogFrom(t, mark, "state directory cannot be used", once)
	b.device.waitLogFrom(t, mark, "tunnel connected "+sessionOf(token), once)
	t.Logf("time back on a full disk: %v", b.back(once))
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	token = b.rotate(tunnels.RotateDestination)
	b.device.waitLogFrom(t, mark, "tunnel connected "+sessionOf(token), once)
	b.back(once)
	b.kill()
	b.device.hide(token)
	b.device.waitLog(t, "tunnel resumed "+sessionOf(token), once)
	t.Logf("time back after the restart: %v", b.back(once))
	b.traffic.healed()
	b.traffic.stop(t)
}

// The daemon sets files without a pair aside and names them in the log; it resumes the others.
func TestStateThatIsCorruptOrForeign(t *testing.T) {
	t.Parallel()
	b := startBed(t, bedOptions{})
	second := openTunnel(t, b.box, b.device, "ECHO")
	b.device.waitLog(t, "tunnel connected "+sessionOf(second.DestinationToken), once)
	other := startOperator(t, b.box, second.SourceToken)
	b.traffic.fault()
	b.device.stop(t)
	files, err := b.box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	pairs, err := filepath.Glob(filepath.Join(files.StateDir, "tunnel-*.json"))
	if err != nil || len(pairs) != 2 {
		t.Fatalf("%q, %v", pairs, err)
	}
	broken := filepath.Join(files.StateDir, "tunnel-"+secret.New(b.tunnel.DestinationToken).ID())
	damaged := 0
	for _, path := range pairs {
		if !strings.HasPrefix(path, broken) {
			continue
		}
		damaged++
		info, err := os.Stat(path)
		if err == nil {
			err = os.Truncate(path, info.Size()/2) // as a power failure may leave it on some file systems
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if damaged != 1 {
		t.Fatalf("%d files begin with %s: %q", damaged, broken, pairs)
	}
	foreign := map[string][]byte{
		"ended.json": []byte("\x00\x00\x00"), "tunnel-0123456789abcdef.json": []byte(`{"hello":"world"}`),
		"tunnel-fedcba9876543210.json": make([]byte, 1<<20), "notes.txt": []byte("of another user"),
	}
	for name, content := range foreign {
		if err := os.WriteFile(filepath.Join(files.StateDir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.restart()
	b.device.hide(second.DestinationToken)
	eventually(t, once, "each is named", func() bool { return strings.Count(b.device.log(), "state file set aside") == 4 })
	b.device.waitLog(t, "tunnel connected "+sessionOf(second.DestinationToken), once)
	eventually(t, once, "the tunnel whose pair is whole works", func() bool {
		c, err := other.connect(time.Second, "ECHO")
		if err != nil {
			return false
		}
		defer c.Close()
		return exchangeByteWithin(c, time.Second) == nil
	})
	if _, err := os.Stat(filepath.Join(files.StateDir, "notes.txt")); errors.Is(err, fs.ErrNotExist) {
		t.Error("another program's file is gone")
	}
	// The other one comes back with the next rotation.
	token := b.rotate(tunnels.RotateDestination)
	b.device.waitLog(t, "tunnel connected "+sessionOf(token), once)
	t.Logf("time back after the rotation: %v", b.back(once))
	b.traffic.healed()
	b.traffic.stop(t)
}
