package e2e

import (
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/test/harness"
)

// release is a directory as make packages leaves it, with files of a line each.
func release(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var sums strings.Builder
	for _, program := range []string{"culvert", "culvertd"} { // the first one's name begins the second's
		for _, name := range []string{
			"_1.2.3_amd64.deb", "_1.2.3_arm64.deb", "_1.2.3_armhf.deb",
			"-1.2.3.x86_64.rpm", "-1.2.3.aarch64.rpm", "-1.2.3.armv7hl.rpm", "-1.2.3.armv6hl.rpm",
			"-1.2.3.x86_64.apk", "-1.2.3.aarch64.apk", "-1.2.3.armv7.apk", "-1.2.3.armhf.apk",
			"_1.2.3_linux_amd64.tar.gz", "_1.2.3_linux_arm64.tar.gz", "_1.2.3_linux_armv7.tar.gz", "_1.2.3_linux_armv6.tar.gz",
			"_1.2.3_linux_arm64.cdx.json",
		} {
			text := program + name + "\n"
			if err := os.WriteFile(filepath.Join(dir, program+name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256([]byte(text)), program+name)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(sums.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// machine is a system of which only some programs are there, and those that are asked give the answers that they are
// given. What installs is written down.
type machine struct {
	bin, done string
	env       []string
}

func newMachine(t *testing.T, answers map[string]string) machine {
	t.Helper()
	m := machine{bin: t.TempDir(), done: filepath.Join(t.TempDir(), "done")}
	for _, name := range []string{"sh", "awk", "cat", "chmod", "cp", "dirname", "mkdir", "mktemp", "mv", "rm", "sed", "sha256sum", "curl"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("the script needs %s", name)
		}
		if err := os.Symlink(path, filepath.Join(m.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, answer := range answers {
		script := "#!/bin/sh\necho '" + answer + "'\n"
		if answer == "" { // it installs, and must be given a file that is whole
			script = "#!/bin/sh\necho \"" + name + " $*\" >>" + m.done + "\nfor f; do last=$f; done\ncat \"$last\" >>" + m.done + "\n"
		}
		if err := harness.WriteProgram(filepath.Join(m.bin, name), []byte(script)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m machine) install(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"../../scripts/install.sh"}, args...)...)
	cmd.Env = append(m.env, "PATH="+m.bin, "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestInstallChoosesThePackage(t *testing.T) {
	t.Parallel()
	dir := release(t)
	for _, tt := range []struct {
		name    string
		answers map[string]string
		program string
		want    string // "" is a failure
	}{
		{"Debian on amd64", map[string]string{"dpkg": "amd64"}, "culvertd", "culvertd_1.2.3_amd64.deb"},
		{"the operator's command", map[string]string{"dpkg": "arm64"}, "culvert", "culvert_1.2.3_arm64.deb"},
		{"Raspberry Pi OS of 32 bits on a kernel of 64", map[string]string{"dpkg": "armhf", "uname": "aarch64"}, "culvertd", "culvertd_1.2.3_armhf.deb"},
		{"Debian that has rpm, too", map[string]string{"dpkg": "amd64", "rpm": "x86_64"}, "culvertd", "culvertd_1.2.3_amd64.deb"},
		{"Debian on what there is no package for", map[string]string{"dpkg": "riscv64"}, "culvertd", ""},
		{"Fedora", map[string]string{"rpm": "aarch64"}, "culvertd", "culvertd-1.2.3.aarch64.rpm"},
		{"an rpm system on ARMv7", map[string]string{"rpm": "arm", "uname": "armv7l", "getconf": "32"}, "culvertd", "culvertd-1.2.3.armv7hl.rpm"},
		{"an rpm system on ARMv6", map[string]string{"rpm": "arm", "uname": "armv6l", "getconf": "32"}, "culvertd", "culvertd-1.2.3.armv6hl.rpm"},
		{"Alpine", map[string]string{"apk": "x86_64"}, "culvertd", "culvertd-1.2.3.x86_64.apk"},
		{"Alpine on a Raspberry Pi Zero", map[string]string{"apk": "armhf"}, "culvertd", "culvertd-1.2.3.armhf.apk"},
		{"no package manager", map[string]string{"uname": "x86_64", "getconf": "64"}, "culvertd", "culvertd_1.2.3_linux_amd64.tar.gz"},
		{"no package manager, 32 bits on a kernel of 64", map[string]string{"uname": "aarch64", "getconf": "32"}, "culvertd", "culvertd_1.2.3_linux_armv7.tar.gz"},
		{"no package manager on ARMv6", map[string]string{"uname": "armv6l", "getconf": "32"}, "culvertd", "culvertd_1.2.3_linux_armv6.tar.gz"},
		{"no package manager, and another processor", map[string]string{"uname": "mips", "getconf": "32"}, "culvertd", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out, err := newMachine(t, tt.answers).install(t, "--dry-run", "--from", dir, tt.program)
			if tt.want == "" {
				if err == nil || !strings.Contains(out, "there is no package for") {
					t.Errorf("%v: %s", err, out)
				}
				return
			}
			if err != nil || out != tt.want+" from "+dir+"\n" {
				t.Errorf("%v: %q, want %s", err, out, tt.want)
			}
		})
	}
}

// An operator with another system would get a program for Linux, which does not run there.
func TestInstallOnAnotherSystemSaysWhatToTake(t *testing.T) {
	t.Parallel()
	dir := release(t)
	for system, want := range map[string]string{"Darwin": "brew install ./culvert.rb", "MINGW64_NT-10.0-22631": "scoop install ./culvert.json"} {
		for _, answers := range []map[string]string{{}, {"dpkg": "arm64"}} {
			answers["uname"] = system
			out, err := newMachine(t, answers).install(t, "--dry-run", "--from", dir, "culvert")
			if err == nil || !strings.Contains(out, want) {
				t.Errorf("%s: %v: %s", system, err, out)
			}
		}
	}
}

func TestInstallInstallsOnlyWhatHasItsChecksum(t *testing.T) {
	t.Parallel()
	const name = "culvertd-1.2.3.aarch64.rpm"
	answers := map[string]string{"rpm": "aarch64", "id": "0", "dnf": ""}
	whole := func(t *testing.T, m machine, out string, err error) {
		t.Helper()
		done, _ := os.ReadFile(m.done)
		if want := "/" + name + "\n" + name + "\n"; err != nil || !strings.HasPrefix(string(done), "dnf install -y /") || !strings.HasSuffix(string(done), want) {
			t.Errorf("%v: %s; done: %q", err, out, done)
		}
	}
	t.Run("from a directory", func(t *testing.T) {
		m := newMachine(t, answers)
		out, err := m.install(t, "--from", release(t))
		whole(t, m, out, err)
	})
	t.Run("from a server", func(t *testing.T) {
		server := httptest.NewServer(http.FileServer(http.Dir(release(t))))
		t.Cleanup(server.Close)
		m := newMachine(t, answers)
		out, err := m.install(t, "--from", server.URL)
		whole(t, m, out, err)
	})
	for what, change := range map[string]func(dir string) error{
		"changed": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, name), []byte("something else\n"), 0o600)
		},
		"cut short": func(dir string) error { return os.Truncate(filepath.Join(dir, name), 5) },
		"missing":   func(dir string) error { return os.Remove(filepath.Join(dir, name)) },
		"not listed": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte("0000  other_1.2.3_amd64.deb\n"), 0o600)
		},
		"listed without a sum": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte("nonsense  "+name+"\n"), 0o600)
		},
		"without a list": func(dir string) error { return os.Remove(filepath.Join(dir, "SHA256SUMS")) },
	} {
		t.Run(what, func(t *testing.T) {
			dir := release(t)
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
			m := newMachine(t, answers)
			out, err := m.install(t, "--from", dir)
			if done, _ := os.ReadFile(m.done); err == nil || len(done) > 0 || !strings.HasPrefix(out, "install.sh: ") && !strings.Contains(out, "\ninstall.sh: ") {
				t.Errorf("%v: %s; done: %q", err, out, done)
			}
		})
	}
	t.Run("only root", func(t *testing.T) {
		m := newMachine(t, map[string]string{"rpm": "aarch64", "id": "1000", "dnf": ""})
		if out, err := m.install(t, "--from", release(t)); err == nil || !strings.Contains(out, "only root can install packages") {
			t.Errorf("%v: %s", err, out)
		}
	})
}

