package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFilesThatCannotBeUnderstoodAreSetAside(t *testing.T) {
	good, err := testPair("a").encode()
	if err != nil {
		t.Fatal(err)
	}
	edit := func(change func(map[string]any)) string {
		var m map[string]any
		if err := json.Unmarshal(good, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	set := func(key string, value any) string { return edit(func(m map[string]any) { m[key] = value }) }
	tests := []struct{ name, content, complaint string }{
		{"empty", "", "it is not a JSON object of culvertd"},
		{"zeros of a power failure", strings.Repeat("\x00", 300), "it is not a JSON object of culvertd"},
		{"cut", string(good[:len(good)/2]), "it is not a JSON object of culvertd"},
		{"something else", `"hello"`, "it is not a JSON object of culvertd"},
		{"another program's JSON", `{"hello":1}`, "its version is 0, not 1"},
		{"a newer daemon's", set("version", 2), "its version is 2, written by a newer culvertd; this one knows 1"},
		{"an unknown member", set("extra", 1), "it holds a member of an unknown name or a wrong type"},
		{"a wrong type", set("services", "SSH"), "it holds a member of an unknown name or a wrong type"},
		{"two objects", string(good) + string(good), "it is not a JSON object of culvertd"},
		{"no token", set("access_token", ""), "access_token is not 1 to 4096 printable characters"},
		{"a token with a line end", set("access_token", "TOKEN-\r\nx: y"), "access_token is not 1 to 4096 printable characters"},
		{"a token that is too long", set("access_token", strings.Repeat("x", 4097)), "access_token is not 1 to 4096 printable characters"},
		{"a short client token", set("client_token", "abc"), "client_token is not 32 to 128 of a-z, A-Z, 0-9 and -"},
		{"a region that is a host", set("region", "evil.example.com/"), "region is not 1 to 64 of a-z, 0-9 and -"},
		{"a wrong service name", set("services", []string{"a b"}), "services holds a name that is not 1 to 128 of a-z, A-Z, 0-9, :, _ and -"},
		{"another token's pair", set("access_token", "TOKEN-b"), "its name does not belong to its token"},
		{"far too large", strings.Repeat(" ", maxFile+1), fmt.Sprintf("it is larger than %d bytes", maxFile)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s, logs := testStore(t, dir, osFiles{})
			other := testPair("other")
			<-s.save(other)
			path := filepath.Join(dir, fileOf("a"))
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := s.load(other.received); !cmp.Equal(got, []pair{other}, comparePairs) {
				t.Errorf("loaded %+v, want the other pair", got)
			}
			want := []string{fileOf("a") + badSuffix, fileOf("other")}
			slices.Sort(want)
			if got := dirNames(t, dir); !slices.Equal(got, want) {
				t.Errorf("the directory holds %q, want %q", got, want)
			}
			lines := logs.lines("state file set aside")
			if len(lines) != 1 || field(lines[0], "error") != tt.complaint || field(lines[0], "target") != path+badSuffix {
				t.Errorf("logged %q, want %q", lines, tt.complaint)
			}
			if strings.Contains(logs.String(), "TOKEN-") {
				t.Errorf("a token is in the log: %s", logs)
			}
		})
	}
}

func TestABrokenListOfEndedTokensIsSetAside(t *testing.T) {
	for _, content := range []string{"", "x", `{"version":9}`, `{"version":1,"ended":[{"sha256":"zz","until":"2026-01-01T00:00:00Z"}]}`, `{"version":1,"ended":[{"sha256":"00"}]}`} {
		dir := t.TempDir()
		s, _ := testStore(t, dir, osFiles{})
		if err := os.WriteFile(filepath.Join(dir, endedName), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s.load(time.Now())
		<-s.end(testPair("a").key(), time.Now())
		if got := dirNames(t, dir); !slices.Equal(got, []string{endedName, endedName + badSuffix}) {
			t.Errorf("%q: the directory holds %q", content, got)
		}
	}
}

// Who may write into the directory could plant tokens of their own, and so bring the device into their tunnel.
func TestAPairOfAnotherUserIsSetAside(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make another user's file")
	}
	dir := t.TempDir()
	setUp, _ := testStore(t, dir, osFiles{})
	<-setUp.save(testPair("a"))
	if err := os.Chown(filepath.Join(dir, fileOf("a")), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	s, logs := testStore(t, dir, osFiles{})
	if got := s.load(time.Now()); len(got) != 0 {
		t.Errorf("loaded %+v", got)
	}
	lines := logs.lines("state file set aside")
	if len(lines) != 1 || !strings.Contains(lines[0], "belongs to user 12345") {
		t.Errorf("%q", lines)
	}
}

func TestADirectoryThatOthersCanWriteIntoIsWarnedAboutWithTheCommandThatMendsIt(t *testing.T) {
	for mode, want := range map[fs.FileMode]int{0o700: 0, 0o755: 0, 0o775: 1, 0o777: 1} {
		dir := filepath.Join(t.TempDir(), "state")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		s, logs := testStore(t, dir, osFiles{})
		s.load(time.Now())
		<-s.save(testPair("a")) // it blocks nothing
		lines := logs.lines("state directory is open to others, who could bring the device into tunnels of theirs")
		if len(lines) != want || want > 0 && !strings.Contains(lines[0], "chmod 700 "+dir) {
			t.Errorf("mode %v: %q", mode, lines)
		}
		if got := dirNames(t, dir); !slices.Equal(got, []string{fileOf("a")}) {
			t.Errorf("mode %v: %q", mode, got)
		}
	}
}

// A user who can write into the directory might put a link in the place of the file that is about to be made.
func TestAStateFileIsNeverWrittenThroughALink(t *testing.T) {
	dir := t.TempDir()
	victim, link := filepath.Join(dir, "victim"), filepath.Join(dir, "link")
	if err := os.WriteFile(victim, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, victim} {
		if f, err := (osFiles{}).Create(path); err == nil {
			_ = f.Close()
			t.Errorf("%s was opened", path)
		}
	}
	st := newStore(dir, "", osFiles{}, slog.New(slog.DiscardHandler))
	p := testPair("a")
	if err := os.Symlink(victim, filepath.Join(dir, pairName(p.key())+tempSuffix)); err != nil {
		t.Fatal(err)
	}
	<-st.save(p)
	if data, err := os.ReadFile(victim); err != nil || string(data) != "precious" {
		t.Errorf("the link's target holds %q, %v", data, err)
	}
	if got := st.load(time.Now()); len(got) != 1 {
		t.Errorf("%d pairs are there", len(got))
	}
}

func TestFilesThatAreNoFilesAreSetAside(t *testing.T) {
	dir := t.TempDir()
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	link, folder := filepath.Join(dir, fileOf("a")), filepath.Join(dir, fileOf("b"))
	if err := errors.Join(os.Symlink(secretFile, link), os.Mkdir(folder, 0o755)); err != nil {
		t.Fatal(err)
	}
	s, _ := testStore(t, dir, osFiles{})
	if got := s.load(time.Now()); len(got) != 0 {
		t.Errorf("loaded %+v", got)
	}
	if info, _ := os.Stat(secretFile); info.Mode().Perm() != 0o644 {
		t.Errorf("the target of a link got mode %v", info.Mode().Perm())
	}
	if got := dirNames(t, dir); len(got) != 2 || !strings.HasSuffix(got[0], badSuffix) || !strings.HasSuffix(got[1], badSuffix) {
		t.Errorf("the directory holds %q", got)
	}
}

func TestOnlyAFewFilesAreKeptAside(t *testing.T) {
	dir := t.TempDir()
	s, _ := testStore(t, dir, osFiles{})
	for i := range 20 {
		path := filepath.Join(dir, fmt.Sprintf("tunnel-%016d.json", i))
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Unix(int64(1e9+i), 0)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	s.load(time.Now())
	var want []string
	for i := 15; i < 20; i++ {
		want = append(want, fmt.Sprintf("tunnel-%016d.json.bad", i))
	}
	if got := dirNames(t, dir); !slices.Equal(got, want) {
		t.Errorf("kept %q, want the latest %q", got, want)
	}
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	names := []string{"README", "culvertd.toml", "tunnel-notes.txt", "x.json", "x.json.bad", "x.tmp"}
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, logs := testStore(t, dir, osFiles{})
	s.load(time.Now())
	if got := dirNames(t, dir); !slices.Equal(got, names) || logs.String() != "" {
		t.Errorf("%q, log %s", got, logs)
	}
}
