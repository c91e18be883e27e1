package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/test/harness"
)

// TestInstallWithoutAPackageManagerSetsTheServiceUp: "culvertd init" enables and starts a service, which must be there,
// with a user of its own and the program where it is.
func TestInstallWithoutAPackageManagerSetsTheServiceUp(t *testing.T) {
	t.Parallel()
	const unit, openrc, procd = "usr/local/lib/systemd/system/culvertd.service", "etc/init.d/culvertd", "usr/local/share/culvertd/culvertd.init"
	made := "groupadd --system culvert\nuseradd --system --gid culvert --home-dir /var/lib/culvert --no-create-home --shell /usr/sbin/nologin --comment Culvert culvert\n"
	const toMend = ".\nSee what is wrong with \"sudo ROOT/usr/local/bin/culvertd check\", then: sudo "
	for name, c := range map[string]struct {
		there  []string // programs and files, which decide what the service manager is
		status int      // of culvertd check; 126 of all commands
		file   string   // what starts the daemon; "" where nothing is installed
		line   string
		calls  string
		next   string
	}{
		"systemd":                 {[]string{"sudo", "systemctl", "useradd", "groupadd", "run/systemd/system/"}, 2, unit, "ExecStart=ROOT/usr/local/bin/culvertd\n", made + "systemctl daemon-reload\nchgrp culvert ROOT/etc/culvert\nchgrp culvert ROOT/etc/culvert/culvertd.toml\n", "ROOT/usr/local/bin/culvertd init"},
		"systemd configured":      {[]string{"sudo", "systemctl", "useradd", "groupadd", "run/systemd/system/", "etc/culvert/culvertd.toml"}, 1, unit, "ExecStart=ROOT/usr/local/bin/culvertd\n", made + "systemctl daemon-reload\n", "systemctl restart culvertd"},
		"systemd with an example": {[]string{"sudo", "systemctl", "useradd", "groupadd", "run/systemd/system/", "example"}, 2, unit, "ExecStart=ROOT/usr/local/bin/culvertd\n", made + "systemctl daemon-reload\n", "ROOT/usr/local/bin/culvertd init"},
		"systemd not accepted":    {[]string{"sudo", "systemctl", "useradd", "groupadd", "run/systemd/system/", "etc/culvert/culvertd.toml", "usr/local/bin/culvertd"}, 2, unit, "ExecStart=ROOT/usr/local/bin/culvertd\n", made + "systemctl daemon-reload\n", "does not accept its configuration" + toMend + "systemctl restart culvertd\n"},
		"systemd check is killed": {[]string{"sudo", "systemctl", "useradd", "groupadd", "run/systemd/system/", "etc/culvert/culvertd.toml", "usr/local/bin/culvertd"}, 137, unit, "ExecStart=ROOT/usr/local/bin/culvertd\n", made + "systemctl daemon-reload\n", "does not run here (exit code 137)" + toMend + "systemctl restart culvertd\n"},
		"systemd does not run":    {[]string{"sudo", "systemctl", "useradd", "groupadd", "run/systemd/system/", "etc/culvert/culvertd.toml", "usr/local/bin/culvertd"}, 126, "", "", made, "this version does not run here (exit code 126): nothing was installed"},
		"systemd in an image":     {[]string{"systemctl", "addgroup", "adduser"}, 2, unit, "User=culvert\n", "addgroup -S culvert\nadduser -S -D -H -G culvert -h /var/lib/culvert -s /sbin/nologin -g Culvert culvert\nchgrp culvert ROOT/etc/culvert\nchgrp culvert ROOT/etc/culvert/culvertd.toml\n", "ROOT/usr/local/bin/culvertd init"},
		"OpenRC":                  {[]string{"rc-service", "useradd", "groupadd"}, 2, openrc, `command="ROOT/usr/local/bin/culvertd"`, made + "chgrp culvert ROOT/etc/culvert\nchgrp culvert ROOT/etc/culvert/culvertd.toml\n", "ROOT/usr/local/bin/culvertd init"},
		"procd":                   {[]string{"apk", "etc/rc.common"}, 2, openrc, "procd_set_param command ROOT/usr/local/bin/culvertd ", "", "ROOT/usr/local/bin/culvertd init"},
		"procd not accepted":      {[]string{"apk", "etc/rc.common", "etc/culvert/culvertd.toml"}, 2, openrc, "procd_set_param command ROOT/usr/local/bin/culvertd ", "", "See what is wrong with \"ROOT/usr/local/bin/culvertd check\", then: ROOT/etc/init.d/culvertd restart\n"},
		"none":                    {nil, 2, procd, "ROOT/usr/local/bin/culvertd ", "", "ROOT/usr/local/bin/culvertd init"},
		"none configured":         {[]string{"sudo", "etc/culvert/culvertd.toml"}, 0, procd, "ROOT/usr/local/bin/culvertd ", "", "ROOT/usr/local/bin/culvertd     # to run this version"},
		"none not accepted":       {[]string{"sudo", "etc/culvert/culvertd.toml"}, 2, procd, "ROOT/usr/local/bin/culvertd ", "", "does not accept its configuration" + toMend + "ROOT/usr/local/bin/culvertd\n"},
		"no way to a user":        {[]string{"systemctl"}, 2, "", "", "", "useradd or adduser is needed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, map[string]string{"id": "0", "uname": "x86_64", "getconf": "64"})
			for _, name := range []string{"grep", "gzip", "tar"} {
				path, err := exec.LookPath(name)
				if err != nil {
					t.Skipf("no %s here", name)
				}
				if err := os.Symlink(path, filepath.Join(m.bin, name)); err != nil {
					t.Fatal(err)
				}
			}
			root := t.TempDir()
			put := func(path, text string) {
				t.Helper()
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := harness.WriteProgram(path, []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			put(filepath.Join(root, "etc/group"), "root:x:0:\n")
			put(filepath.Join(root, "etc/passwd"), "root:x:0:0::/root:/bin/sh\n")
			for _, what := range append(c.there, "chgrp") {
				switch {
				case what == "example":
					example, err := os.ReadFile("../../configs/minimal.toml")
					if err != nil {
						t.Fatal(err)
					}
					put(filepath.Join(root, "etc/culvert/culvertd.toml"), string(example))
				case strings.HasSuffix(what, "/"):
					if err := os.MkdirAll(filepath.Join(root, what), 0o700); err != nil {
						t.Fatal(err)
					}
				case strings.Contains(what, "/"):
					put(filepath.Join(root, what), "")
				default:
					put(filepath.Join(m.bin, what), "#!/bin/sh\necho \"${0##*/} $*\" >>"+m.done+"\n")
				}
			}
			from := tarball(t, c.status)
			text, err := os.ReadFile("../../scripts/install.sh")
			if err != nil {
				t.Fatal(err)
			}
			script := filepath.Join(root, "install.sh")
			put(script, regexp.MustCompile(`(/usr/local/|/etc/|/run/systemd/)`).ReplaceAllString(string(text), root+"$1"))
			before := installed(t, root)
			cmd := exec.Command("sh", script, "--from", from)
			cmd.Env = []string{"PATH=" + m.bin, "TMPDIR=" + t.TempDir()}
			out, err := cmd.CombinedOutput()
			here := func(s string) string { return strings.ReplaceAll(s, "ROOT", root) }
			if (err == nil) != (c.file != "") || !strings.Contains(string(out), here(c.next)) {
				t.Errorf("%v: it says %q, want %q", err, out, here(c.next))
			}
			if init := strings.Contains(string(out), "culvertd init"); init != strings.HasSuffix(c.next, " init") {
				t.Errorf("it says %q", out) // init would replace a configuration that is in use
			}
			if sudo := strings.Contains(string(out), "sudo "); c.file != "" && sudo != slices.Contains(c.there, "sudo") {
				t.Errorf("it says %q", out)
			}
			if calls, _ := os.ReadFile(m.done); string(calls) != here(c.calls) {
				t.Errorf("it calls\n%s\nwant\n%s", calls, here(c.calls))
			}
			if c.file == "" {
				if after := installed(t, root); after != before {
					t.Errorf("something was installed:\n%s\nwas\n%s", after, before)
				}
				return
			}
			if started, err := os.ReadFile(filepath.Join(root, c.file)); err != nil || !strings.Contains(string(started), here(c.line)) {
				t.Errorf("%s: %v\n%s\nhas no %q", c.file, err, started, here(c.line))
			}
		})
	}
}

// installed lists the files and directories below usr, and what is in them.
func installed(t *testing.T, root string) (list string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, "usr"), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		list += path + "\n"
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		list += string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// tarball is a release of the daemon's for systems without a package manager, in which culvertd only has an exit code.
// "culvertd version" works with all but 126, which is that of a file that cannot be run.
func tarball(t *testing.T, status int) (from string) {
	t.Helper()
	const name = "culvertd_1.2.3_linux_amd64"
	from = t.TempDir()
	dir := filepath.Join(from, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := harness.WriteProgram(filepath.Join(dir, "culvertd"), fmt.Appendf(nil, "#!/bin/sh\n[ $1 = version ] && [ %[1]d != 126 ] || exit %[1]d\n", status)); err != nil {
		t.Fatal(err)
	}
	packs, err := os.ReadFile("../../scripts/packages")
	if err != nil {
		t.Fatal(err)
	}
	_, files, _ := strings.Cut(string(packs), `if [ "$program" = culvertd ]; then`)
	files, _, _ = strings.Cut(files, `"$dir/"`)
	for _, file := range strings.Fields(files)[1:] {
		data, err := os.ReadFile("../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("tar", "-czf", dir+".tar.gz", "-C", from, name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(dir + ".tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "SHA256SUMS"), fmt.Appendf(nil, "%x  %s.tar.gz\n", sha256.Sum256(data), name), 0o600); err != nil {
		t.Fatal(err)
	}
	return from
}