func TestInstallFollowsNoRedirectFromHTTPSToHTTP(t *testing.T) {
	t.Parallel()
	files := http.FileServer(http.Dir(release(t)))
	plain := httptest.NewServer(files)
	t.Cleanup(plain.Close)
	var other string
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch to, name, _ := strings.Cut(r.URL.Path[1:], "/"); to {
		case "down":
			http.Redirect(w, r, plain.URL+"/"+name, http.StatusFound)
		case "same":
			http.Redirect(w, r, other+"/"+name, http.StatusFound)
		default:
			files.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(secure.Close)
	other = secure.URL
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(t.TempDir(), "wgetrc")
	if err := os.WriteFile(settings, []byte("ca_certificate = "+authority+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, fetcher := range []string{"curl", "wget"} {
		t.Run(fetcher, func(t *testing.T) {
			m := newMachine(t, map[string]string{"dpkg": "amd64"})
			m.env = []string{"CURL_CA_BUNDLE=" + authority, "WGETRC=" + settings}
			_ = os.Remove(filepath.Join(m.bin, "curl"))
			for _, name := range []string{fetcher, "grep"} {
				path, err := exec.LookPath(name)
				if err != nil {
					t.Skipf("no %s here", name)
				}
				if err := os.Symlink(path, filepath.Join(m.bin, name)); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := m.install(t, "--dry-run", "--from", secure.URL+"/same"); err != nil || !strings.Contains(out, "culvertd_1.2.3_amd64.deb") {
				t.Errorf("a redirect within https: %v: %s", err, out)
			}
			if out, err := m.install(t, "--dry-run", "--from", secure.URL+"/down"); err == nil || !strings.Contains(out, "https") {
				t.Errorf("a redirect to http: %v: %s", err, out)
			}
		})
	}
}

// TestInstallTakesNothingThatCameByAnotherProtocol: wget follows a redirect to ftp, too.
func TestInstallTakesNothingThatCameByAnotherProtocol(t *testing.T) {
	t.Parallel()
	from := release(t)
	for location, want := range map[string]string{
		"ftp://mirror.example/a:b":    "redirects from https to another protocol, ftp: nothing was installed",
		"HTTP://mirror.example:80/x":  "redirects from https to another protocol, HTTP: nothing was installed",
		"https://mirror.example:44/x": "culvertd_1.2.3_amd64.deb",
		"/x:y":                        "culvertd_1.2.3_amd64.deb",
	} {
		m := newMachine(t, map[string]string{"dpkg": "amd64"})
		_ = os.Remove(filepath.Join(m.bin, "curl"))
		wget := "#!/bin/sh\necho '  Location: " + location + "' >&2\nwhile [ \"$1\" != -O ]; do shift; done\ncp '" + from + "/SHA256SUMS' \"$2\"\n"
		if err := harness.WriteProgram(filepath.Join(m.bin, "wget"), []byte(wget)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"grep", "sed", "cp"} {
			if path, err := exec.LookPath(name); err == nil {
				_ = os.Symlink(path, filepath.Join(m.bin, name))
			}
		}
		if out, _ := m.install(t, "--dry-run", "--from", "https://release.example"); !strings.Contains(out, want) {
			t.Errorf("%s: %s", location, out)
		}
	}
}

// TestInstallSaysThatWgetShowsNoRedirects: that of OpenWrt, uclient-fetch, knows no -S. Without it a redirect to http would
// be followed unseen.
func TestInstallSaysThatWgetShowsNoRedirects(t *testing.T) {
	t.Parallel()
	from := release(t)
	m := newMachine(t, map[string]string{"dpkg": "amd64"})
	_ = os.Remove(filepath.Join(m.bin, "curl"))
	wget := `#!/bin/sh
for arg; do
  [ "$arg" != -S ] || { printf 'wget: unrecognized option: S\nUsage: wget [options] <URL>\nOptions:\n' >&2; exit 1; }
done
while [ "$1" != -O ]; do shift; done
cp '` + from + `/SHA256SUMS' "$2"
`
	if err := harness.WriteProgram(filepath.Join(m.bin, "wget"), []byte(wget)); err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath("grep")
	if err != nil {
		t.Skip("no grep here")
	}
	if err := os.Symlink(path, filepath.Join(m.bin, "grep")); err != nil {
		t.Fatal(err)
	}
	if out, err := m.install(t, "--dry-run", "--from", "https://release.example"); err == nil || !strings.Contains(out, "install curl") || strings.Contains(out, "Usage") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := m.install(t, "--dry-run", "--from", "http://release.example"); err != nil {
		t.Errorf("http, where redirects are free: %v: %s", err, out)
	}
}

// TestInstallWithoutARelease: the latest release cannot be fetched, and the script says how to go on.
func TestInstallWithoutARelease(t *testing.T) {
	t.Parallel()
	m := newMachine(t, map[string]string{"dpkg": "amd64"})
	_ = os.Remove(filepath.Join(m.bin, "curl"))
	if err := harness.WriteProgram(filepath.Join(m.bin, "curl"), []byte("#!/bin/sh\nexit 22\n")); err != nil {
		t.Fatal(err)
	}
	out, err := m.install(t, "--dry-run", "culvertd")
	if err == nil || !strings.Contains(out, `"make packages"`) || !strings.Contains(out, "--from dist/packages") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := m.install(t, "--dry-run", "--from", "https://elsewhere.example"); err == nil || strings.Contains(out, "make packages") {
		t.Errorf("%v\n%s", err, out)
	}
}

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

// The kernel of a Raspberry Pi says armv7l, and what "make packages ARCH=armv7" makes has nothing for its system.
func TestInstallSaysWhatToBuildForDebian(t *testing.T) {
	t.Parallel()
	dir := release(t)
	sums, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	armv7 := regexp.MustCompile(`(?m)^.*_armhf\.deb\n`).ReplaceAll(sums, nil)
	if err := os.WriteFile(filepath.Join(dir, "SHA256SUMS"), armv7, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := newMachine(t, map[string]string{"dpkg": "armhf"}).install(t, "--dry-run", "--from", dir)
	if err == nil || !strings.Contains(out, `"make packages ARCH=armhf"`) {
		t.Errorf("%v: %s", err, out)
	}
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
