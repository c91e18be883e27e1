//go:build unix

package holder_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/operator/holder"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/test/harness"
)

func TestClientsShareATunnel(t *testing.T) {
	s := newSite(t)
	var all sync.WaitGroup
	ids := make([]string, 5)
	for i := range ids { // at once: one of them starts the holder
		all.Go(func() {
			tunnel, err := s.client(t, "k", "1").Attach(within(t), holder.Request{Services: []string{"SSH"}, Persist: time.Minute}, func(connect.Event) {})
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = tunnel.ID()
			_ = tunnel.Close()
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] || id == "" {
			t.Errorf("tunnels %q", ids)
		}
	}
	tunnel := attach(t, s.client(t, "k", "1"), time.Minute, "SSH")
	if !tunnel.Opened() || tunnel.ID() != ids[0] {
		t.Errorf("tunnel %s, opened %v", tunnel.ID(), tunnel.Opened())
	}
	talk(t, tunnel, strings.Repeat("over the culvert ", 20_000)) // more than a frame
	h := s.holders(t)
	if len(h) != 1 || len(h[0].Tunnels) != 1 || h[0].Tunnels[0].Users != 1 || h[0].Tunnels[0].BytesIn != 340_000 || !h[0].Ends.IsZero() || h[0].PID == os.Getpid() {
		t.Errorf("%+v", h)
	}
	if info, err := os.Stat(h[0].Log); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the log: %v, %v", info, err)
	}
}

// What a holder has paid is said in full: also a tunnel that follows another one, and one that the device did not come to.
func TestAllTunnelsThatAHolderOpensAreCounted(t *testing.T) {
	s := newSite(t)
	s.keep.Store(proxy.NewResumption(time.Minute))
	c := s.client(t, "k", "1")
	tunnel := attach(t, c, time.Minute, "SSH")
	conn, err := tunnel.Dial(within(t), "SSH")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got := make([]byte, 5)
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, got); err != nil { // both ends know now that they keep it
		t.Fatal(err)
	}
	if err := s.Store.Close(tunnel.ID(), false); err != nil {
		t.Fatal(err)
	}
	var h holder.Status
	eventually(t, "another tunnel follows", func() bool {
		h = s.holders(t)[0]
		return len(h.Tunnels) == 1 && h.Tunnels[0].ID != tunnel.ID()
	})
	if h.Opened != 2 {
		t.Errorf("%d tunnels were opened, want 2", h.Opened)
	}
	s.away.Store(true)
	_, err = c.Attach(within(t), holder.Request{Services: []string{"HTTP"}, Wait: time.Millisecond, Persist: time.Minute}, func(connect.Event) {})
	if !isReason(err, connect.DeviceAbsent) {
		t.Fatal(err)
	}
	if n, all := s.holders(t)[0].Opened, len(s.Store.List("pi-1")); n != all || n != 3 {
		t.Errorf("%d tunnels were opened, want %d", n, all)
	}
}

