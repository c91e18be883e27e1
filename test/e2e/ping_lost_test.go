package e2e

import (
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/dataplane"
	"github.com/culvert-iot/culvert/test/harness"
)

// TestPingGoesOnAfterLostMessages: the device leaves and comes again, and AWS refuses a while; ping counts what was lost.
func TestPingGoesOnAfterLostMessages(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandbox.Config{})
	device, files := startSubscribed(t, box)
	site := newOperatorSite(t, box)
	cmd := site.culvert(t, "ping", "-c", "0", "-i", "20ms", "-W", "2s", "pi-1")
	cmd.Env = append(cmd.Env, "AWS_MAX_ATTEMPTS=1")
	var out, errs harness.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const acknowledged = "\nacknowledged: seq="
	until := func(line string) {
		t.Helper()
		from := len(out.String())
		eventually(t, 20*time.Second, line, func() bool { return strings.Contains(out.String()[from:], line) })
	}
	eventually(t, 20*time.Second, "an acknowledgement", func() bool { return strings.Contains(out.String(), acknowledged) })
	device.stop(t)
	until("\nnot connected: seq=")
	startDaemon(t, files.ConfigFile)
	until(acknowledged)
	box.DataPlane.SetBehaviour(dataplane.Behaviour{Throttled: true})
	until(": An error occurred (ThrottlingException) when calling the SendDirectMessage operation: Rate exceeded; there were too many calls")
	box.DataPlane.SetBehaviour(dataplane.Behaviour{Denied: []string{"SendDirectMessage"}})
	until("; the IAM policy must allow iot:SendDirectMessage")
	box.DataPlane.SetBehaviour(dataplane.Behaviour{})
	until(acknowledged)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	_, sum, _ := strings.Cut(out.String(), "\n--- pi-1 ping statistics ---\n")
	if code := cmd.ProcessState.ExitCode(); code != 0 || !strings.Contains(sum, " acknowledged, ") || strings.Contains(sum, " 0% lost") ||
		!strings.Contains(sum, "round trip min/avg/max/mdev") || errs.String() != "" {
		t.Errorf("exit code %d:\n%s%s", code, out.String(), errs.String())
	}
}

func TestPingOfADeviceThatIsAwayHasStatistics(t *testing.T) {
	t.Parallel()
	site := newOperatorSite(t, startSandbox(t, sandbox.Config{}))
	out, code := exitCode(t, site.culvert(t, "ping", "-c", "3", "-i", "10ms", "pi-1"))
	if code != 1 || strings.Count(out, "\nnot connected: seq=") != 3 || !strings.Contains(out, "\n3 sent, 0 acknowledged, 100% lost\npi-1 has never connected") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

// TestPingEndsAtWhatDoesNotPass: no further message can fare better.
func TestPingEndsAtWhatDoesNotPass(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandbox.Config{DataPlane: dataplane.Behaviour{Denied: []string{"SendDirectMessage"}}})
	site := newOperatorSite(t, box)
	other := newOperatorSite(t, startSandbox(t, sandbox.Config{}))
	for name, c := range map[string]struct {
		site  *operatorSite
		thing string
		env   []string
		code  int
		want  string
	}{
		"no such thing":  {other, "nosuch", nil, 2, "error: there is no thing nosuch"},
		"no permission":  {site, "pi-1", nil, 1, "error: the caller may not send messages to it"},
		"no credentials": {other, "pi-1", []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, 2, "error: Unable to locate credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := c.site.culvert(t, "ping", "-i", "10ms", c.thing)
			cmd.Env = append(cmd.Env, c.env...)
			out, code := exitCode(t, cmd)
			if code != c.code || !strings.Contains(out, c.want) || strings.Contains(out, "seq=") || strings.Contains(out, "statistics") {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, c.code, c.want, out)
			}
		})
	}
}

// TestPingEndsWhileAWSIsSilent: after Ctrl-C, its last look at the connection is a short one.
func TestPingEndsWhileAWSIsSilent(t *testing.T) {
	t.Parallel()
	cmd := newOperatorSite(t, startSandbox(t, sandbox.Config{})).culvert(t, "ping", "-c", "0", "pi-1")
	out, code := withSilentEndpoint(t, cmd, "AWS_ENDPOINT_URL_IOT_DATA_PLANE", true)
	if code != 1 || !strings.Contains(out, "\n1 sent, 0 acknowledged, 100% lost\nerror: pi-1 acknowledged nothing\nhint: ") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

// withSilentEndpoint runs cmd with an endpoint, named by a variable, that accepts and says nothing. It interrupts cmd at its first
// connection there if interrupt is set, and kills one that has not ended 10 s after it: its exit code is -1.
func withSilentEndpoint(t *testing.T, cmd *exec.Cmd, variable string, interrupt bool) (string, int) {
	t.Helper()
	called := make(chan struct{}, 10)
	silent := server(t, func(c net.Conn) {
		called <- struct{}{}
		_, _ = io.Copy(io.Discard, c)
	})
	cmd.Env = append(cmd.Env, variable+"=http://"+silent)
	var out harness.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	select {
	case <-called:
	case <-ended:
	}
	if interrupt {
		_ = cmd.Process.Signal(os.Interrupt)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
	}
	return out.String(), cmd.ProcessState.ExitCode()
}
