package configs

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// manager stands for both service managers, and tells what it was called with. Only what asks for the state of a service
// has an answer of its own. It also writes down if it has a session of its own.
const manager = `#!/bin/sh
case "$*" in
  *is-active* | *status*) exit "$STOPPED" ;;
esac
read -r pid _ _ _ _ session _ </proc/self/stat
[ "$session" != "$pid" ] || set -- "$@" '(in a session of its own)'
echo "${0##*/} $*" >&3
`

// apk runs other scripts at an upgrade than at an installation. Without them an upgraded device keeps the old program.
func TestAnUpgradeUnderAPKRunsTheScriptsOfAnInstallation(t *testing.T) {
	text, err := os.ReadFile("packaging/culvertd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\nscripts:\n  preinstall: configs/packaging/preinstall.sh\n  postinstall: configs/packaging/postinstall.sh\n",
		"\napk:\n  scripts:\n    preupgrade: configs/packaging/preinstall.sh\n    postupgrade: configs/packaging/postinstall.sh\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the package's description has no %q", want)
		}
	}
}

// What runs after an upgrade must neither leave the old program running nor end it for one that will not start.
func TestAnUpgradeRestartsTheDaemon(t *testing.T) {
	text, err := os.ReadFile("packaging/postinstall.sh")
	if err != nil {
		t.Fatal(err)
	}
	const (
		apk      = "rc-service --ifstarted --quiet culvertd restart (in a session of its own)"
		deb      = "systemctl daemon-reload\nsystemctl try-restart culvertd.service"
		atWork   = "culvertd goes on running as it was before the upgrade: this version "
		toMend   = ".\nSee what is wrong with \"sudo culvertd check\", then: sudo "
		toConfig = "see what is missing with \"sudo culvertd check\",\nand start it with \"sudo "
	)
	for name, c := range map[string]struct {
		manager, found string
		stopped        bool
		calls, says    string // says: how the output ends
	}{
		"OpenRC":                         {"rc-service", "0", false, "upgraded\n" + apk, ""},
		"OpenRC, a finding":              {"rc-service", "1", false, "upgraded\n" + apk, ""},
		"OpenRC, stopped":                {"rc-service", "0", true, "upgraded", ""},
		"OpenRC, the configuration":      {"rc-service", "2", false, "upgraded", atWork + "does not accept its configuration" + toMend + "rc-service culvertd restart\n"},
		"OpenRC, not configured":         {"rc-service", "2", true, "upgraded", toConfig + "rc-update add culvertd && sudo rc-service culvertd start\".\n"},
		"OpenRC, for another processor":  {"rc-service", "132", false, "upgraded", atWork + "does not run here (exit code 132)" + toMend + "rc-service culvertd restart\n"},
		"systemd":                        {"systemctl", "0", false, deb + "\nupgraded", ""},
		"systemd, a finding":             {"systemctl", "1", false, deb + "\nupgraded", ""},
		"systemd, the configuration":     {"systemctl", "2", false, "systemctl daemon-reload\nupgraded", atWork + "does not accept its configuration" + toMend + "systemctl restart culvertd\n"},
		"systemd, not configured":        {"systemctl", "2", true, "systemctl daemon-reload\nupgraded", toConfig + "systemctl enable --now culvertd\".\n"},
		"systemd, for another processor": {"systemctl", "132", true, "systemctl daemon-reload\nupgraded", "this version does not run here (exit code 132).\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put := func(name, text string) string {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
				return path
			}
			for _, program := range []string{"sh", "rm", "cat", "setsid"} {
				path, err := exec.LookPath(program)
				if err != nil {
					t.Skipf("%s is not installed", program)
				}
				if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(path, filepath.Join(dir, "bin", program)); err != nil {
					t.Fatal(err)
				}
			}
			put("bin/"+c.manager, manager)
			put("bin/sleep", "#!/bin/sh\n")
			if c.manager == "systemctl" {
				put("systemd/x", "")
			}
			script := put("postinstall.sh", strings.NewReplacer(
				"/usr/bin/culvertd", put("culvertd", "#!/bin/sh\nexit "+c.found+"\n"),
				"/run/culvertd.new", filepath.Join(dir, "new"), "/run/systemd/system", filepath.Join(dir, "systemd"),
			).Replace(string(text)))
			stopped := "0"
			if c.stopped {
				stopped = "3"
			}

			// Descriptor 3 ends with the last process that the script has left behind. The shell is the package manager: what
			// it still does comes before a restart that would end it.
			calls, called, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer calls.Close()
			var out bytes.Buffer
			cmd := exec.Command("sh", "-c", `"$1" 1.2.3 1.2.2 && echo upgraded >&3`, "sh", script)
			cmd.Env = []string{"PATH=" + filepath.Join(dir, "bin"), "STOPPED=" + stopped}
			cmd.ExtraFiles = []*os.File{called}
			cmd.Stdout, cmd.Stderr = &out, &out
			err = cmd.Run()
			_ = called.Close()
			all, _ := io.ReadAll(calls)
			if err != nil || strings.TrimSpace(string(all)) != c.calls {
				t.Errorf("%v: it calls\n%s\nwant\n%s", err, all, c.calls)
			}
			if said := out.String(); !strings.HasSuffix(said, c.says) || c.says == "" && said != "" {
				t.Errorf("it says %q, want %q", said, c.says)
			}
		})
	}
}
