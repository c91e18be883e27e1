package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/internal/hint"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var discard = slog.New(slog.DiscardHandler)

// socketPath is short enough for a socket, whatever the test's name.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "culvert")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "run", "culvertd.sock")
}

func echo(_ context.Context, r Request) (any, error) {
	if string(r.Payload) == "fail" {
		return nil, errors.New("this one fails: as told")
	}
	return r, nil
}

// serve runs a server until the returned function is called.
func serve(t *testing.T, path string, h Handler) (stop func()) {
	t.Helper()
	s, err := Listen(path, "", discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, h) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestARequestIsAnswered(t *testing.T) {
	path := socketPath(t)
	serve(t, path, echo)
	largest := bytes.Repeat([]byte{0xff}, MaxPayload)
	for _, r := range []Request{{Command: Ping}, {Command: Status}, {Command: Notify, Payload: []byte("a\nb\x00\xff")}, {Command: Notify, Payload: largest}} {
		var got Request
		if err := Call(t.Context(), path, r, &got); err != nil {
			t.Fatalf("%s: %v", r.Command, err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", r.Command, diff)
		}
	}
	if err := Call(t.Context(), path, Request{Command: Ping}, nil); err != nil {
		t.Error(err)
	}
	if err := Call(t.Context(), path, Request{Command: Notify, Payload: []byte("fail")}, nil); err == nil || err.Error() != "this one fails: as told" {
		t.Errorf("the handler's error came as %v", err)
	}
	if err := Call(t.Context(), path, Request{Command: Notify, Payload: append(largest, 'x')}, nil); err == nil {
		t.Error("a payload above the limit was sent")
	}
}

func TestBadRequestsAreAnsweredWithAnError(t *testing.T) {
	path := socketPath(t)
	serve(t, path, func(context.Context, Request) (any, error) {
		t.Error("the handler was called")
		return nil, nil
	})
	tooLong, err := json.Marshal(Request{Command: Notify, Payload: make([]byte, MaxPayload+1)})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, line, want string }{
		{"no JSON", "status", "the request is not what this culvertd understands: invalid character 's' looking for beginning of value"},
		{"empty", "", "the request is not what this culvertd understands: EOF"},
		{"unknown command", `{"command":"stop"}`, `command "stop" is unknown to this culvertd`},
		{"no command", `{}`, `command "" is unknown to this culvertd`},
		{"long command", `{"command":"` + strings.Repeat("x", 100) + `"}`, `command "..." is unknown to this culvertd`},
		{"unknown member", `{"command":"ping","x":1}`, "the request has a member that this culvertd does not know"},
		{"two requests", `{"command":"ping"}{"command":"ping"}`, "something follows the request on its line"},
		{"payload where none belongs", `{"command":"status","payload":"eA=="}`, "status takes no payload"},
		{"payload above the limit", string(tooLong), "the payload has 16385 bytes, more than 16384"},
		{"line above the limit", `{"command":"` + strings.Repeat("x", maxRequest) + `"}`, fmt.Sprintf("a line of more than %d bytes", maxRequest)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, tt.line+"\n"); err != nil {
				t.Fatal(err)
			}
			line, err := readLine(conn, maxAnswer)
			if err != nil {
				t.Fatal(err)
			}
			var a answer
			if err := json.Unmarshal(line, &a); err != nil || a.Error != tt.want || a.Result != nil {
				t.Errorf("answer %s, want the error %q", line, tt.want)
			}
		})
	}
}

func TestASilentClientIsDroppedAndBlocksNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		s := &Server{log: discard}
		start := time.Now()
		done := make(chan struct{})
		go func() {
			s.serve(t.Context(), far, echo)
			close(done)
		}()
		if _, err := io.WriteString(near, `{"comm`); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(near)
		if err != nil {
			t.Fatal(err)
		}
		<-done
		if time.Since(start) != timeout {
			t.Errorf("dropped after %v, want %v", time.Since(start), timeout)
		}
		if !strings.Contains(string(got), "timeout") {
			t.Errorf("answer %q", got)
		}
	})
}

func TestAClientThatTakesNoAnswerIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		s := &Server{log: discard}
		start := time.Now()
		done := make(chan struct{})
		go func() {
			s.serve(t.Context(), far, echo)
			close(done)
		}()
		if _, err := io.WriteString(near, `{"command":"ping"}`+"\n"); err != nil {
			t.Fatal(err)
		}
		<-done
		if time.Since(start) != timeout {
			t.Errorf("dropped after %v, want %v", time.Since(start), timeout)
		}
	})
}

func TestTheClientSaysWhatIsWrong(t *testing.T) {
	path := socketPath(t)
	if err := Call(t.Context(), path, Request{Command: Ping}, nil); err == nil || !strings.HasPrefix(err.Error(), "no culvertd answers on "+path+": ") || !strings.HasPrefix(hint.Of(err), "start it") {
		t.Errorf("no socket: %v", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	answers := map[string]struct{ answer, want string }{
		"hangs up":           {"", "ended while it was asked"},
		"in the middle":      {`{"result":`, "ended while it was asked"},
		"another program":    {"HTTP/1.1 400 Bad Request\n", "is not culvertd"},
		"of another version": {`{"result":{"command":5}}` + "\n", "it may be of another version"},
		"without end":        {strings.Repeat("x", maxAnswer+1), "a line of more than"},
	}
	for name, tt := range answers {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			done := make(chan struct{})
			go func() {
				defer close(done)
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = readLine(conn, maxRequest)
				_, _ = io.WriteString(conn, tt.answer)
				_ = conn.Close()
			}()
			var r Request
			if err := Call(t.Context(), path, Request{Command: Ping}, &r); err == nil || !strings.Contains(hint.Line(err), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			<-done
		})
	}
}

func TestTheClientEndsWithItsContext(t *testing.T) {
	path := socketPath(t)
	release := make(chan struct{})
	asked := make(chan struct{})
	serve(t, path, func(context.Context, Request) (any, error) {
		close(asked)
		<-release
		return nil, nil
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("interrupted")
	go func() {
		<-asked
		cancel(reason)
	}()
	if err := Call(ctx, path, Request{Command: Ping}, nil); !errors.Is(err, reason) {
		t.Errorf("%v", err)
	}
	close(release)
}

func TestManyClientsAreAllAnswered(t *testing.T) {
	path := socketPath(t)
	var now, most atomic.Int32
	serve(t, path, func(context.Context, Request) (any, error) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		return "ok", nil
	})
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if err := Call(t.Context(), path, Request{Command: Ping}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most.Load() > maxClients {
		t.Errorf("%d requests at one time, more than %d", most.Load(), maxClients)
	}
}

func TestLinesMayComeInPieces(t *testing.T) {
	for _, r := range []io.Reader{
		iotest.OneByteReader(strings.NewReader("hello\nrest")), iotest.DataErrReader(strings.NewReader("hello\n")),
	} {
		if line, err := readLine(r, 5); string(line) != "hello" || err != nil {
			t.Errorf("%q, %v", line, err)
		}
	}
	if _, err := readLine(strings.NewReader("hello"), 5); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut line: %v", err)
	}
	if _, err := readLine(strings.NewReader("hello!\n"), 5); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("long line: %v", err)
	}
}

func FuzzRequest(f *testing.F) {
	for _, r := range []Request{{Command: Ping}, {Command: Status}, {Command: Notify, Payload: []byte("{}")}} {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"command":"notify","payload":"!"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := decodeRequest(line)
		if err != nil {
			return
		}
		if len(r.Payload) > MaxPayload {
			t.Fatalf("%d bytes of payload", len(r.Payload))
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > maxRequest {
			t.Fatalf("an accepted request has %d bytes, more than are read", len(again))
		}
		r2, err := decodeRequest(again)
		if err != nil || !cmp.Equal(r, r2, cmpopts.EquateEmpty()) {
			t.Fatalf("%v: %s became %s", err, line, again)
		}
	})
}
