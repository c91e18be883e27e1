package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-iot/culvert/internal/secret"
)

func testPair(name string) pair {
	return pair{
		access: token(name).AccessToken, client: secret.New("11111111-2222-4333-8444-555555555555"), region: "eu-west-1",
		services: []string{"SSH", "HTTP"}, received: time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC),
	}
}

func testStore(t *testing.T, dir string, files fileSystem) (*store, *logBuffer) {
	t.Helper()
	logs := &logBuffer{}
	return newStore(dir, "", files, slog.New(slog.NewTextHandler(logs, nil))), logs
}

var comparePairs = cmp.Options{
	cmp.AllowUnexported(pair{}), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b secret.Value) bool { return a == b }),
}

func TestAPowerFailureAtAnyPointLeavesTheOldOrTheNewPair(t *testing.T) {
	now := testPair("a").received.Add(time.Minute)
	tests := []struct {
		name   string
		before []pair
		work   func(*store)
		after  pair
		over   bool // the work ends the session
	}{
		{"first write", nil, func(s *store) { <-s.save(testPair("a")) }, testPair("a"), false},
		{"replacement", []pair{testPair("a")}, func(s *store) {
			p := testPair("a")
			p.worked = true
			<-s.save(p)
		}, func() pair {
			p := testPair("a")
			p.worked = true
			return p
		}(), false},
		{"end", []pair{testPair("a")}, func(s *store) { <-s.end(testPair("a").key(), now) }, pair{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			points := 0
			for dieAt := 1; ; dieAt++ {
				dir := filepath.Join(t.TempDir(), "state")
				setUp, _ := testStore(t, dir, osFiles{})
				for _, p := range tt.before {
					<-setUp.save(p)
				}
				f := &faults{dieAt: dieAt}
				s, _ := testStore(t, dir, f)
				tt.work(s)
				died := f.done >= dieAt
				f.powerFailure(t)

				next, logs := testStore(t, dir, osFiles{})
				got := next.load(now)
				known := next.spent.has(testPair("a").key(), now)
				if len(logs.String()) > 0 {
					t.Errorf("death at operation %d: the next start complains: %s", dieAt, logs)
				}
				for _, name := range dirNames(t, dir) {
					if strings.HasSuffix(name, tempSuffix) {
						t.Errorf("death at operation %d: %s is never removed", dieAt, name)
					}
				}
				switch {
				case tt.over:
					// Either nothing has happened, or the token is known to be over, pair or no pair.
					if !known && !cmp.Equal(got, tt.before, comparePairs) {
						t.Errorf("death at operation %d: the token is forgotten and its pair is %v", dieAt, got)
					}
				case !cmp.Equal(got, tt.before, comparePairs) && !cmp.Equal(got, []pair{tt.after}, comparePairs):
					t.Errorf("death at operation %d: neither old nor new: %+v", dieAt, got)
				}
				if !died {
					if !tt.over && !cmp.Equal(got, []pair{tt.after}, comparePairs) || tt.over && (!known || len(got) > 0) {
						t.Errorf("without a death: %+v, known %v", got, known)
					}
					break
				}
				points++
			}
			if points < 6 {
				t.Errorf("only %d points of death were tried", points)
			}
		})
	}
}

func dirNames(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestStateIsForTheOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "state")
	s, _ := testStore(t, dir, osFiles{})
	<-s.save(testPair("a"))
	<-s.end(testPair("b").key(), time.Now())
	for _, path := range []string{dir, filepath.Join(dir, fileOf("a")), filepath.Join(dir, endedName)} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		want := fs.FileMode(0o600)
		if info.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
	}
	// A daemon that finds no directory makes it when it starts, before there is anything to write.
	dir = filepath.Join(t.TempDir(), "deep", "state")
	s, _ = testStore(t, dir, osFiles{})
	_ = s.load(time.Now())
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is made with %v (%v)", info, err)
	}
}

func TestAnOpenStateFileIsTightened(t *testing.T) {
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o604, 0o666} {
		dir := t.TempDir()
		s, logs := testStore(t, dir, osFiles{})
		<-s.save(testPair("a"))
		path := filepath.Join(dir, fileOf("a"))
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if got := s.load(testPair("a").received); !cmp.Equal(got, []pair{testPair("a")}, comparePairs) {
			t.Errorf("mode %v: loaded %+v", mode, got)
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v became %v", mode, info.Mode().Perm())
		}
		if n := len(logs.lines("state file was open to others, its mode is now 0600")); n != 1 {
			t.Errorf("mode %v: %d warnings", mode, n)
		}
	}
}

