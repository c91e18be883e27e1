//go:build unix

package trust

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/culvert-iot/culvert/internal/hint"
)

const other = 12345 // a user id that is neither root's nor ours

func mode(t *testing.T, path string, m os.FileMode) string {
	t.Helper()
	if err := os.Chmod(path, m); err != nil {
		t.Fatal(err)
	}
	return path
}

func file(t *testing.T, path string, m os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	return mode(t, path, m)
}

func directory(t *testing.T, path string, m os.FileMode) string {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return mode(t, path, m)
}

// given hands a file to another user, which only root can.
func given(t *testing.T, path string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make another user's file")
	}
	if err := os.Lchown(path, other, other); err != nil {
		t.Fatal(err)
	}
	return path
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(hint.Line(err), want)) {
		t.Errorf("%v, want %q", err, want)
	}
}

func TestAPrivateFileIsReadAndItsModeMended(t *testing.T) {
	dir := t.TempDir()
	for _, m := range []os.FileMode{0o600, 0o400, 0o644, 0o620, 0o604} {
		path := file(t, filepath.Join(dir, m.String()), m)
		got, err := ReadPrivate(path, 4)
		if err != nil || string(got.Data) != "cont" || got.Mend != nil {
			t.Errorf("%v: %q, %v, %v", m, got.Data, got.Mend, err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if open := m&0o077 != 0; open != (got.Was == m) || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%v: was %v, is %v", m, got.Was, info.Mode())
		}
	}
}

func TestWhatIsNoPrivateFileIsNotRead(t *testing.T) {
	dir := t.TempDir()
	real := file(t, filepath.Join(dir, "real"), 0o644)
	link, pipe := filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		link: "it is a symbolic link", pipe: "it is not a regular file", dir: "it is not a regular file", filepath.Join(dir, "none"): "no such file",
	} {
		_, err := ReadPrivate(path, 100)
		wantError(t, err, want)
	}
	if info, _ := os.Stat(real); info.Mode().Perm() != 0o644 {
		t.Errorf("the link's target got mode %v", info.Mode())
	}
	_, err := ReadPrivate(given(t, file(t, filepath.Join(dir, "planted"), 0o600)), 100)
	wantError(t, err, "it belongs to user 12345")
}

func TestACommandThatOthersCanChangeOrReplaceIsTold(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	directory(t, in("open"), 0o700)
	file(t, in("open/hook"), 0o755)
	mode(t, in("open"), 0o777)
	directory(t, in("sticky"), 0o700)
	file(t, in("sticky/hook"), 0o755)
	mode(t, in("sticky"), 0o777|os.ModeSticky)
	for path, want := range map[string]string{
		file(t, in("good"), 0o755):  "",
		in("sticky/hook"):           "",
		file(t, in("world"), 0o757): "every user of this machine can change " + in("world") + "; chmod o-w " + in("world"),
		file(t, in("plain"), 0o644): "may not be executed; chmod 755 " + in("plain"),
		in("open/hook"):             "can replace what is in " + in("open") + "; chmod o-w " + in("open"),
		dir:                         "is not a program",
		in("missing"):               "there is no " + in("missing"),
	} {
		wantError(t, Executable(path), want)
	}
	wantError(t, Executable(given(t, file(t, in("foreign"), 0o755))), "belongs to user 12345, who can change it; chown root")
}

func TestAFileOfAGroupThatCanChangeItIsTold(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	wantError(t, Executable(file(t, in("own"), 0o775)), "") // of this process's own group
	wantError(t, Executable(given(t, file(t, in("foreign"), 0o755))), "belongs to user 12345")
	group := func(path string, m os.FileMode) string {
		t.Helper()
		if err := os.Lchown(path, os.Geteuid(), other); err != nil {
			t.Fatal(err)
		}
		return mode(t, path, m)
	}
	wantError(t, Executable(group(file(t, in("read"), 0o755), 0o755)), "")
	wantError(t, Executable(group(file(t, in("write"), 0o755), 0o775)), "every user in group 12345 can change "+in("write")+"; chmod g-w "+in("write"))
	wantError(t, File(group(file(t, in("config"), 0o644), 0o664)), "every user in group 12345 can change "+in("config"))
	directory(t, in("shared"), 0o755)
	file(t, in("shared/hook"), 0o755)
	group(in("shared"), 0o775)
	wantError(t, Executable(in("shared/hook")), "every user in group 12345 can replace what is in "+in("shared")+"; chmod g-w "+in("shared"))
	group(in("shared"), 0o775|os.ModeSticky)
	wantError(t, Executable(in("shared/hook")), "")
}

// A user who can change one link of the path can lead to another file, however closed the files at its end are.
func TestLinksThatOthersCanExchangeAreTold(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	link := func(target, path string) {
		t.Helper()
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	directory(t, in("safe"), 0o700)
	file(t, in("safe/hook"), 0o755)
	directory(t, in("open"), 0o700)
	file(t, in("open/hook"), 0o755)
	directory(t, in("open/deep"), 0o700)
	file(t, in("open/deep/hook"), 0o755)
	link(in("safe/hook"), in("open/to-file"))
	link("../safe", in("open/to-dir"))
	link(in("open/hook"), in("safe/to-open"))
	link("../open/deep/hook", in("safe/through-open"))
	link("hook", in("safe/to-hook"))
	link(in("open/to-file"), in("safe/twice"))
	link("loop", in("safe/loop"))
	mode(t, in("open"), 0o777)
	for path, want := range map[string]string{
		"safe/hook": "", "safe/to-hook": "",
		"open/to-file": "can replace what is in " + in("open"), "open/to-dir/hook": "can replace what is in " + in("open"),
		"safe/to-open": "can replace what is in " + in("open"), "safe/through-open": "can replace what is in " + in("open"),
		"safe/twice": "can replace what is in " + in("open"), "safe/loop": "too many levels of symbolic links",
	} {
		wantError(t, Executable(in(path)), want)
	}
	directory(t, in("sticky"), 0o700)
	link(in("safe"), in("sticky/mine"))
	link(in("safe"), in("sticky/theirs"))
	mode(t, in("sticky"), 0o777|os.ModeSticky)
	wantError(t, Executable(in("sticky/mine/hook")), "")
	given(t, in("sticky/theirs"))
	wantError(t, Executable(in("sticky/theirs/hook")), "the symbolic link "+in("sticky/theirs")+" belongs to user 12345, who can point it elsewhere")
}

func TestADirectoryThatOthersCanWriteIntoIsTold(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, m := range []os.FileMode{0o775, 0o770, 0o777, 0o757} {
		path := directory(t, in(m.String()), m)
		wantError(t, Directory(path), "which lets others write into it; chmod 700 "+path)
	}
	for _, m := range []os.FileMode{0o700, 0o755, 0o750} {
		wantError(t, Directory(directory(t, in("good"+m.String()), m)), "")
	}
	wantError(t, Directory(in("none")), "no such file")
	// A directory that others can exchange, however closed it is itself.
	directory(t, in("open"), 0o700)
	directory(t, in("open/closed"), 0o700)
	directory(t, in("open/closed/state"), 0o700)
	mode(t, in("open"), 0o777)
	wantError(t, Directory(in("open/closed/state")), "can replace what is in "+in("open"))
	if err := os.Symlink(in("open/closed"), in("link")); err != nil {
		t.Fatal(err)
	}
	wantError(t, Directory(in("link/state")), "can replace what is in "+in("open"))
	wantError(t, Directory(given(t, directory(t, in("foreign"), 0o700))), "belongs to user 12345")
}
