package build

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// packages is a directory like the one that scripts/packages leaves for all platforms, with programs of one line each.
func packages(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, program := range []string{"culvert", "culvertd"} {
		for _, arch := range []string{"amd64", "arm64", "armhf"} {
			root := t.TempDir()
			write(t, filepath.Join(root, "usr/bin", program), "#!/bin/sh\necho "+program+"\n")
			write(t, filepath.Join(root, "DEBIAN/control"), fmt.Sprintf(
				"Package: %s\nVersion: 1.2.3\nArchitecture: %s\nMaintainer: Culvert <packages@culvert-iot.example>\nDescription: a test\n of two lines\n", program, arch))
			run(t, nil, "dpkg-deb", "--build", "--root-owner-group", "-Zgzip", root, filepath.Join(dir, program+"_1.2.3_"+arch+".deb"))
		}
		for _, platform := range []string{"linux_amd64.tar.gz", "linux_arm64.tar.gz", "darwin_arm64.tar.gz", "windows_amd64.zip"} {
			write(t, filepath.Join(dir, program+"_1.2.3_"+platform), program+" for "+platform+"\n")
		}
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs a program from the top of the repository, and returns what it printed.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	out, err := try(env, name, args...)
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

func try(env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// need skips a test where a program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
}

// published is a release that scripts/release made and signed with keys of the test.
type published struct {
	packages, out, key string
	env                []string
}

func publish(t *testing.T) published {
	t.Helper()
	need(t, "bash", "git", "gpg", "gpgconf", "ssh-keygen", "dpkg-deb", "sha256sum")
	p := published{packages: packages(t), out: filepath.Join(t.TempDir(), "release"), key: filepath.Join(t.TempDir(), "key")}
	run(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f", p.key)
	// gpg's agent puts a socket there, whose path must be short.
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	gnupg := []string{"GNUPGHOME=" + home}
	t.Cleanup(func() {
		_, _ = try(gnupg, "gpgconf", "--kill", "all")
		_ = os.RemoveAll(home)
	})
	run(t, gnupg, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "Culvert's test", "ed25519", "sign", "never")
	p.env = append(gnupg, "KEY="+p.key, "APT_KEY=Culvert's test", "APT_URL=file://"+p.out+"/apt", "URL=")
	p.make(t, p.out)
	return p
}

func (p published) make(t *testing.T, out string) {
	t.Helper()
	run(t, p.env, "scripts/release", p.packages, out)
}

// sums returns the checksums of all files below a directory.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		all[path] = fmt.Sprintf("%x", sha256.Sum256(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRelease makes one release. The first subtests do not change it.
func TestRelease(t *testing.T) {
	p := publish(t)
	t.Run("the same bytes again", p.isReproducible)
	t.Run("describes its files", p.describesItsFiles)
	t.Run("installed as the README says", p.isInstalledAsWritten)
	t.Run("verified by its install.sh", p.isVerified)
	t.Run("an APT repository", p.isAnAPTRepository)
}

func (p published) isReproducible(t *testing.T) {
	again := filepath.Join(t.TempDir(), "again")
	p.make(t, again)
	first, second := sums(t, p.out), sums(t, again)
	for _, signed := range []string{"apt/dists/stable/InRelease", "apt/dists/stable/Release.gpg"} { // with the time
		if first[signed] == "" {
			t.Errorf("there is no %s", signed)
		}
		delete(first, signed)
		delete(second, signed)
	}
	if !maps.Equal(first, second) {
		t.Errorf("made twice:\n%v\n%v", first, second)
	}
}

func (p published) describesItsFiles(t *testing.T) {
	dir := filepath.Join(p.out, "files")
	of := sums(t, dir)
	read := func(name string) string {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	const url = "https://github.com/culvert-iot/culvert/releases/download/v1.2.3/"

	t.Run("Homebrew", func(t *testing.T) {
		formula := read("culvert.rb")
		for _, name := range []string{"culvert_1.2.3_darwin_arm64.tar.gz", "culvert_1.2.3_linux_amd64.tar.gz", "culvert_1.2.3_linux_arm64.tar.gz"} {
			if !strings.Contains(formula, fmt.Sprintf("url %q\n", url+name)) || !strings.Contains(formula, fmt.Sprintf("sha256 %q\n", of[name])) {
				t.Errorf("not with %s:\n%s", name, formula)
			}
		}
		need(t, "ruby")
		run(t, nil, "ruby", "-c", filepath.Join(dir, "culvert.rb"))
	})
	t.Run("Scoop", func(t *testing.T) {
		var manifest struct {
			Version, Bin string
			Architecture map[string]struct{ URL, Hash string }
		}
		if err := json.Unmarshal([]byte(read("culvert.json")), &manifest); err != nil {
			t.Fatal(err)
		}
		const name = "culvert_1.2.3_windows_amd64.zip"
		if a := manifest.Architecture["64bit"]; manifest.Version != "1.2.3" || a.URL != url+name || a.Hash != of[name] {
			t.Errorf("%+v", manifest)
		}
	})
	t.Run("Nix", func(t *testing.T) {
		if sum := of["culvert_1.2.3_linux_arm64.tar.gz"]; !strings.Contains(read("culvert.nix"), sum) {
			t.Errorf("not with %s:\n%s", sum, read("culvert.nix"))
		}
		need(t, "nix-instantiate")
		run(t, []string{"HOME=" + t.TempDir()}, "nix-instantiate", "--parse", filepath.Join(dir, "culvert.nix"))
	})
	t.Run("provenance", func(t *testing.T) {
		var statement struct {
			Type      string `json:"_type"`
			Predicate struct {
				BuildDefinition struct {
					ResolvedDependencies []struct{ Digest map[string]string }
				}
			}
			Subject []struct {
				Name   string
				Digest map[string]string
			}
		}
		if err := json.Unmarshal([]byte(read("provenance.intoto.json")), &statement); err != nil {
			t.Fatal(err)
		}
		commit := strings.TrimSpace(run(t, nil, "git", "rev-parse", "HEAD"))
		if from := statement.Predicate.BuildDefinition.ResolvedDependencies; len(from) != 1 || from[0].Digest["gitCommit"] != commit {
			t.Errorf("made of %v, not of %s", from, commit)
		}
		said := map[string]string{}
		for _, s := range statement.Subject {
			said[s.Name] = s.Digest["sha256"]
		}
		want := maps.Clone(of)
		for _, later := range []string{"provenance.intoto.json", "SHA256SUMS", "SHA256SUMS.sig"} {
			delete(want, later)
		}
		if !maps.Equal(said, want) {
			t.Errorf("it speaks of\n%v, and there are\n%v", said, want)
		}
	})
	t.Run("checksums", func(t *testing.T) {
		list := read("SHA256SUMS")
		for name, sum := range of {
			if !strings.HasPrefix(name, "SHA256SUMS") && !strings.Contains(list, sum+"  "+name+"\n") {
				t.Errorf("SHA256SUMS does not have %s", name)
			}
		}
	})
}

// isInstalledAsWritten types the lines of the README and of docs/install.md for a release, from its files and without
// installing.
func (p published) isInstalledAsWritten(t *testing.T) {
	need(t, "dpkg")
	dir := filepath.Join(p.out, "files")
	script, err := os.ReadFile(filepath.Join(dir, "install.sh"))
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^(?:curl -fsSLO (\S+)/install\.sh|sudo sh install\.sh (culvertd?))(?: +#.*)?$`)
	for _, page := range []string{"README.md", "docs/install.md"} {
		found := lines.FindAllStringSubmatch(read(t, page), -1)
		if len(found) < 2 {
			t.Errorf("%s has %d lines that install a release", page, len(found))
		}
		for _, m := range found {
			if m[1] != "" {
				if !strings.Contains(string(script), "\nrelease="+m[1]+"\n") {
					t.Errorf("%s: install.sh does not look in %s", page, m[1])
				}
				continue
			}
			out := run(t, nil, "sh", filepath.Join(dir, "install.sh"), "--dry-run", "--from", dir, m[2])
			if !strings.HasPrefix(out, m[2]+"_1.2.3_") {
				t.Errorf("%s: %q: %s", page, m[0], out)
			}
		}
	}
}

// isVerified lets the release's script choose a package: it takes one only from a signed list.
func (p published) isVerified(t *testing.T) {
	need(t, "dpkg")
	dir := filepath.Join(p.out, "files")
	script := filepath.Join(dir, "install.sh")
	other := filepath.Join(t.TempDir(), "other")
	run(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other)
	list := filepath.Join(dir, "SHA256SUMS")
	whole, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func()
		args   []string
		want   string // "" is success
	}{
		{"as it was made", func() {}, nil, ""},
		{"with the key in a file", func() {}, []string{"--key", p.key + ".pub"}, ""},
		{"with another key", func() {}, []string{"--key", other + ".pub"}, "not signed with the key"},
		{"a changed list", func() { write(t, list, strings.Replace(string(whole), "a", "b", 1)) }, nil, "not signed with the key"},
		{"a changed list, whose signature is not wanted", func() {}, []string{"--unsigned"}, ""},
		{"signed by another", func() {
			_ = os.Remove(list + ".sig")
			run(t, nil, "ssh-keygen", "-q", "-Y", "sign", "-f", other, "-n", "culvert-release", list)
		}, nil, "not signed with the key"},
		{"signed for another purpose", func() {
			write(t, list, string(whole))
			_ = os.Remove(list + ".sig")
			run(t, nil, "ssh-keygen", "-q", "-Y", "sign", "-f", p.key, "-n", "file", list)
		}, nil, "not signed with the key"},
		{"without a signature", func() { _ = os.Remove(list + ".sig") }, nil, "--unsigned"},
	} {
		tt.change()
		out, err := try(nil, "sh", append([]string{script, "--dry-run", "--from", dir}, tt.args...)...)
		if tt.want == "" && (err != nil || !strings.Contains(out, "culvertd_1.2.3_")) || tt.want != "" && (err == nil || !strings.Contains(out, tt.want)) {
			t.Errorf("%s: %v: %s", tt.name, err, out)
		}
	}
}

// isAnAPTRepository lets apt read the repository, in a root of its own.
func (p published) isAnAPTRepository(t *testing.T) {
	need(t, "apt-get", "dpkg")
	repository := filepath.Join(p.out, "apt")
	root := t.TempDir()
	for _, dir := range []string{"etc/apt/sources.list.d", "etc/apt/preferences.d", "etc/apt/apt.conf.d", "state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "status"), "")
	source, err := os.ReadFile(filepath.Join(repository, "culvert.sources"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "etc/apt/sources.list.d/culvert.sources"),
		strings.Replace(string(source), "/usr/share/keyrings", repository, 1))
	apt := func(args ...string) (string, error) {
		options := []string{
			"-o", "Dir::Etc=" + root + "/etc/apt", "-o", "Dir::State=" + root + "/state", "-o", "Dir::State::status=" + root + "/status",
			"-o", "Dir::Cache=" + root + "/cache", "-o", "APT::Sandbox::User=", "-o", "Debug::NoLocking=1", "-o", "APT::Architecture=arm64",
		}
		return try([]string{"APT_CONFIG=" + root + "/status", "LC_ALL=C"}, "apt-get", append(options, args...)...)
	}
	install := []string{"install", "--download-only", "-y", "culvertd"}
	if out, err := apt("update"); err != nil || strings.Contains(out, "\nW:") {
		t.Fatalf("update: %v\n%s", err, out)
	}
	if out, err := apt(install...); err != nil || strings.Contains(out, "WARNING") {
		t.Fatalf("install: %v\n%s", err, out)
	}

	// The package contains another program of the same size.
	deb := filepath.Join(repository, "pool/main/c/culvertd/culvertd_1.2.3_arm64.deb")
	content, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-1] ^= 1
	write(t, deb, string(content))
	if err := os.RemoveAll(filepath.Join(root, "cache/archives")); err != nil {
		t.Fatal(err)
	}
	if out, err := apt(install...); err == nil || !strings.Contains(out, "Hash Sum mismatch") {
		t.Errorf("a changed package: %v\n%s", err, out)
	}

	for _, name := range []string{"InRelease", "Release"} { // apt reads the second if the first is missing
		file := filepath.Join(repository, "dists/stable", name)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, file, strings.Replace(string(text), "Label: Culvert", "Label: Another", 1))
		if err := os.RemoveAll(filepath.Join(root, "state/lists")); err != nil {
			t.Fatal(err)
		}
		if out, err := apt("update"); err == nil || !strings.Contains(out, "is not signed") && !strings.Contains(out, "BADSIG") {
			t.Errorf("a changed %s: %v\n%s", name, err, out)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReleaseNeedsAKeyAndAllPlatforms(t *testing.T) {
	need(t, "bash", "git")
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, "")
	for _, tt := range []struct {
		name string
		env  []string
		want string
	}{
		{"no key", []string{"KEY="}, "ssh-keygen -t ed25519"},
		{"a key that is not there", []string{"KEY=/nonexistent"}, "there is no key /nonexistent"},
		{"no packages", []string{"KEY=" + key}, "no packages of all platforms"},
	} {
		if out, err := try(tt.env, "scripts/release", t.TempDir(), t.TempDir()); err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %v: %s", tt.name, err, out)
		}
	}
}
