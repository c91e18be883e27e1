package e2e

import (
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/sandbox"
)

// TestAMistypedNameIsNamed: a name that no thing has is said, whatever stands beside it; one that the selection leaves
// out is in order.
func TestAMistypedNameIsNamed(t *testing.T) {
	t.Parallel()
	requireProgram(t, "ssh")
	box := startSandbox(t, sandbox.Config{Things: []string{"pi-1", "pi-2"}})
	box.Registry.AddToGroup("lab", "pi-1")
	box.Registry.Add("cam-1", map[string]string{"site": "oslo"})
	site := newOperatorSite(t, box)
	const nosuch = "error: there is no thing nosuch in eu-west-1 of this account\n"
	for _, c := range []struct {
		args  string
		code  int
		words string // apart by |
		not   string
	}{
		{"ls pi-* nosuch", 1, "pi-1 |pi-2 |" + nosuch + "|hint: check what was typed", ""},
		{"ls --group lab pi-1 nosuch", 1, "pi-1 |" + nosuch, ""},
		{"ls --attribute site=oslo cam-1 nosuch", 1, "cam-1 |" + nosuch, ""},
		{"ls --query attributes.site:oslo cam-* nosuch", 1, "cam-1 |" + nosuch, ""},
		{"ls nosuch-1 pi-1 nosuch-2", 1, "pi-1 |error: there are no things nosuch-1, nosuch-2 in eu-west-1", ""},
		{"ls --group lab pi-2 pi-1", 0, "pi-1 ", "pi-2"},
		{"ls --online pi-1 cam-*", 0, "culvert: no thing matches\n", "pi-1"},
		{"ls zz-* yy-? pi-1", 0, "pi-1 |culvert: no thing matches zz-*, yy-? in eu-west-1 of this account\n", "error"},
		{"ls zz-* pi-*", 0, "pi-1 |pi-2 ", "zz"},
		{"ls --group lab zz-* pi-1", 0, "pi-1 ", "zz"},
		{"ls zz-* nosuch", 1, "error: there is no thing nosuch in eu-west-1 of this account, and no thing matches zz-*\n", ""},
		{"ls pi-1,pi-2", 2, `error: "pi-1,pi-2" cannot be the name of a thing`, ""},
		{"inventory pi-* nosuch", 1, nosuch, "pi-1"},
		{"inventory --online nosuch", 1, nosuch[:len(nosuch)-1], ""},
		{"inventory zz-* pi-1", 0, `"pi-1"|culvert: no thing matches zz-* in eu-west-1`, "error"},
		{"exec --yes pi-* nosuch -- true", 1, nosuch, "pi-1"},
		{"exec --yes --group lab pi-1 nosuch -- true", 1, nosuch, "pi-1"},
		{"exec --yes zz-* pi-1 -- true", 1, "error: no thing matches zz-* in eu-west-1 of this account\n", "pi-1"},
	} {
		t.Run(c.args, func(t *testing.T) {
			out, code := exitCode(t, site.culvert(t, strings.Fields(c.args)...))
			for w := range strings.SplitSeq(c.words, "|") {
				if !strings.Contains(out, w) {
					t.Errorf("no %q", w)
				}
			}
			if code != c.code || c.not != "" && strings.Contains(out, c.not) || t.Failed() {
				t.Errorf("exit code %d, want %d without %q:\n%s", code, c.code, c.not, out)
			}
		})
	}
	if n := len(box.Store.List("")); n != 0 {
		t.Errorf("%d tunnels were opened", n)
	}
}

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
