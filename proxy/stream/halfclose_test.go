package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// spy notes what one side sends.
type spy struct {
	Transport
	mu   sync.Mutex
	b    []byte
	keep bool
}

func (s *spy) WriteBuffers(bufs ...[]byte) error {
	s.mu.Lock()
	if s.keep {
		for _, b := range bufs {
			s.b = append(s.b, b...)
		}
	}
	s.mu.Unlock()
	return s.Transport.WriteBuffers(bufs...)
}

// empties counts the DATA messages without payload that were sent.
func (s *spy) empties(t testing.TB) int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	r := frame.NewReader(bytes.NewReader(s.b))
	for {
		var m frame.Message
		if err := r.Next(&m); err != nil {
			return n
		}
		if m.Type == frame.Data && len(m.Payload) == 0 {
			n++
		}
	}
}

// halfTunnel runs a Source and a Destination of which either may not know half close.
func halfTunnel(t testing.TB, form Form, source, destination, keep bool, dial func() (net.Conn, error)) (*Source, *spy, *spy) {
	t.Helper()
	a, b := newPair()
	fromDestination, fromSource := &spy{Transport: a, keep: keep}, &spy{Transport: b, keep: keep}
	d := NewDestination(DestinationConfig{
		Config:         Config{Transport: fromDestination, Resume: registryIf(destination)},
		Dial:           func(context.Context, string) (net.Conn, error) { return dial() },
		DefaultService: func([]string) (string, error) { return "default", nil },
	})
	s := NewSource(SourceConfig{Config: Config{Transport: fromSource, Resume: registryIf(source)}, Form: form})
	var both sync.WaitGroup
	both.Go(func() { _ = d.Serve() })
	both.Go(func() { _ = s.Serve() })
	t.Cleanup(func() {
		_ = b.Close(closeNormal, "")
		both.Wait()
		for _, m := range []*mux{s.mux, d.mux} {
			if len(m.conns) != 0 || len(m.streams) != 0 || m.backlog.queued != 0 {
				t.Errorf("after the end: %d connections, %d streams, %d bytes queued", len(m.conns), len(m.streams), m.backlog.queued)
			}
		}
	})
	return s, fromSource, fromDestination
}

type writeCloser interface{ CloseWrite() error }

// say writes all of it, in pieces, and ends that direction.
func say(c net.Conn, all []byte) error {
	for len(all) > 0 {
		n := min(len(all), 1+rand.IntN(100_000))
		if _, err := c.Write(all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return c.(writeCloser).CloseWrite()
}

func listen(c net.Conn, want []byte) error {
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	var got bytes.Buffer
	got.Grow(len(want) + bytes.MinRead) // it need not grow again, nor to see the end
	if _, err := got.ReadFrom(c); err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", got.Len(), len(want), err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		return fmt.Errorf("%d bytes arrived, want %d (or they differ)", got.Len(), len(want))
	}
	return nil
}

func TestHalfCloseBetweenTwoThatKnowIt(t *testing.T) {
	t.Parallel()
	orders := map[string]func(c net.Conn, out, in []byte, first bool) error{
		"the client asks to its end, then the server answers": func(c net.Conn, out, in []byte, client bool) error {
			if client {
				return errors.Join(say(c, out), listen(c, in))
			}
			return errors.Join(listen(c, in), say(c, out))
		},
		"the server speaks to its end, then the client answers": func(c net.Conn, out, in []byte, client bool) error {
			if client {
				return errors.Join(listen(c, in), say(c, out))
			}
			return errors.Join(say(c, out), listen(c, in))
		},
		"both speak at once": func(c net.Conn, out, in []byte, _ bool) error {
			said := make(chan error, 1)
			go func() { said <- say(c, out) }()
			return errors.Join(listen(c, in), <-said)
		},
	}
	for _, network := range []string{"tcp", "unix"} {
		for order, talk := range orders {
			for _, size := range []int{0, 1, some, some + 1, 70_000, 1 << 20} {
				t.Run(fmt.Sprintf("%s, %s, %d bytes", network, order, size), func(t *testing.T) {
					var servers sync.WaitGroup
					defer servers.Wait()
					question, answer := noise(size, 1), noise(size/2+1, 2)
					s, _, _ := halfTunnel(t, V3, true, true, false, func() (net.Conn, error) {
						a, b := networks[network](t)
						servers.Go(func() {
							defer b.Close()
							if err := talk(b, answer, question, false); err != nil {
								t.Errorf("server: %v", err)
							}
						})
						return a, nil
					})
					var clients sync.WaitGroup
					for range 3 {
						local, remote := networks[network](t)
						if err := s.Open("X", remote); err != nil {
							t.Fatal(err)
						}
						clients.Go(func() {
							defer local.Close()
							if err := talk(local, question, answer, true); err != nil {
								t.Errorf("client: %v", err)
							}
						})
					}
					clients.Wait()
				})
			}
		}
	}
}

// A service without a name has it too, where connections have ids.
func TestHalfCloseOnATunnelWithoutServices(t *testing.T) {
	s, _, _ := halfTunnel(t, V3, true, true, false, func() (net.Conn, error) {
		a, b := networks["tcp"](t)
		go func() {
			_ = listen(b, []byte("question"))
			_ = say(b, []byte("answer"))
			_ = b.Close()
		}()
		return a, nil
	})
	local, remote := networks["tcp"](t)
	defer local.Close()
	if err := s.Open("", remote); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(say(local, []byte("question")), listen(local, []byte("answer"))); err != nil {
		t.Error(err)
	}
}

// Where a peer does not know it, or the form has no connections, a connection ends as the protocol says, and
// what was sent before arrives.
func TestHalfCloseIsNotForcedOnOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                string
		form                Form
		source, destination bool
		fromSource          int // empty messages
	}{
		{"the destination does not know it", V3, true, false, 1},
		{"the source does not know it", V3, false, true, 0},
		{"V2", V2, true, true, 0},
		{"V1", V1, true, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			const question = "the whole question"
			heard := make(chan error, 1)
			s, fromSource, fromDestination := halfTunnel(t, c.form, c.source, c.destination, true, func() (net.Conn, error) {
				a, b := networks["tcp"](t)
				go func() {
					heard <- listen(b, []byte(question))
					_ = b.Close()
				}()
				return a, nil
			})
			s.farEnd.timeout = 200 * time.Millisecond
			local, remote := networks["tcp"](t)
			defer local.Close()
			if err := s.Open("X", remote); err != nil {
				t.Fatal(err)
			}
			if err := say(local, []byte(question)); err != nil {
				t.Fatal(err)
			}
			if err := <-heard; err != nil {
				t.Errorf("server: %v", err)
			}
			if err := listen(local, nil); err != nil {
				t.Errorf("client: %v", err)
			}
			if n := fromSource.empties(t); n != c.fromSource {
				t.Errorf("the source sent %d empty messages, want %d", n, c.fromSource)
			}
			if n := fromDestination.empties(t); n != 0 {
				t.Errorf("the destination sent %d empty messages, want none", n)
			}
		})
	}
}

