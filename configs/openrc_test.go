package configs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// What the supervisor appends to must be what logrotate cuts, or the log of a device fills its disk.
func TestTheLogUnderOpenRCIsTheOneThatIsRotated(t *testing.T) {
	read := func(path string) string {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	group := func(expression, text string) string {
		t.Helper()
		found := regexp.MustCompile(`(?m)^\s*`+expression+`$`).FindAllStringSubmatch(text, -1)
		if len(found) != 1 {
			t.Fatalf("%q is there %d times", expression, len(found))
		}
		return found[0][1]
	}
	service, rotation := read("packaging/culvertd.openrc"), read("packaging/culvertd.logrotate")
	log := group(`error_log="(.+)"`, service)
	if out := group(`output_log="(.+)"`, service); out != log {
		t.Errorf("the service writes to %s and %s, and one log is rotated", out, log)
	}
	if rotated := group(`(\S+) \{`, rotation); rotated != log {
		t.Errorf("%s is rotated, and the service writes to %s", rotated, log)
	}
	group(`(copytruncate)`, rotation) // the supervisor keeps the file open: one that was moved away would grow on
	if regexp.MustCompile(`(?m)^\s*su\s`).MatchString(rotation) {
		t.Error("logrotate gives up root, without which it makes no files in " + filepath.Dir(log))
	}
	shipped := regexp.MustCompile(`src: configs/packaging/culvertd\.(openrc|logrotate), dst: /etc/(init|logrotate)\.d/culvertd, (?:type: config, )?packager: apk`)
	if n := len(shipped.FindAllString(read("packaging/culvertd.yaml"), -1)); n != 2 {
		t.Errorf("the package has %d of the service and its rotation, want both", n)
	}
}

// Nothing starts later what start_pre refuses: a finding of the check that the daemon lives with must not keep it from
// starting, nor a log that cannot be written.
func TestOnlyAnUnusableConfigurationKeepsOpenRCFromStarting(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("sh is not installed")
	}
	const script = `
eerror() { echo "eerror: $*"; }
checkpath() { return "$checkpath"; }
. ./packaging/culvertd.openrc
check() { [ "$*" = 'check --offline' ] || echo "called with $*"; return "$found"; }
command=check error_log=$1
start_pre
echo "returns $?, logs to $error_log"
`
	dir := t.TempDir()
	log, missing := filepath.Join(dir, "log"), filepath.Join(dir, "none", "log")
	const refused = "eerror: culvertd is not started: it cannot use its configuration. See: culvertd check\n"
	for name, c := range map[string]struct {
		found, checkpath, log, want string
	}{
		"all is well":               {"0", "0", log, "returns 0, logs to " + log},
		"a finding":                 {"1", "0", log, "returns 0, logs to " + log},
		"the configuration":         {"2", "0", log, refused + "returns 1, logs to " + log},
		"the check crashes":         {"139", "0", log, "returns 0, logs to " + log},
		"directories are read-only": {"1", "1", missing, "returns 0, logs to /dev/null"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("sh", "-c", script, "sh", c.log)
			cmd.Env = append(os.Environ(), "found="+c.found, "checkpath="+c.checkpath)
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != c.want+"\n" {
				t.Errorf("%v: %q, want %q", err, out, c.want)
			}
		})
	}
}
