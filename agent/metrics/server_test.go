package metrics

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/internal/hint"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func answer(path string) Response {
	switch path {
	case "/metrics":
		p := &Page{}
		p.Counter("culvertd_things_total", "Things.")
		p.Add("culvertd_things_total", 7, "service", "a\"b\\c\nd\xff", "reason", "")
		p.Add("culvertd_things_total", 0.25)
		return p.Response()
	case "/ill":
		return Health(false, "mqtt connecting")
	case "/well":
		return Health(true, "ok")
	}
	return NotFound()
}

// start serves on address until the test ends, and returns a client for it.
func start(t *testing.T, address string) *http.Client {
	t.Helper()
	s, err := Listen(address, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, answer) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, s.Addr().Network(), s.Addr().String())
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &http.Client{Transport: transport}
}

func get(t *testing.T, c *http.Client, method, path string) (status int, kind, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	data, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, a.Header.Get("Content-Type"), string(data)
}

func TestAnHTTPClientGetsTheFigures(t *testing.T) {
	const page = `# HELP culvertd_things_total Things.
# TYPE culvertd_things_total counter
culvertd_things_total{service="a\"b\\c\nd` + "�" + `",reason=""} 7
culvertd_things_total 0.25
`
	const text, figures = "text/plain; charset=utf-8", "text/plain; version=0.0.4; charset=utf-8"
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "unix:" + filepath.Join(t.TempDir(), "m")} {
		c := start(t, address)
		for _, tt := range []struct {
			method, path string
			status       int
			kind, body   string
		}{
			{"GET", "/metrics", 200, figures, page},
			{"HEAD", "/metrics", 200, figures, ""},
			{"GET", "/well", 200, text, "ok\n"},
			{"GET", "/ill", 503, text, "mqtt connecting\n"},
			{"GET", "/", 404, text, "Not Found\n"},
			{"DELETE", "/metrics", 405, text, "Method Not Allowed\n"},
		} {
			t.Run(address+" "+tt.method+" "+tt.path, func(t *testing.T) {
				status, kind, body := get(t, c, tt.method, tt.path)
				if status != tt.status || kind != tt.kind || body != tt.body {
					t.Errorf("%d %s\n%s\nwant %d %s\n%s", status, kind, body, tt.status, tt.kind, tt.body)
				}
			})
		}
	}
}

func TestARequestThatIsTooLongIsToldSo(t *testing.T) {
	c := start(t, "127.0.0.1:0")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Long", strings.Repeat("x", 3*maxHead))
	a, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != statusTooLong {
		t.Error(a.Status)
	}
}

// pipes is a listener whose connections are in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return nil }

// inBubble serves pipes until the test ends.
func inBubble(t *testing.T) (pipes, context.CancelFunc, <-chan error) {
	t.Helper()
	p := make(pipes)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- (&Server{p, nil, slog.New(slog.DiscardHandler)}).Serve(ctx, answer) }()
	return p, cancel, done
}

func TestSilentClientsLoseTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, cancel, done := inBubble(t)
		began := time.Now()
		for range 200 { // which send nothing
			near, far := net.Pipe()
			defer near.Close()
			p <- far
		}
		near, far := net.Pipe()
		go func() { p <- far }()
		go func() { _, _ = io.WriteString(near, "GET /well HTTP/1.1\r\nHost: h\r\n\r\n") }()
		data, err := io.ReadAll(near)
		if err != nil || !strings.HasSuffix(string(data), "\r\n\r\nok\n") {
			t.Errorf("%q, %v", data, err)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the next client waited %v", waited)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAClientThatTakesNothingIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, cancel, done := inBubble(t)
		near, far := net.Pipe()
		p <- far
		if _, err := io.WriteString(near, "GET /well HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(answerLimit + time.Second)
		if n, err := near.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%d bytes, %v", n, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAForeignHostIsRefused(t *testing.T) {
	c := start(t, "127.0.0.1:0")
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST.:9273": 200, "127.0.0.1:9273": 200, "127.1.2.3": 200, "[::1]:9273": 200,
		"evil.example": 403, "evil.example:9273": 403, "127.0.0.1.evil.example": 403, "192.168.1.7:9273": 403,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		a, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = a.Body.Close()
		if a.StatusCode != want {
			t.Errorf("Host: %s is answered with %d, want %d", host, a.StatusCode, want)
		}
	}
}

func TestTheEndWaitsForNoClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, cancel, done := inBubble(t)
		near, far := net.Pipe()
		defer near.Close()
		p <- far
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it waited %v", waited)
		}
	})
}

func TestASocketOfAnEndedDaemonIsReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, "unix:"+path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("%v, %v", info, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for address, want := range map[string]string{
		"unix:" + path: "another program answers", "unix:" + file: "not a socket", "unix:" + dir + "/none/m": "let culvertd's user write",
		fmt.Sprint(taken.Addr()): "choose another port",
	} {
		if _, err := Listen(address, nil); err == nil || !strings.Contains(hint.Line(err), want) {
			t.Errorf("%s: %v, want it to say %q", address, err, want)
		}
	}
}