// Whatever clients and servers do, and in whatever order, no connection stays behind, and who says all in order is
// heard in full.
func TestHalfCloseLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	const connections = 100
	var servers, clients sync.WaitGroup
	var mu sync.Mutex
	next := 0
	// Each server learns from the first byte which connection it has, and of what kind.
	serve := func(c net.Conn) {
		defer c.Close()
		var id [1]byte
		if _, err := io.ReadFull(c, id[:]); err != nil {
			return
		}
		seed := uint64(id[0])
		question, answer := noise(int(seed)*499, seed), noise(int(seed)*997, seed+1000)
		switch seed % 5 {
		case 0: // both wait for the other's end
			if err := errors.Join(listen(c, question), say(c, answer)); err != nil {
				t.Errorf("server %d: %v", seed, err)
			}
		case 1: // the server is first
			if err := errors.Join(say(c, answer), listen(c, question)); err != nil {
				t.Errorf("server %d: %v", seed, err)
			}
		case 2: // the client leaves in the middle
			_, _ = c.Write(answer)
			_, _ = io.Copy(io.Discard, c)
		case 3: // the server does
			_, _ = io.CopyN(io.Discard, c, int64(len(question)/2))
		case 4: // the client ends its input and leaves
			_, _ = io.Copy(io.Discard, c)
			_, _ = c.Write(answer)
		}
	}
	s, _, _ := halfTunnel(t, V3, true, true, false, func() (net.Conn, error) {
		a, b := networks["tcp"](t)
		servers.Go(func() { serve(b) })
		return a, nil
	})
	for range connections {
		clients.Go(func() {
			mu.Lock()
			next++
			seed := uint64(next)
			local, remote := networks["tcp"](t)
			err := s.Open("X", remote)
			mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			defer local.Close()
			question, answer := noise(int(seed)*499, seed), noise(int(seed)*997, seed+1000)
			if _, err := local.Write([]byte{byte(seed)}); err != nil {
				t.Error(err)
			}
			switch seed % 5 {
			case 0:
				if err := errors.Join(say(local, question), listen(local, answer)); err != nil {
					t.Errorf("client %d: %v", seed, err)
				}
			case 1:
				if err := errors.Join(listen(local, answer), say(local, question)); err != nil {
					t.Errorf("client %d: %v", seed, err)
				}
			case 2:
				_, _ = io.CopyN(io.Discard, local, int64(len(answer)/2))
			case 3:
				_, _ = local.Write(question)
				_, _ = io.Copy(io.Discard, local)
			case 4:
				_ = say(local, question)
			}
		})
	}
	clients.Wait()
	servers.Wait()
	deadline := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		left := len(s.conns)
		s.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%d connections stay behind", left)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
