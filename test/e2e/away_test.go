package e2e

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/dataplane"
	"github.com/culvert-iot/culvert/test/harness"
)

func TestADeviceThatIsAwayIsSaidWithoutATunnel(t *testing.T) {
	t.Parallel()
	requireProgram(t, "ssh")
	box := startSandbox(t, sandbox.Config{})
	device, files := startSubscribed(t, box)
	device.stop(t)
	site := newOperatorSite(t, box)
	const lastSeen = "pi-1 is not connected: last seen "
	opened := func() int { return len(box.Store.List("")) }

	t.Run("ssh says so in the first second", func(t *testing.T) {
		least := time.Hour
		for tries := 0; least > time.Second && tries < 10; tries++ { // the machine may be busy
			least = min(least, saysAway(t, site, lastSeen))
		}
		t.Logf("said after %v", least.Round(time.Millisecond))
		if least > time.Second && !raceEnabled {
			t.Errorf("said after %v", least)
		}
		if n := opened(); n != 0 {
			t.Errorf("%d tunnels were opened", n)
		}
	})
	t.Run("connect ends with 4", func(t *testing.T) {
		out, code := exitCode(t, site.culvert(t, "connect", "--wait", "1s", "pi-1"))
		if code != 4 || !strings.Contains(out, "error: "+lastSeen) || !strings.Contains(out, "hint: wait for it with --wait") || opened() != 0 {
			t.Errorf("exit code %d, %d tunnels\n%s", code, opened(), out)
		}
	})
	for name, args := range map[string][]string{"no permission": nil, "not to be asked": {"--no-look"}} {
		t.Run(name+": as ever", func(t *testing.T) {
			if args == nil {
				box.DataPlane.SetBehaviour(dataplane.Behaviour{Denied: []string{"GetConnection"}})
				defer box.DataPlane.SetBehaviour(dataplane.Behaviour{})
			}
			before := opened()
			out, code := exitCode(t, site.culvert(t, append([]string{"connect", "--wait", "1s", "pi-1"}, args...)...))
			if code != 4 || !strings.Contains(out, "pi-1 did not connect within 1s") || strings.Contains(out, lastSeen) || opened() != before+1 {
				t.Errorf("exit code %d\n%s", code, out)
			}
		})
	}
	t.Run("it appears while it is waited for", func(t *testing.T) {
		before := opened()
		cmd := site.culvert(t, "connect", "--wait", "60s", "pi-1")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr harness.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "it waits", func() bool { return strings.Contains(stderr.String(), "waiting for pi-1 to connect to AWS IoT") })
		if opened() != before {
			t.Error("it waits with a tunnel")
		}
		startDaemon(t, files.ConfigFile)
		line := make([]byte, 4)
		if _, err := io.ReadFull(out, line); err != nil || string(line) != "SSH " {
			t.Errorf("%q, %v\n%s", line, err, stderr.String())
		}
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		site.allClosed(t)
	})
}

// saysAway returns how long culvert ssh takes to say that pi-1 is away.
func saysAway(t *testing.T, site *operatorSite, want string) time.Duration {
	t.Helper()
	cmd := site.culvert(t, "ssh", "pi-1", "true")
	var stderr harness.Buffer
	cmd.Stderr = &stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "it says so", func() bool { return strings.Contains(stderr.String(), want) })
	took := time.Since(began)
	if !strings.Contains(stderr.String(), "ago from 127.0.0.1") {
		t.Errorf("no address in\n%s", stderr.String())
	}
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	return took
}
