package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/version"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/dataplane"
)

// exitCode runs a command and returns what it printed and its exit code.
func exitCode(t *testing.T, cmd *exec.Cmd) (output string, code int) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestPingTellsWhetherADeviceIsThereWithoutATunnel(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandbox.Config{Things: []string{"pi-1", "pi-2"}})
	device, files := startSubscribed(t, box)
	site := newOperatorSite(t, box)
	ping := func(args ...string) (string, int) {
		return exitCode(t, site.culvert(t, append([]string{"ping", "-i", "10ms", "-W", "1s"}, args...)...))
	}
	expect := func(what string, want int, words ...string) func(string, int) {
		return func(out string, code int) {
			t.Helper()
			if code != want {
				t.Errorf("%s: exit code %d, want %d:\n%s", what, code, want, out)
			}
			for _, w := range words {
				if !strings.Contains(out, w) {
					t.Errorf("%s: %q is not in\n%s", what, w, out)
				}
			}
		}
	}
	expect("there", 0, "3 sent, 3 acknowledged, 0% lost", "seq=3", "round trip min/avg/max/mdev")(ping("-c", "3", "pi-1"))
	expect("its answer", 0, "culvertd "+version.Get().Version+", up for ", "services: ", "SSH")(ping("-c", "1", "-q", "pi-1"))
	box.DataPlane.SetBehaviour(dataplane.Behaviour{Denied: []string{"GetRetainedMessage"}})
	expect("no permission to read it", 0, "1 acknowledged", "are not known: the caller lacks iot:GetRetainedMessage on topic/culvert/pi-1/pong")(ping("-c", "1", "pi-1"))
	box.DataPlane.SetBehaviour(dataplane.Behaviour{})
	expect("never seen", 1, "pi-2 has never connected as pi-2-tunnel")(ping("-c", "1", "pi-2"))
	box.DataPlane.SetBehaviour(dataplane.Behaviour{Denied: []string{"SendDirectMessage"}})
	expect("no permission", 2, "pi-1 is connected from 127.0.0.1", "iot:SendDirectMessage on client/pi-1-tunnel")(ping("-c", "1", "pi-1"))
	box.DataPlane.SetBehaviour(dataplane.Behaviour{Denied: []string{"SendDirectMessage", dataplane.SocketInformation}})
	expect("no addresses", 2, "pi-1 is connected, for")(ping("-c", "1", "pi-1"))
	box.DataPlane.SetBehaviour(dataplane.Behaviour{})
	device.stop(t)
	expect("gone", 1, "pi-1 is not connected: last seen", "from 127.0.0.1")(ping("-c", "1", "pi-1"))
	config, err := os.ReadFile(files.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	config = bytes.Replace(config, []byte("answer_pings = true"), []byte("answer_pings = false"), 1)
	if err := os.WriteFile(files.ConfigFile, config, 0o600); err != nil {
		t.Fatal(err)
	}
	again := startDaemon(t, files.ConfigFile)
	again.waitLog(t, "mqtt subscribed", 20*time.Second)
	expect("answers are off, an old one is there", 0, "1 acknowledged", "are not known: the device does not answer")(ping("-c", "1", "pi-1"))
	if n := len(site.open()); n != 0 {
		t.Errorf("%d tunnels were opened", n)
	}
	if log := device.log(); strings.Contains(log, "topic that was not subscribed") {
		t.Errorf("a sign of life is logged:\n%s", log)
	}
}
