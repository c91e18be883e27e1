package transfer

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bed is two directories; the library's SFTP server serves one of them as another machine's.
type bed struct {
	here, there string

	withShell bool
	script    string       // runs first in the shell
	cutAfter  atomic.Int64 // bytes to the server, after which the connection is cut; 0 is never
	results   []Result
}

func newBed(t *testing.T) *bed {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{here: filepath.Join(dir, "here"), there: filepath.Join(dir, "there"), withShell: true}
	for _, d := range []string{b.here, b.there} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// session connects to the server.
func (b *bed) session(t *testing.T) *Session {
	t.Helper()
	client, server := net.Pipe()
	s, err := sftp.NewServer(server, sftp.WithServerWorkingDirectory(b.there))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve()
		_ = s.Close()
		_ = server.Close()
	}()
	t.Cleanup(func() { <-served })
	session, err := NewSession(client, &cutter{client, &b.cutAfter})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	if !b.withShell {
		session.NoShell()
	} else {
		cmd := exec.Command("sh")
		cmd.Dir = b.there
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
		if _, err := io.WriteString(in, b.script); err != nil {
			t.Fatal(err)
		}
		if err := session.UseShell(out, in); err != nil {
			t.Fatal(err)
		}
	}
	return session
}

// cutter closes a connection after a number of written bytes.
type cutter struct {
	net.Conn

	left *atomic.Int64
}

func (c *cutter) Write(p []byte) (int, error) {
	if left := c.left.Load(); left > 0 && c.left.Add(-int64(len(p))) <= 0 {
		c.left.Store(0)
		_ = c.Close()
		return 0, io.ErrClosedPipe
	}
	return c.Conn.Write(p)
}

// copier copies sources to a target, where paths that begin with pi: are the server's.
func (b *bed) copier(t *testing.T, o Options, args ...string) *Copier {
	t.Helper()
	var all []Location
	for _, arg := range args {
		l, err := Parse(arg)
		if err != nil {
			t.Fatal(err)
		}
		if !l.IsRemote() && !filepath.IsAbs(l.Path) {
			l.Path = b.here + "/" + l.Path
		}
		all = append(all, l)
	}
	last := len(all) - 1
	b.results = nil
	return &Copier{Options: o, Sources: all[:last], Target: all[last], Report: func(r Result) { b.results = append(b.results, r) }}
}

// copy copies over one connection, and returns how many items failed.
func (b *bed) copy(t *testing.T, o Options, args ...string) *Copier {
	t.Helper()
	c := b.copier(t, o, args...)
	if err := b.run(t, c); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return c
}

func (b *bed) run(t *testing.T, c *Copier) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return c.Run(ctx, b.session(t))
}

func (b *bed) noErrors(t *testing.T) {
	t.Helper()
	for _, r := range b.results {
		if r.Err != nil {
			t.Errorf("%s: %v", r.Source, r.Err)
		}
	}
}

// failure returns the only error among the results.
func (b *bed) failure(t *testing.T, want string) {
	t.Helper()
	var all []error
	for _, r := range b.results {
		if r.Err != nil {
			all = append(all, r.Err)
		}
	}
	if len(all) != 1 || !strings.Contains(all[0].Error(), want) {
		t.Errorf("errors %v, want one with %q", errors.Join(all...), want)
	}
}

func (b *bed) states() (list []State) {
	for _, r := range b.results {
		list = append(list, r.State)
	}
	slices.Sort(list)
	return list
}

func write(t *testing.T, path string, content []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func sameContent(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	} else if string(got) != string(want) {
		t.Errorf("%s has %d bytes that are not the %d wanted ones", path, len(got), len(want))
	}
}

// noise returns n bytes without near repetitions.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}
