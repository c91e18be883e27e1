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
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/internal/settings"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/services"
	"github.com/culvert-iot/culvert/test/capture"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// step is one attempt of a scripted tunnel.
type step struct {
	stands time.Duration // how long the websocket stands; 0: the handshake fails
	err    error         // what ends it; nil: it stands until it is told to stop
}

// dial is one attempt that a session made.
type dial struct {
	at     time.Time
	access string
	client string
	onDisk []string // state files at that moment
}

// world is a device with a scripted service.
type world struct {
	t    *testing.T
	dir  string
	logs *logBuffer

	mu     sync.Mutex
	steps  map[string][]step // by access token; what comes after the last one stands
	dials  []dial
	counts proxy.Stats
	slow   time.Duration // how long a tunnel takes to stop
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "state"), logs: &logBuffer{}, steps: make(map[string][]step)}
	t.Cleanup(func() {
		if strings.Contains(w.logs.String(), "TOKEN-") {
			t.Errorf("a token is in the log:\n%s", w.logs)
		}
		if strings.Contains(w.logs.String(), "level=ERROR") {
			t.Errorf("an internal error is in the log:\n%s", w.logs)
		}
	})
	return w
}

func (w *world) script(token string, steps ...step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps[token] = steps
}

func (w *world) config() Config {
	return Config{
		Sessions:  settings.Sessions{StateDir: w.dir},
		Services:  services.NewTable([]services.Service{{Name: "SSH"}, {Name: "HTTP"}}),
		Logger:    slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		NewTunnel: func(c proxy.DestinationConfig) Tunnel { return &scripted{w, c} },
	}
}

// manager starts a daemon's sessions; the test's end closes it.
func (w *world) manager(change ...func(*Config)) *Manager {
	cfg := w.config()
	for _, c := range change {
		c(&cfg)
	}
	m := NewManager(cfg)
	w.t.Cleanup(func() { w.close(m) })
	return m
}

func (w *world) close(m *Manager) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), time.Hour)
	defer cancel()
	if err := m.Close(ctx); err != nil {
		w.t.Error(err)
	}
}

func (w *world) attempts(token string) []dial {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.dials), func(d dial) bool { return d.access != token })
}

type scripted struct {
	w *world
	c proxy.DestinationConfig
}

func (s *scripted) Stats() proxy.Stats { return s.w.counts }

func (s *scripted) Run(ctx context.Context) error {
	w := s.w
	w.mu.Lock()
	token := s.c.Connection.AccessToken.Reveal()
	w.dials = append(w.dials, dial{time.Now(), token, s.c.Connection.ClientToken.Reveal(), w.files()})
	next := step{stands: time.Second}
	if script := w.steps[token]; len(script) > 0 {
		next, w.steps[token] = script[0], script[1:]
	}
	n := len(w.dials)
	w.mu.Unlock()
	if next.stands == 0 {
		return next.err
	}
	s.c.OnOpen(fmt.Sprintf("channel-%d", n), "aws.iot.securetunneling-3.0")
	var end <-chan time.Time
	if next.err != nil {
		end = time.After(next.stands)
	}
	select {
	case <-end:
		return next.err
	case <-ctx.Done():
		time.Sleep(w.slow)
		return context.Cause(ctx)
	}
}

// files names what is in the state directory.
func (w *world) files() []string {
	entries, err := os.ReadDir(w.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Error(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func token(name string) Token {
	return Token{AccessToken: secret.New("TOKEN-" + name), Region: "eu-west-1", Services: []string{"SSH"}}
}

func fileOf(name string) string { return pairName(token(name).AccessToken.Fingerprint()) }

// accept hands a token over and waits until nothing moves any more at this moment.
func accept(t *testing.T, m *Manager, name string, want Result) Outcome {
	t.Helper()
	o := m.Accept(token(name))
	synctest.Wait()
	if o.Result != want {
		t.Fatalf("Accept(%s) = %+v, want %s", name, o, want)
	}
	return o
}

// pass lets d of fake time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// find returns the status of a token's session.
func find(t *testing.T, m *Manager, name string) Status {
	t.Helper()
	id := token(name).AccessToken.ID()
	for _, s := range m.Status() {
		if s.Session == id {
			return s
		}
	}
	t.Fatalf("no session of %s in %+v", name, m.Status())
	return Status{}
}

// in runs a test in fake time.
func in(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t)) })
}

var (
	errNetwork = errors.New("read tcp: connection reset by peer")
	errClosed  = &proxy.CloseError{Code: 1000, Reason: "bye"}
)

func refusal(status int, text string) error {
	return &proxy.HandshakeError{Status: status, Body: text, ChannelID: "channel-of-refusal"}
}

type logBuffer struct{ capture.Buffer }

// lines returns the log lines with that message.
func (l *logBuffer) lines(message string) []string {
	var found []string
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, "msg="+fmt.Sprintf("%q", message)) {
			found = append(found, line)
		}
	}
	return found
}
