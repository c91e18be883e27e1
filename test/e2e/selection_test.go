package e2e

import (
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/sandbox"
)

// TestAQueryForConnectivityIsExplained: fleet indexing does not know culvertd's client, so such a query selects the wrong things.
func TestAQueryForConnectivityIsExplained(t *testing.T) {
	t.Parallel()
	requireProgram(t, "ssh")
	site := newOperatorSite(t, startSandbox(t, sandbox.Config{}))
	const note = "culvert: connectivity in --query counts a client named as the thing, and not culvertd; culvert ls --online asks for culvertd\n"
	for _, c := range []struct {
		args  string
		code  int
		notes int
	}{
		{"ls --query connectivity.connected:false", 0, 1},
		{"inventory --query connectivity.connected:false", 0, 1},
		{"exec --yes --query connectivity.connected:true -- true", 1, 1},
		{"exec --yes --quiet --query connectivity.connected:true -- true", 1, 0},
		{"ls --query thingName:pi-*", 0, 0},
		{"list-tunnels --query connectivity.connected", 0, 0}, // of the AWS CLI
	} {
		t.Run(c.args, func(t *testing.T) {
			_, errs, code := runSSH(site.culvert(t, strings.Fields(c.args)...))
			if code != c.code || strings.Count(errs, note) != c.notes {
				t.Errorf("exit code %d, want %d and %d notes:\n%s", code, c.code, c.notes, errs)
			}
		})
	}
	_, errs, code := runSSH(site.culvert(t, "ls", "--query", "site=berlin"))
	if code != 1 || !strings.Contains(errs, "hint: a query is terms") || strings.Contains(errs, "connectivity") {
		t.Errorf("exit code %d:\n%s", code, errs)
	}
}
