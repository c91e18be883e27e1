package e2e

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// TestConnectOnStandardOutputSaysThatItWasCutShort: what reads standard output may not take it for complete.
func TestConnectOnStandardOutputSaysThatItWasCutShort(t *testing.T) {
	t.Parallel()
	o := startServicesSite(t, false, map[string]string{"ECHO": echoServer(t)})
	for name, tt := range map[string]struct {
		end  func()
		code int
		want string
	}{
		"the link":   {func() { o.box.Relay.Faults().Cut(relay.Target{Side: tunnels.Source}) }, 1, "was lost, and the connection with it"},
		"the device": {func() { o.box.Relay.Faults().Cut(relay.Target{Side: tunnels.Destination}) }, 1, "pi-1 has left the tunnel"},
		"the tunnel": {func() { _ = o.box.Store.Close(o.open()[0].ID, false) }, 5, "was closed or has expired"},
	} {
		t.Run(name+" is lost", func(t *testing.T) {
			cmd := o.culvert(t, "connect", "--stdio", "--quiet", "--resume-timeout", "0s", "pi-1", "ECHO")
			var out, errs harness.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(in, "begun"); err != nil {
				t.Fatal(err)
			}
			eventually(t, 30*time.Second, "the echo", func() bool { return out.String() == "begun" })
			tt.end()
			_ = cmd.Wait()
			said := errs.String()
			if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.HasPrefix(said, "error: ") ||
				strings.Count(said, "error: ") != 1 || !strings.Contains(said, tt.want) {
				t.Errorf("exit code %d, want %d and one error with %q:\n%s", code, tt.code, tt.want, said)
			}
			if out.String() != "begun" {
				t.Errorf("standard output: %q", out.String())
			}
			o.allClosed(t)
		})
	}
}