func TestAnUnusableStateDirectoryIsWarnedAboutOnceAndTheTunnelWorks(t *testing.T) {
	pathError := func(err error) error { return &fs.PathError{Op: "open", Path: "/state", Err: err} }
	tests := []struct {
		name, op string
		err      error
		remedy   string // after the directory's name is cut out
	}{
		{"full", "write", pathError(syscall.ENOSPC), "free some space for DIR"},
		{"full at sync", "sync", pathError(syscall.ENOSPC), "free some space for DIR"},
		{"quota", "close", pathError(syscall.EDQUOT), "free some space for DIR"},
		{"read only", "mkdir", pathError(syscall.EROFS), `set tunnel.state_dir to a directory on a writable file system, or to "" to run from memory`},
		{"read only at rename", "rename", pathError(syscall.EROFS), `set tunnel.state_dir to a directory on a writable file system, or to "" to run from memory`},
		{"not ours", "create", pathError(syscall.EACCES), "let culvertd's user write to DIR (mode 0700), or set tunnel.state_dir"},
		{"not readable", "readdir", pathError(syscall.EACCES), "let culvertd's user write to DIR (mode 0700), or set tunnel.state_dir"},
		{"a file", "mkdir", pathError(syscall.ENOTDIR), "DIR is not a directory: set tunnel.state_dir to one"},
		{"broken disk", "syncdir", pathError(syscall.EIO), `check DIR, or set tunnel.state_dir to "" to run from memory`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.script("TOKEN-b", step{err: refusal(400, "no")})
				f := &faults{fail: map[string]error{tt.op: tt.err}}
				m := w.manager(func(c *Config) { c.files = f })
				_, _ = m.Resume()
				accept(t, m, "a", Accepted)
				if got := find(t, m, "a").State; got != Connected {
					t.Errorf("the tunnel is %s", got)
				}
				if tt.op != "readdir" { // which only a start needs
					accept(t, m, "b", Accepted)
					accept(t, m, "b", Known)
				}
				lines := w.logs.lines("state directory cannot be used, tunnels will not survive a restart")
				if len(lines) != 1 || field(lines[0], "level") != "WARN" {
					t.Fatalf("%d warnings: %q", len(lines), lines)
				}
				if got := strings.ReplaceAll(field(lines[0], "reason"), w.dir, "DIR"); got != tt.remedy {
					t.Errorf("remedy %q, want %q", got, tt.remedy)
				}
				if field(lines[0], "error") != tt.err.Error() {
					t.Errorf("error %q, want %q", field(lines[0], "error"), tt.err)
				}
				for _, name := range w.files() {
					if strings.HasSuffix(name, tempSuffix) {
						t.Errorf("%s was left behind", name)
					}
				}
			})
		})
	}
}

func TestAcceptReturnsWhenTheTokenIsOnDiskButWaitsForNoBrokenDisk(t *testing.T) {
	for name, tt := range map[string]struct{ sync, wait time.Duration }{
		"a slow disk":   {900 * time.Millisecond, 900 * time.Millisecond},
		"a broken disk": {time.Minute, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				m := w.manager(func(c *Config) { c.files = &faults{slow: tt.sync} })
				start := time.Now()
				m.Accept(token("a"))
				if d := time.Since(start); d != tt.wait {
					t.Errorf("Accept took %v, want %v", d, tt.wait)
				}
				if got, want := slices.Contains(w.files(), fileOf("a")), tt.sync == tt.wait; got != want {
					t.Errorf("on disk: %v, want %v", got, want)
				}
				pass(time.Hour)
				if got := find(t, m, "a").State; got != Connected {
					t.Errorf("the tunnel is %s", got)
				}
			})
		})
	}
}

func TestADiskThatHangsKeepsNoTunnelFromConnecting(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager(func(c *Config) { c.files = &faults{slow: 25 * time.Second} })
		start := time.Now()
		m.Accept(token("a"))
		pass(0)
		dials := w.attempts("TOKEN-a")
		if len(dials) != 1 || dials[0].at.Sub(start) > time.Second {
			t.Fatalf("dialled %+v, want once within a second of %v", dials, start)
		}
		if n := len(w.logs.lines("state directory does not answer, tunnels go on from memory and are written later")); n != 1 {
			t.Errorf("%d lines about the disk", n)
		}
		if got := m.StateTrouble(); got.Error == "" || got.Hint == "" {
			t.Errorf("status says %+v", got)
		}
		pass(time.Minute)
		if !slices.Contains(w.files(), fileOf("a")) {
			t.Error("the pair is not written when the disk answers again")
		}
		if got := m.StateTrouble(); got != (Trouble{}) {
			t.Errorf("status still says %+v", got)
		}
		if n := len(w.logs.lines("state directory answers again")); n == 0 {
			t.Error("the log does not say that the disk is back")
		}
	})
}

