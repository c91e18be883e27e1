package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/dataplane"
)

func TestLsTellsWhichThingsAreThere(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandbox.Config{Things: []string{"pi-1", "pi-2"}})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 250 {
		box.Registry.Add(fmt.Sprintf("cam-%03d", i), map[string]string{"site": []string{"berlin", "oslo"}[i%2]})
	}
	startDaemon(t, files.ConfigFile).waitLog(t, "mqtt subscribed", 20*time.Second)
	site := newOperatorSite(t, box)
	ls := func(args ...string) (string, int) {
		return exitCode(t, site.culvert(t, append([]string{"ls"}, args...)...))
	}
	for name, c := range map[string]struct {
		args  []string
		lines int // of things
		has   string
	}{
		"all":          {nil, 252, "\npi-1                        online"},
		"a pattern":    {[]string{"pi-*"}, 2, "pi-2                        never"},
		"names alone":  {[]string{"pi-2", "pi-1"}, 2, "127.0.0.1"},
		"online":       {[]string{"--online"}, 1, "pi-1"},
		"an attribute": {[]string{"--attribute", "site=oslo"}, 125, "cam-249"},
		"fleet index":  {[]string{"--query", "thingName:cam-00* AND attributes.site:berlin"}, 5, "cam-008"},
		"tunnels":      {[]string{"pi-1", "--tunnels"}, 1, "TUNNELS"},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := ls(c.args...)
			if n := strings.Count(out, "\n") - 1; code != 0 || n != c.lines || !strings.Contains(out, c.has) {
				t.Errorf("exit code %d, %d things, want %d with %q:\n%.600s", code, n, c.lines, c.has, out)
			}
		})
	}
	for _, args := range [][]string{{"ls", "nosuch"}, {"ping", "nosuch"}, {"exec", "nosuch", "--", "true"}} {
		if out, code := exitCode(t, site.culvert(t, args...)); code == 0 || !strings.Contains(out, "there is no thing nosuch") {
			t.Errorf("%v: exit code %d:\n%s", args, code, out)
		}
	}
	if out, code := ls("pi-1", "--output", "json"); code != 0 || !strings.HasPrefix(out, `{"thing":"pi-1","state":"online","since":"20`) {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if out, code := exitCode(t, site.culvert(t, "ping", "-c", "1", "pi-1")); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	out, code := ls("pi-1", "pi-2", "--versions", "--tunnels", "--output", "text")
	if lines := strings.Split(out, "\n"); code != 0 || !strings.HasSuffix(lines[0], "\tdevel\t0\t") || !strings.HasSuffix(lines[1], "\t\t0\t") {
		t.Errorf("exit code %d:\n%q", code, out)
	}
	box.DataPlane.SetBehaviour(dataplane.Behaviour{Denied: []string{"GetRetainedMessage"}})
	if out, code := ls("pi-1", "--versions"); code != 1 || !strings.Contains(out, "hint: the IAM policy must allow iot:GetRetainedMessage") {
		t.Errorf("without permission for answers, exit code %d:\n%s", code, out)
	}
	box.DataPlane.SetBehaviour(dataplane.Behaviour{Denied: []string{"GetConnection"}})
	if out, code := ls("pi-1"); code != 1 || !strings.Contains(out, "unknown") || !strings.Contains(out, "GetConnection") {
		t.Errorf("without permission, exit code %d:\n%s", code, out)
	}
}

func TestLsSaysWhatAQueryNeeds(t *testing.T) {
	t.Parallel()
	site := newOperatorSite(t, startSandbox(t, sandbox.Config{NoFleetIndex: true}))
	out, code := exitCode(t, site.culvert(t, "ls", "--query", "thingName:pi-*"))
	if code != 1 || !strings.Contains(out, "hint: a query needs fleet indexing") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

func TestAWrongSelectionOfThingsHasARemedy(t *testing.T) {
	t.Parallel()
	site := newOperatorSite(t, startSandbox(t, sandbox.Config{}))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--query", "site=berlin"}, "hint: a query is terms such as attributes.site:berlin"},
		{[]string{"--group", "nosuch"}, "hint: aws iot list-thing-groups lists the groups"},
	} {
		for _, command := range [][]string{{"ls"}, {"exec", "--yes"}} {
			args := append(append(command, c.args...), "--", "true")
			if command[0] == "ls" {
				args = args[:len(args)-2]
			}
			if out, code := exitCode(t, site.culvert(t, args...)); code != 1 || !strings.Contains(out, c.want) {
				t.Errorf("%v: exit code %d:\n%s", args, code, out)
			}
		}
	}
}

// TestLsSaysThatItIsThrottled: while AWS answers nothing, there is a line, and the last of the things costs no further wait.
func TestLsSaysThatItIsThrottled(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandbox.Config{DataPlane: dataplane.Behaviour{Throttled: true}})
	for i := range 300 {
		box.Registry.Add(fmt.Sprintf("cam-%03d", i), nil)
	}
	cmd := newOperatorSite(t, box).culvert(t, "ls", "cam-*")
	cmd.Env = append(cmd.Env, "AWS_MAX_ATTEMPTS=3")
	began := time.Now()
	out, code := exitCode(t, cmd)
	if took := time.Since(began); code != 1 || !strings.HasPrefix(out, "culvert: AWS throttles the calls: waiting to repeat them\n") || strings.Count(out, "AWS throttles") != 1 ||
		strings.Count(out, " unknown\n") != 300 || took > 30*time.Second {
		t.Errorf("exit code %d after %v:\n%.1000s", code, took, out)
	}
}
