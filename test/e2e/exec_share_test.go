package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/test/harness"
)

// TestAServiceThatIsDownIsNamed: ssh only says that its connection has ended.
func TestAServiceThatIsDownIsNamed(t *testing.T) {
	t.Parallel()
	o, ssh := startSharingSite(t)
	const reason = "culvertd on pi-1 cannot connect to VNC"
	exec := func(t *testing.T) {
		t.Helper()
		_, errs, code := runSSH(o.culvert(t, "exec", "--service", "VNC", "pi-1", "--", "true"))
		if code != 1 || !strings.Contains(errs, "culvert: pi-1 ended with exit code 255 after ") || !strings.Contains(errs, "s; "+reason+"\n") {
			t.Errorf("exit code %d\n%s", code, errs)
		}
	}
	exec(t)
	o.allClosed(t)
	for _, own := range [][]string{{"--no-share"}, nil} {
		_, errs, code := o.ssh(t, ssh, append(own, "--service", "VNC"), "true")
		why, rest, _ := strings.Cut(errs, "error: "+reason+"\nhint: ")
		if code != 255 || strings.Contains(why, "kex_exchange") || rest == "" {
			t.Errorf("%v: exit code %d\n%s", own, code, errs)
		}
		// ssh is not even started, be the tunnel held or its own.
		if strings.Contains(rest, "kex_exchange") {
			t.Errorf("%v: it ends in what ssh says:\n%s", own, errs)
		}
	}
	exec(t) // the tunnel is held by now
	if len(o.holders(t)) != 1 {
		t.Errorf("%d holders run, want one", len(o.holders(t)))
	}
	if _, errs, code := o.ssh(t, ssh, []string{"--no-share", "--lifetime", "90s"}, "true"); code != 2 || !strings.Contains(errs, "hint: culvert ssh --help\n") {
		t.Errorf("a wrong lifetime: exit code %d\n%s", code, errs)
	}
}

// TestExecUsesAHolderThatRuns: exec uses a held tunnel at no further cost, and starts no holder for others.
func TestExecUsesAHolderThatRuns(t *testing.T) {
	o, ssh := startSharingSite(t)
	exec := func(t *testing.T, more ...string) {
		t.Helper()
		out, errs, code := runSSH(o.culvert(t, append(append([]string{
			"exec", "--user", ssh.user, "-o", "IdentityFile=" + filepath.Join(ssh.dir, "client"), "-o", "IdentitiesOnly=yes",
			"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		}, more...), "pi-1", "--", "echo", "hello")...))
		if code != 0 || out != "pi-1: hello\n" {
			t.Fatalf("exit code %d\n%s%s", code, out, errs)
		}
	}
	exec(t)
	if n := o.opened(); n != 1 || len(o.holders(t)) != 0 {
		t.Errorf("%d tunnels were opened and %d holders run, want 1 and none", n, len(o.holders(t)))
	}
	o.allClosed(t)
	if _, errs, code := o.ssh(t, ssh, nil, "true"); code != 0 {
		t.Fatal(errs)
	}
	before := o.onlyHolder(t)
	exec(t)
	if n := o.opened(); n != 2 {
		t.Errorf("%d tunnels were opened, want no more than the first and the held one", n)
	}
	after := o.onlyHolder(t)
	if after.PID != before.PID || len(o.open()) != 1 || after.Ends.Before(before.Ends) {
		t.Errorf("the holder was %+v, and is %+v", before, after)
	}
	exec(t, "--new")
	if n := o.opened(); n != 3 {
		t.Errorf("--new: %d tunnels were opened, want one of its own", n)
	}
	if out, errs, code := o.ssh(t, ssh, nil, "echo", "still"); code != 0 || !strings.HasPrefix(out, "still") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
}

// TestExecOnAFullDevice: the device takes a tunnel on trial, and then ends it. ssh calls that a broken pipe.
func TestExecOnAFullDevice(t *testing.T) {
	t.Parallel()
	site, args := startFleetSite(t, 0)
	files, err := site.box.Device("full")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(configWith(t, files.ConfigFile, "[tunnel]\n", "[tunnel]\nmax_tunnels = 1\n"), files.ConfigFile); err != nil {
		t.Fatal(err)
	}
	startFleet(t, site.box, []string{"full"})
	first := site.culvert(t, "connect", "--no-share", "full", "--", "sh", "-c", "echo ready; exec sleep 60")
	var out harness.Buffer
	first.Stdout = &out
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = first.Process.Signal(os.Interrupt); _ = first.Wait() })
	eventually(t, 30*time.Second, "the place is taken", func() bool { return strings.Contains(out.String(), "ready") })
	_, errs, code := runSSH(site.culvert(t, args("--new", "full", "--", "sleep", "30")...))
	if code != 1 || !strings.Contains(errs, "all its places were taken\n") || strings.Contains(errs, "log in") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
}
