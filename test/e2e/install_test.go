package e2e

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
