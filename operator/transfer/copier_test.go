package transfer

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/openssh"
)

func TestADirectoryGoesThereAndBack(t *testing.T) {
	b := newBed(t)
	tree := filepath.Join(b.here, "tree")
	names := []string{"plain", "with space", "-dash", "ünïcode", "quote'\"$x`", "new\nline", "*?[glob]", "sub/deep/file", ".hidden", "back\\slash"}
	for i, name := range names {
		write(t, filepath.Join(tree, name), noise(i*40000), 0o644)
	}
	write(t, filepath.Join(tree, "script"), []byte("#!/bin/sh\n"), 0o755)
	write(t, filepath.Join(tree, "secret"), []byte("key"), 0o600)
	write(t, filepath.Join(tree, ".old.culvert-part"), []byte("incomplete"), 0o644)
	if err := os.Mkdir(filepath.Join(tree, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"link": "plain", "dangling": "nowhere", "dirlink": "sub"} {
		if err := os.Symlink(to, filepath.Join(tree, name)); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Unix(1_000_000_000, 0)
	for _, name := range []string{"plain", "sub", "."} {
		if err := os.Chtimes(filepath.Join(tree, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"tree", "pi:new"}, {"pi:new", "back"}} {
		b.copy(t, Options{Recursive: true, Preserve: true}, args...)
		b.noErrors(t)
		for _, r := range b.results {
			if r.Kind == File && (r.Check != CheckSHA256 || len(r.SHA256) != 32 || r.State != Copied) {
				t.Errorf("%s: %+v", r.Source, r)
			}
		}
	}
	back := filepath.Join(b.here, "back")
	for i, name := range names {
		sameContent(t, filepath.Join(back, name), noise(i*40000))
	}
	for name, mode := range map[string]os.FileMode{"script": 0o755, "secret": 0o600, "plain": 0o644, "empty": 0o700} {
		if info, err := os.Stat(filepath.Join(back, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, mode)
		}
	}
	for _, name := range []string{"plain", "sub", "."} {
		if info, err := os.Stat(filepath.Join(back, name)); err != nil || !info.ModTime().Equal(old) {
			t.Errorf("%s has the time %v, %v", name, info.ModTime(), err)
		}
	}
	for name, want := range map[string]string{"link": "plain", "dangling": "nowhere", "dirlink": "sub"} {
		// The library's server makes links absolute.
		if to, err := os.Readlink(filepath.Join(back, name)); err != nil || strings.TrimPrefix(to, b.there+"/") != want {
			t.Errorf("link %s leads to %q, %v", name, to, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(b.there, "new", ".*culvert-part*")); len(left) > 0 {
		t.Errorf("incomplete files: %q", left)
	}
	c := b.copy(t, Options{Recursive: true, Preserve: true}, "tree/.", "pi:new")
	if p := c.Progress(); p.Sent != 0 || p.Bytes != p.TotalBytes || p.Files != p.TotalFiles || c.Failures() > 0 {
		t.Errorf("a second copy: %+v", p)
	}
}

func TestWhereACopyGoes(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		opts Options
		want string // below there, or an error
	}{
		{"into the home directory", []string{"f", "pi:"}, Options{}, "f"},
		{"into a directory", []string{"f", "pi:dir"}, Options{}, "dir/f"},
		{"into a directory with a slash", []string{"f", "pi:dir/"}, Options{}, "dir/f"},
		{"to a new name", []string{"f", "pi:dir/g"}, Options{}, "dir/g"},
		{"to a name behind ~", []string{"f", "pi:~/g"}, Options{}, "g"},
		{"a directory into a directory", []string{"d", "pi:dir"}, Options{Recursive: true}, "dir/d/x"},
		{"a directory to a new name", []string{"d", "pi:e"}, Options{Recursive: true}, "e/x"},
		{"a directory's content", []string{"d/.", "pi:dir"}, Options{Recursive: true}, "dir/x"},
		{"into a directory that is missing", []string{"f", "pi:none/"}, Options{}, "error: there is no directory pi:none/"},
		{"into a directory's child that is missing", []string{"f", "pi:none/g"}, Options{}, "error: the directory of pi:none/g"},
		{"below a file", []string{"f", "pi:file/g"}, Options{}, "error: pi:file/g"},
		{"several to one name", []string{"f", "d", "pi:g"}, Options{Recursive: true}, "error: several files"},
		{"over a directory", []string{"f", "pi:taken"}, Options{}, "error: a directory has this name"},
		{"a directory without -r", []string{"d", "pi:"}, Options{}, "error: it is a directory"},
		{"a file that is missing", []string{"none", "pi:"}, Options{}, "error: no such file"},
		{"two of a name", []string{"f", "d/f", "pi:"}, Options{}, "error: is copied to the same place"},
		{"by a link, over the file it leads to", []string{"f", "pi:tofile"}, Options{}, "dir/real"},
		{"over a FIFO", []string{"f", "pi:fifo"}, Options{}, "error: a FIFO has this name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t)
			write(t, filepath.Join(b.here, "f"), []byte("content"), 0o644)
			write(t, filepath.Join(b.here, "d/x"), []byte("content"), 0o644)
			write(t, filepath.Join(b.here, "d/f"), []byte("other"), 0o644)
			write(t, filepath.Join(b.there, "dir/real"), []byte("old"), 0o644)
			write(t, filepath.Join(b.there, "file"), []byte("old"), 0o644)
			write(t, filepath.Join(b.there, "taken/f/x"), []byte("old"), 0o644)
			if err := os.Symlink("dir/real", filepath.Join(b.there, "tofile")); err != nil {
				t.Fatal(err)
			}
			makeFIFO(t, filepath.Join(b.there, "fifo"))
			c := b.copier(t, tt.opts, tt.args...)
			err := b.run(t, c)
			if err == nil {
				for _, r := range b.results {
					err = errors.Join(err, r.Err)
				}
			}
			if want, fails := strings.CutPrefix(tt.want, "error: "); fails {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			sameContent(t, filepath.Join(b.there, tt.want), []byte("content"))
		})
	}
}

func TestPatterns(t *testing.T) {
	b := newBed(t)
	for _, name := range []string{"log/a.log", "log/b.log", "log/.c.log", "log/d.txt", "log/[x]", "other/a.log/x", "l2/z.log"} {
		write(t, filepath.Join(b.there, name), []byte(name), 0o644)
	}
	for _, tt := range []struct {
		pattern, want string
	}{
		{"log/*.log", "a.log b.log"},
		{"l*/*.log", "a.log b.log z.log"},
		{"log/.*", ".c.log"},
		{"log/[x]", "[x]"},
		{"log/[ab].log", "a.log b.log"},
		{"log/?.txt", "d.txt"},
	} {
		t.Run(tt.pattern, func(t *testing.T) {
			dir := strings.Map(func(r rune) rune {
				if strings.ContainsRune("/*?[]", r) {
					return '_'
				}
				return r
			}, tt.pattern)
			if err := os.Mkdir(filepath.Join(b.here, dir), 0o755); err != nil {
				t.Fatal(err)
			}
			b.copy(t, Options{}, "pi:"+tt.pattern, dir)
			b.noErrors(t)
			entries, _ := os.ReadDir(filepath.Join(b.here, dir))
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("it matched %q, want %q", got, tt.want)
			}
		})
	}
	b.copy(t, Options{}, "pi:none*", ".")
	b.failure(t, "nothing matches")
	b.copy(t, Options{}, "pi:[", ".")
	b.failure(t, "a bad pattern")
}

func TestLinksThatLead(t *testing.T) {
	b := newBed(t)
	write(t, filepath.Join(b.here, "d/f"), []byte("content"), 0o644)
	for name, to := range map[string]string{"d/file": "f", "d/loop": "..", "named": "d/f"} {
		if err := os.Symlink(to, filepath.Join(b.here, name)); err != nil {
			t.Fatal(err)
		}
	}
	b.copy(t, Options{Recursive: true, Follow: true}, "d", "pi:")
	b.failure(t, "leads back")
	sameContent(t, filepath.Join(b.there, "d/file"), []byte("content"))
	if info, err := os.Lstat(filepath.Join(b.there, "d/file")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("-L copied %v, %v", info.Mode(), err)
	}
	b.copy(t, Options{}, "named", "pi:")
	b.noErrors(t)
	if info, err := os.Lstat(filepath.Join(b.there, "named")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("a named link was copied as %v, %v", info.Mode(), err)
	}
}

// A device chooses the names of the files that it sends, and may have put a link in their place before.
func TestNothingIsWrittenOutsideTheTarget(t *testing.T) {
	b := newBed(t)
	write(t, filepath.Join(b.there, "d/sub/f"), []byte("evil"), 0o644)
	outside := filepath.Join(b.here, "outside")
	target := filepath.Join(b.here, "target")
	for _, d := range []string{outside, target, filepath.Join(target, "d")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(target, "d/sub")); err != nil {
		t.Fatal(err)
	}
	c := b.copy(t, Options{Recursive: true}, "pi:d", "target")
	if c.Failures() == 0 {
		t.Error("nothing failed")
	}
	if entries, _ := os.ReadDir(outside); len(entries) > 0 {
		t.Errorf("written outside: %v", entries)
	}
	// A link at the temporary name is no partial file.
	secret := filepath.Join(outside, "secret")
	write(t, secret, []byte("secret"), 0o600)
	write(t, filepath.Join(b.there, "g"), []byte("evil"), 0o644)
	if err := os.Symlink(secret, filepath.Join(target, PartialName("g"))); err != nil {
		t.Fatal(err)
	}
	b.copy(t, Options{}, "pi:g", "target")
	b.noErrors(t)
	sameContent(t, secret, []byte("secret"))
	sameContent(t, filepath.Join(target, "g"), []byte("evil"))
}

func TestModes(t *testing.T) {
	b := newBed(t)
	write(t, filepath.Join(b.here, "new"), []byte("1"), 0o4777)
	write(t, filepath.Join(b.here, "old"), []byte("1"), 0o755)
	write(t, filepath.Join(b.there, "old"), []byte("22"), 0o640)
	b.copy(t, Options{}, "new", "old", "pi:")
	b.noErrors(t)
	umask := currentUmask(t)
	for name, want := range map[string]os.FileMode{"new": 0o777 &^ umask, "old": 0o640} {
		if info, err := os.Stat(filepath.Join(b.there, name)); err != nil || info.Mode() != want {
			t.Errorf("%s has the mode %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}

func TestWithoutAShell(t *testing.T) {
	for check, want := range map[Check]Check{CheckAuto: CheckSize, CheckSize: CheckSize, CheckRead: CheckRead} {
		t.Run(string(check), func(t *testing.T) {
			b := newBed(t)
			b.withShell = false
			content := noise(3 << 20)
			write(t, filepath.Join(b.here, "f"), content, 0o644)
			write(t, filepath.Join(b.there, PartialName("f")), content[:2<<20], 0o600)
			for _, args := range [][]string{{"f", "pi:"}, {"pi:f", "g"}} {
				b.copy(t, Options{Check: check, Preserve: true}, args...)
				b.noErrors(t)
				if r := b.results[0]; r.Check != want || r.Resumed != 0 || (r.SHA256 == nil) != (want == CheckSize) {
					t.Errorf("%+v", r)
				}
			}
			sameContent(t, filepath.Join(b.here, "g"), content)
			b.copy(t, Options{Check: check, Preserve: true}, "f", "pi:")
			if got := b.states(); got[0] != Unchanged {
				t.Errorf("copied again, the same time and size are %v", got)
			}
		})
	}
}

func TestACopyThatDiffersReplacesNothing(t *testing.T) {
	b := newBed(t)
	flag := filepath.Join(b.here, "flag")
	b.script = "sha256sum() { if [ -e " + openssh.Quote(flag) + " ]; then cat >/dev/null; printf '%064d  -\\n' 0; else command sha256sum; fi; }\n"
	write(t, filepath.Join(b.here, "f"), []byte("new"), 0o644)
	write(t, filepath.Join(b.there, "f"), []byte("older"), 0o644)
	c := b.copier(t, Options{}, "f", "pi:")
	s := b.session(t)
	write(t, flag, nil, 0o644)
	if err := c.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	b.failure(t, "the SHA-256 of the copy is not that of the source")
	if !errors.Is(b.results[0].Err, errDiffers) {
		t.Errorf("%v", b.results[0].Err)
	}
	sameContent(t, filepath.Join(b.there, "f"), []byte("older"))
	if left, _ := filepath.Glob(filepath.Join(b.there, ".*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads everything")
	}
	b := newBed(t)
	write(t, filepath.Join(b.there, "d/no"), []byte("1"), 0)
	write(t, filepath.Join(b.there, "d/yes"), []byte("1"), 0o644)
	write(t, filepath.Join(b.there, "d/locked/f"), []byte("1"), 0o644)
	if err := os.Chmod(filepath.Join(b.there, "d/locked"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(b.there, "d/locked"), 0o755) })
	c := b.copy(t, Options{Recursive: true}, "pi:d", ".")
	if c.Failures() != 2 {
		t.Errorf("%d failures: %+v", c.Failures(), b.results)
	}
	sameContent(t, filepath.Join(b.here, "d/yes"), []byte("1"))
}

func TestAFileThatGrows(t *testing.T) {
	b := newBed(t)
	content := noise(100_000)
	name := filepath.Join(b.there, "log")
	write(t, name, content, 0o644)
	c := b.copier(t, Options{}, "pi:log", ".")
	s := b.session(t)
	// It grows between its size and its content.
	c.Report = func(r Result) { b.results = append(b.results, r) }
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := &run{Copier: c, session: s, lose: func(error) {}}
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if err := r.plan(t.Context()); err != nil {
		t.Fatal(err)
	}
	fc := &fileCopy{run: r, ctx: t.Context(), it: r.items[0], part: PartialName("log")}
	in, err := r.src.Open(r.items[0].from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	fc.in, fc.size = in, int64(len(content))
	out, at, sum, err := fc.begin(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := f.Write(bytes.Repeat([]byte("x"), 1000)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(fc.protect(out, nil), fc.move(out, at, sum), fc.finish(out, sum)); err != nil {
		t.Fatal(err)
	}
	sameContent(t, filepath.Join(b.here, "log"), content)
}
