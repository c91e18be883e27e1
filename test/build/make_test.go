package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tools is a directory with what make and its script need, and with go only where fake is its text.
func tools(t *testing.T, fake string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"make", "sh", "awk", "dirname", "sort", "head", "git", "uname"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("%s is not installed", name)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if fake != "" {
		if err := os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\n"+fake), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestMakeSaysWhichGoIsNeeded(t *testing.T) {
	gomod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(gomod), "\ngo ")
	need, _, _ := strings.Cut(rest, "\n")
	for _, tt := range []struct {
		name, fake string
		ok         bool
		words      []string
	}{
		{"none", "", false, []string{"Go " + need, "no go in PATH", "https://go.dev/dl/"}},
		{"too old for the form of go.mod", `[ "$GOTOOLCHAIN" = local ] && echo go1.19.8`, false, []string{"Go " + need, "is 1.19.8", "https://go.dev/dl/"}},
		{"older, and fetches no other", `[ -n "$GO111MODULE" ] && echo go1.24.2`, false, []string{"Go " + need, "is 1.24.2", "GOTOOLCHAIN"}},
		{"the one", "echo go" + need, true, nil},
		{"newer", "echo go1.100.1", true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command("make", "-n", "build")
			cmd.Dir = "../.."
			cmd.Env = []string{"PATH=" + tools(t, tt.fake), "HOME=" + t.TempDir()}
			out, err := cmd.CombinedOutput()
			if (err == nil) != tt.ok {
				t.Fatalf("make: %v\n%s", err, out)
			}
			for _, w := range tt.words {
				if !strings.Contains(string(out), w) {
					t.Errorf("%q is not in:\n%s", w, out)
				}
			}
		})
	}
}

func TestMakeNamesTheArchitecturesOfPackages(t *testing.T) {
	for _, tt := range []struct {
		arch string
		want string
	}{
		{"arm64", "scripts/packages arm64\n"},
		{"armhf", "scripts/packages armv6\n"},
		{"sparc", "amd64, arm64, armv6, armv7 and armhf are known"},
	} {
		cmd := exec.Command("make", "-n", "packages", "ARCH="+tt.arch)
		cmd.Dir = "../.."
		cmd.Env = []string{"PATH=" + tools(t, "echo go1.100.1"), "HOME=" + t.TempDir()}
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), tt.want) {
			t.Errorf("ARCH=%s: %v: %q is not in:\n%s", tt.arch, err, tt.want, out)
		}
		if n := strings.Count(string(out), "/cmd/culvertd"); err == nil && n != 1 {
			t.Errorf("ARCH=%s builds culvertd %d times", tt.arch, n)
		}
	}
}
