package configs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A package that comes back must find the tunnels of the one that went, and what is secret must not stay unmentioned.
// deb knows a purge, rpm and apk do not.
func TestARemovalKeepsTheTunnelsAndSaysSo(t *testing.T) {
	text, err := os.ReadFile("packaging/postremove.sh")
	if err != nil {
		t.Fatal(err)
	}
	const (
		all  = "etc/culvert/culvertd.toml etc/culvert/private.pem.key var/lib/culvert/tunnel-1.json var/log/culvertd.log"
		kept = "culvertd is removed. Its configuration, private key and the tokens of open tunnels stay, for when it is installed again.\n" +
			"To delete them:\n\n  sudo rm -rf ROOT/etc/culvert ROOT/var/lib/culvert ROOT/var/log/culvertd.log* && sudo userdel culvert\n"
	)
	for name, c := range map[string]struct {
		argument, before, after, says string
	}{
		"deb removes":                   {"remove", all, all, ""},
		"deb purges":                    {"purge", all, "var/log/culvertd.log", ""},
		"deb upgrades":                  {"upgrade", all + " run/culvert/control.sock", all + " run/culvert/control.sock", ""},
		"rpm upgrades":                  {"1", all, all, ""},
		"rpm removes":                   {"0", strings.ReplaceAll(all, ".toml", ".toml.rpmsave"), all, kept},
		"rpm removes the example":       {"0", "run/culvert/control.sock", "", ""},
		"rpm finds a configuration":     {"0", all + " etc/culvert/culvertd.toml.rpmsave", all + " etc/culvert/culvertd.toml.rpmsave", kept},
		"apk removes":                   {"1.2.3", all + " run/culvert/control.sock", all, kept},
		"apk removes what did not run":  {"1.2.3", "etc/culvert/private.pem.key", "etc/culvert/private.pem.key", strings.ReplaceAll(kept, " ROOT/var/lib/culvert ROOT/var/log/culvertd.log*", "")},
		"apk removes what was not used": {"1.2.3", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file := range strings.FieldsSeq(c.before) {
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			bin := filepath.Join(dir, "bin")
			if err := os.Mkdir(bin, 0o700); err != nil {
				t.Fatal(err)
			}
			for name, program := range map[string]string{"sh": "sh", "rm": "rm", "mv": "mv", "cat": "cat", "grep": "grep", "userdel": "true"} {
				path, err := exec.LookPath(program)
				if err != nil {
					t.Skipf("%s is not installed", program)
				}
				if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
					t.Fatal(err)
				}
			}
			script := strings.NewReplacer("/etc/", dir+"/etc/", "/var/", dir+"/var/", "/run/", dir+"/run/").Replace(string(text))
			cmd := exec.Command("sh", "-c", script, "postremove.sh", c.argument)
			cmd.Env = []string{"PATH=" + bin}
			out, err := cmd.CombinedOutput()
			if said, want := string(out), strings.ReplaceAll(c.says, "ROOT", dir); c.argument != "purge" && said != want || err != nil {
				t.Errorf("%v: it says %q, want %q", err, said, want)
			}
			var left []string
			for file := range strings.FieldsSeq(all + " etc/culvert/culvertd.toml.rpmsave run/culvert/control.sock") {
				if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
					left = append(left, file)
				}
			}
			if got := strings.Join(left, " "); got != c.after {
				t.Errorf("left are\n%s\nwant\n%s", got, c.after)
			}
		})
	}
}