func TestASocketWithoutAHolderIsReplaced(t *testing.T) {
	s := newSite(t)
	path := filepath.Join(s.dir, "k.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	talk(t, attach(t, s.client(t, "k", "1"), time.Minute, "SSH"), "hello")
}

func TestAHolderThatIsKilledIsNoticedAndReplaced(t *testing.T) {
	s := newSite(t)
	c := s.client(t, "k", "1")
	tunnel := attach(t, c, time.Minute, "SSH")
	conn, err := tunnel.Dial(within(t), "SSH")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	h := s.holders(t)[0]
	if err := syscall.Kill(h.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(conn); !isReason(err, connect.LinkLost) || !strings.Contains(hint.Of(err), h.Log) {
		t.Errorf("a connection: %v, hint %q", err, hint.Of(err))
	}
	select {
	case <-tunnel.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the end was not noticed")
	}
	if err := tunnel.Err(); !isReason(err, connect.LinkLost) {
		t.Errorf("the tunnel: %v", err)
	}
	if _, err := tunnel.Dial(within(t), "SSH"); !isReason(err, connect.LinkLost) {
		t.Errorf("a new connection: %v", err)
	}
	if err := tunnel.Close(); err != nil || !isReason(tunnel.Err(), connect.LinkLost) {
		t.Errorf("closed: %v, and the tunnel: %v", err, tunnel.Err())
	}
	talk(t, attach(t, c, time.Minute, "SSH"), "again")
	if now := s.holders(t)[0]; now.PID == h.PID {
		t.Error("the holder is the same")
	}
}

// A stopped process accepts connections and answers none.
func TestAHolderThatIsStoppedIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.client(t, "k", "1")
	_ = attach(t, c, time.Minute, "SSH").Close()
	h := s.holders(t)[0]
	if err := harness.Stop(h.PID, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(h.PID, syscall.SIGCONT) }()
	began := time.Now()
	_, err := c.Attach(within(t), holder.Request{Services: []string{"SSH"}, Persist: time.Minute}, func(connect.Event) {})
	if took := time.Since(began); !errors.Is(err, holder.ErrSilent) || took > 15*time.Second {
		t.Errorf("%v after %v", err, took)
	}
	if list, silent, err := holder.All(s.dir, "1"); len(list) > 0 || !slices.Equal(silent, []string{h.Log}) || err != nil {
		t.Errorf("%v, silent %q, %v; want the log of the stopped one, %s", list, silent, err, h.Log)
	}
	if err := syscall.Kill(h.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	talk(t, attach(t, c, time.Minute, "SSH"), "again")
	if now := s.holders(t)[0]; now.PID != h.PID {
		t.Error("the holder is another one")
	}
}

// A holder removes its own address at its end. What a killed one has left is removed by the next one.
func TestAddressesOfHoldersAreRemoved(t *testing.T) {
	s := newSite(t)
	c := s.client(t, "k", "1")
	addresses := func() []string {
		list, err := filepath.Glob(filepath.Join(s.dir, "k~*"))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	tunnel := attach(t, c, time.Minute, "SSH")
	killed := addresses()
	if err := syscall.Kill(s.holders(t)[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-tunnel.Done()
	talk(t, attach(t, c, time.Minute, "SSH"), "again")
	if now := addresses(); len(killed) != 1 || len(now) != 1 || now[0] == killed[0] {
		t.Errorf("addresses %q, after those of the killed one %q", now, killed)
	}
	if _, _, err := holder.Close(s.dir, "1", "pi-1"); err != nil {
		t.Error(err)
	}
	eventually(t, "all addresses are removed", func() bool { return len(addresses()) == 0 })
}

func isReason(err error, want connect.Reason) bool {
	e, ok := errors.AsType[*connect.Error](err)
	return ok && e.Reason == want
}

// An upgrade leaves the old version's sessions alone, with the connections that they still make; new sessions go to the new
// version's holder.
func TestAHolderOfAnotherVersionGivesWay(t *testing.T) {
	s := newSite(t)
	before := attach(t, s.client(t, "k", "1"), time.Minute, "SSH")
	conn, err := before.Dial(within(t), "SSH")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	old := s.holders(t)[0]
	after := attach(t, s.client(t, "k", "2"), time.Minute, "SSH")
	talk(t, after, "the new version")
	present := s.holders(t)
	if len(present) != 1 || present[0].PID == old.PID {
		t.Fatalf("holders %+v", present)
	}
	talk(t, before, "a new connection of the old version")
	talk(t, after, "the new version again")
	if now := s.holders(t); len(now) != 1 || now[0].PID != present[0].PID {
		t.Errorf("holders %+v, want the one of the new version", now)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	got := make([]byte, 8)
	if _, err := io.WriteString(conn, "an older"); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "an older" {
		t.Errorf("the session of the old version: %q, %v", got, err)
	}
	if ended(old.PID) {
		t.Error("the old holder ended before its session")
	}
	_, _ = conn.Close(), before.Close()
	eventually(t, "the old holder ends with its last session", func() bool { return ended(old.PID) })
	eventually(t, "its tunnel is closed", func() bool { return len(s.open()) == 1 })
	talk(t, after, "the new version goes on")
}

func TestIdentitiesHaveHoldersOfTheirOwn(t *testing.T) {
	s := newSite(t)
	a, b := attach(t, s.client(t, holder.Key("pi-1", "a"), "1"), time.Minute, "SSH"), attach(t, s.client(t, holder.Key("pi-1", "b"), "1"), time.Minute, "SSH")
	if a.ID() == b.ID() {
		t.Error("two identities share a tunnel")
	}
	if n, _, err := holder.Close(s.dir, "1", "pi-1"); n != 2 || err != nil {
		t.Errorf("%d holders were closed, %v", n, err)
	}
	for _, tunnel := range []*holder.Tunnel{a, b} {
		select {
		case <-tunnel.Done():
			if !isReason(tunnel.Err(), connect.TunnelClosed) {
				t.Errorf("it ended with %v", tunnel.Err())
			}
		case <-time.After(20 * time.Second):
			t.Error("the end was not noticed")
		}
	}
	if n := len(s.open()); n != 0 {
		t.Errorf("%d tunnels are open", n)
	}
	if holder.Key("ab", "c") == holder.Key("a", "bc") || holder.Key("a") == holder.Key("a", "") {
		t.Error("two keys are the same")
	}
}

func TestAHolderThatCannotBeStartedLeavesNothingBehind(t *testing.T) {
	s := newSite(t)
	c := s.client(t, "k", "1")
	for name, command := range map[string][]string{"no program": {"/no/such/program"}, "one that ends": {"/bin/false"}} {
		c.Command = command
		_, err := c.Attach(within(t), holder.Request{Services: []string{"SSH"}}, func(connect.Event) {})
		if err == nil || !strings.Contains(hint.Of(err), "--no-share") {
			t.Errorf("%s: %v, hint %q", name, err, hint.Of(err))
		}
	}
	if n := len(s.Store.List("")); n != 0 {
		t.Errorf("%d tunnels were opened", n)
	}
	talk(t, attach(t, s.client(t, "k", "1"), time.Minute, "SSH"), "after all")
}

// A command that is interrupted while it opens a tunnel leaves none.
func TestATunnelWithoutAWaitingCommandIsNotOpened(t *testing.T) {
	s := newSite(t)
	s.away.Store(true) // the device could be faster
	c := s.client(t, "k", "1")
	c.Thing = "pi-1"
	ctx := within(t)
	waiting, cancel := context.WithCancel(ctx)
	_, err := c.Attach(waiting, holder.Request{Services: []string{"SSH"}, Persist: time.Minute}, func(e connect.Event) {
		if strings.HasPrefix(e.Text, "waiting for") {
			cancel()
		}
	})
	if err == nil {
		t.Fatal("the device is there")
	}
	eventually(t, "the tunnel is closed", func() bool { return len(s.open()) == 0 })
}

func TestADirectoryThatOthersCanEnterIsRefused(t *testing.T) {
	if !holder.Supported {
		t.Skip("this system has no holders")
	}
	base := shortDir(t)
	t.Setenv("XDG_RUNTIME_DIR", base)
	dir, err := holder.Directory()
	if err != nil || dir != filepath.Join(base, "culvert") {
		t.Fatalf("%s, %v", dir, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Directory(); err == nil || !strings.Contains(err.Error(), "is not private: its mode is 750") {
		t.Errorf("with mode 750: %v", err)
	}
	if err := errors.Join(os.Remove(dir), os.Symlink(t.TempDir(), dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Directory(); err == nil || !strings.Contains(err.Error(), "is not a directory") {
		t.Errorf("a link: %v", err)
	}
	long := filepath.Join(base, strings.Repeat("x", 90))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", long)
	if _, err := holder.Directory(); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a long path: %v", err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "relative")
	t.Setenv("TMPDIR", base)
	if dir, err := holder.Directory(); err != nil || filepath.Dir(dir) != base {
		t.Errorf("with a relative XDG_RUNTIME_DIR: %s, %v", dir, err)
	}
}
