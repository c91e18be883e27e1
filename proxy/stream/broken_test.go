package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// readBroken reads to an end that must not look like an orderly one, where the network knows another.
func readBroken(t *testing.T, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if _, isTCP := r.(*net.TCPConn); isTCP && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after %d bytes the connection ended with %v, want a reset", len(b), err)
	}
	return b
}

// breakable records how its connection ended.
type breakable struct {
	net.Conn
	reason Reason
}

func (b *breakable) Break(r Reason) { b.reason = r }

func (b *breakable) NetConn() net.Conn { return b.Conn }

// Ends that this side knows to be no orderly ones are resets for the application, on both sides.
func TestABrokenConnectionDoesNotLookComplete(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(m *mux, far *end)
		want Reason
	}{
		"the link is lost":     {func(_ *mux, far *end) { far.out.close() }, TunnelLost},
		"the session is reset": {func(_ *mux, far *end) { _, _ = far.Write(frames("SESSION_RESET")) }, TunnelLost},
		"this side stops": {func(m *mux, _ *end) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			m.Shutdown(ctx)
		}, Stopped},
	} {
		for _, side := range []string{"destination", "source"} {
			t.Run(name+" "+side, func(t *testing.T) {
				socket, app := networks["tcp"](t)
				local := &breakable{Conn: socket}
				near, far := newPair()
				go func() { _, _ = io.Copy(io.Discard, far) }()
				served := make(chan struct{})
				var m *mux
				if side == "destination" {
					d := NewDestination(DestinationConfig{
						Config: Config{Transport: near},
						Dial:   func(context.Context, string) (net.Conn, error) { return local, nil },
					})
					m = d.mux
					go func() { defer close(served); _ = d.Serve() }()
					_, _ = far.Write(frames("STREAM_START 1 X#1", "DATA 1 X#1 half"))
				} else {
					s := NewSource(SourceConfig{Config: Config{Transport: near}, Form: V3})
					m = s.mux
					go func() { defer close(served); _ = s.Serve() }()
					if err := s.Open("X", local); err != nil {
						t.Fatal(err)
					}
				}
				if side == "destination" {
					if _, err := io.ReadFull(app, make([]byte, 4)); err != nil {
						t.Fatal(err)
					}
				}
				c.end(m, far)
				readBroken(t, app)
				_ = far.Close(closeNormal, "")
				<-served
				if local.reason != c.want {
					t.Errorf("the connection was told %q, want %q", local.reason, c.want)
				}
				_ = app.Close()
			})
		}
	}
}

// An application that resets its connection, rather than closing it, is seen to do so at the other end of the tunnel.
func TestAnApplicationsResetIsOneAtTheFarEnd(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"client", "target"} {
		t.Run("by the "+by, func(t *testing.T) {
			t.Parallel()
			targets := make(chan net.Conn, 1)
			s, _, _ := halfTunnel(t, V3, true, true, false, func() (net.Conn, error) {
				near, target := networks["tcp"](t)
				targets <- target
				return near, nil
			})
			near, client := networks["tcp"](t)
			if err := s.Open("X", near); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(client, "half")
			target := <-targets
			_, _ = io.WriteString(target, "half")
			for _, app := range []net.Conn{client, target} { // what waits unread would be lost, or not
				if _, err := io.ReadFull(app, make([]byte, 4)); err != nil {
					t.Fatal(err)
				}
			}
			resets, sees := client.(*net.TCPConn), target
			if by == "target" {
				resets, sees = target.(*net.TCPConn), client
			}
			_ = resets.SetLinger(0)
			_ = resets.Close()
			_ = sees.SetReadDeadline(time.Now().Add(time.Minute)) // else a lost end would hang
			if got := readBroken(t, sees); len(got) > 0 {
				t.Errorf("%q arrived", got)
			}
			_ = sees.Close()
		})
	}
}

// Between two peers that speak records, what ends without the end of input was no orderly end. The stream id offers
// records.
func TestAResetOfAPeerThatSpeaksRecordsIsNoOrderlyEnd(t *testing.T) {
	for name, c := range map[string]struct {
		messages []string
		broken   bool
	}{
		"reset in the middle":            {[]string{"DATA 897613831 X#1 ", "DATA 897613831 X#1 half", "CONNECTION_RESET 897613831 X#1"}, true},
		"stream reset in the middle":     {[]string{"DATA 897613831 X#1 ", "DATA 897613831 X#1 half", "STREAM_RESET 897613831 X"}, true},
		"a peer without records ends so": {[]string{"DATA 897613831 X#1 half", "CONNECTION_RESET 897613831 X#1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			near, app := networks["tcp"](t)
			link, far := newPair()
			go func() { _, _ = io.Copy(io.Discard, far) }()
			d := NewDestination(DestinationConfig{
				Config: Config{Transport: link, Resume: registryIf(true)},
				Dial:   func(context.Context, string) (net.Conn, error) { return near, nil },
			})
			served := make(chan struct{})
			go func() { defer close(served); _ = d.Serve() }()
			_, _ = far.Write(frames(append([]string{"STREAM_START 897613831 X#1"}, c.messages...)...))
			if c.broken {
				if got := readBroken(t, app); string(got) != "half" {
					t.Errorf("%q arrived", got)
				}
			} else if got := readAll(t, app); string(got) != "half" {
				t.Errorf("%q arrived", got)
			}
			_ = app.Close()
			_ = far.Close(closeNormal, "")
			<-served
		})
	}
}