func TestAPairWhoseFirstWriteFailedIsWrittenWhenTheDiskHasRoom(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		f := &faults{fail: map[string]error{"write": syscall.ENOSPC}}
		m := w.manager(func(c *Config) { c.files = f })
		accept(t, m, "a", Accepted)
		pass(time.Hour)
		if slices.Contains(w.files(), fileOf("a")) || m.StateTrouble().Error == "" {
			t.Fatalf("a full disk took %q, status says %+v", w.files(), m.StateTrouble())
		}
		f.mend("write") // between two tries
		pass(rewriteEvery)
		if !slices.Contains(w.files(), fileOf("a")) {
			t.Error("the pair is not on disk")
		}
		if n := len(w.logs.lines("state directory works again")); n != 1 {
			t.Errorf("%d lines say so", n)
		}
		w.close(m)
		m = w.manager()
		if n, err := m.Resume(); err != nil || n != 1 {
			t.Errorf("%d resumed, %v", n, err)
		}
	})
}

func TestADiskThatHangsHoldsUpNeitherStartNorStop(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager()
		accept(t, m, "a", Accepted)
		w.close(m)

		m = w.manager(func(c *Config) { c.files = &slowLoad{} })
		start := time.Now()
		if n, err := m.Resume(); n != 0 || err != nil || time.Since(start) != diskPatience {
			t.Errorf("%d resumed after %v, %v", n, time.Since(start), err)
		}
		accept(t, m, "b", Accepted)
		pass(time.Second)
		if got := find(t, m, "b").State; got != Connected {
			t.Errorf("a new tunnel is %s", got)
		}
		pass(time.Minute)
		if got := find(t, m, "a").State; got != Connected {
			t.Errorf("the tunnel of before is %s when the disk answers", got)
		}

		m2 := w.manager(func(c *Config) { c.StateDir, c.files = c.StateDir+"2", &faults{slow: time.Minute} })
		m2.Accept(token("c"))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start = time.Now()
		if err := m2.Close(ctx); err != nil || time.Since(start) > 3*time.Second {
			t.Errorf("closed after %v: %v", time.Since(start), err)
		}
		pass(time.Hour)
	})
}

// slowLoad is a disk that takes long to name its files.
type slowLoad struct{ osFiles }

func (s *slowLoad) ReadDir(path string) ([]fs.DirEntry, error) {
	time.Sleep(20 * time.Second)
	return s.osFiles.ReadDir(path)
}

func TestWithoutAStateDirectoryNothingIsWritten(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		f := &faults{dieAt: 1}
		w.script("TOKEN-a", step{stands: time.Minute, err: errClosed}, step{err: refusal(400, "closed")})
		m := w.manager(func(c *Config) { c.StateDir, c.files = "", f })
		_, _ = m.Resume()
		accept(t, m, "a", Accepted)
		pass(time.Hour)
		accept(t, m, "a", Known)
		if f.done != 0 || strings.Contains(w.logs.String(), "level=WARN") {
			t.Errorf("%d file operations, log:\n%s", f.done, w.logs)
		}
	})
}

func TestTheMemoryOfEndedTokensIsBounded(t *testing.T) {
	now := time.Now()
	e := newSpentTokens()
	key := func(i int) fingerprint { return secret.New(fmt.Sprint("TOKEN-", i)).Fingerprint() }
	for i := range 2 * maxSpent {
		e.add(key(i), now.Add(time.Duration(i)*time.Second))
	}
	now = now.Add(2 * maxSpent * time.Second)
	data, err := e.encode()
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > maxFile {
		t.Errorf("the file has %d bytes, more than is read of one", len(data))
	}
	again := newSpentTokens()
	if err := again.decode(data, now); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * maxSpent {
		if got, want := again.has(key(i), now), i >= maxSpent; got != want {
			t.Fatalf("token %d known: %v, want %v", i, got, want)
		}
	}
	if again.has(key(2*maxSpent-1), now.Add(MaxAge)) {
		t.Error("a token is known for longer than a tunnel can live")
	}
	// A clock that ran a year ahead must not make the daemon deaf for a year.
	if err := again.decode(data, now.AddDate(-1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if again.has(key(2*maxSpent-1), now.AddDate(-1, 0, 0).Add(MaxAge)) {
		t.Error("a time in the far future is believed")
	}
}
