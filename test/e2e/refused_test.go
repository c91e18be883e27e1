package e2e

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/dataplane"
	"github.com/culvert-iot/culvert/sandbox/registry"
	"github.com/culvert-iot/culvert/test/harness"
)

// TestLsOfManyThingsWithoutPermission: what is refused once is not asked again for each thing, and said once.
func TestLsOfManyThingsWithoutPermission(t *testing.T) {
	t.Parallel()
	const things, atATime = 50, 16
	var log harness.Buffer
	box := startSandbox(t, sandbox.Config{Things: names(things), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	site := newOperatorSite(t, box)
	for _, c := range []struct {
		operation, call string // and how the sandbox logs it
		most            int
		refuse          func()
	}{
		{"DescribeEndpoint", `target="GET /endpoint"`, 1, func() {
			for range 2 * things {
				box.Registry.Fail("DescribeEndpoint", registry.Fault{Status: 403, Type: "UnauthorizedException", Message: "not authorized"})
			}
		}},
		{"GetConnection", "operation=GetConnection", things + atATime, func() {
			box.Registry.ClearFaults()
			box.DataPlane.SetBehaviour(dataplane.Behaviour{Denied: []string{"GetConnection"}})
		}},
	} {
		t.Run(c.operation, func(t *testing.T) {
			c.refuse()
			before := strings.Count(log.String(), c.call)
			out, errs, code := runSSH(site.culvert(t, "ls"))
			calls := strings.Count(log.String(), c.call) - before
			if n := strings.Count(out, " unknown"); code != 1 || n != things || calls < 1 || calls > c.most {
				t.Errorf("exit code %d, %d things, %d calls, at most %d wanted", code, n, calls, c.most)
			}
			if want := fmt.Sprintf("hint: the IAM policy must allow iot:%s", c.operation); strings.Count(errs, want) != 1 {
				t.Errorf("%q is not there once:\n%s", want, errs)
			}
		})
	}
}
