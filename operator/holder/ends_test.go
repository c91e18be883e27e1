package holder

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/test/harness"
)

// A holder that is to end while it opens a tunnel stays until that is closed, or never was.
func TestAHolderThatEndsClosesWhatIsBeingOpened(t *testing.T) {
	const takes = 3 * time.Second // to come to an end when nothing is waited for any more
	for name, came := range map[string]bool{"the tunnel came": true, "it did not": false} {
		for _, asked := range []bool{true, false} {
			t.Run(name+map[bool]string{true: ", asked to", false: ", by a signal"}[asked], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := &heldForever{done: make(chan struct{})}
					searches, over := 0, false
					s := &Server{Thing: "pi-1", Version: "1", openTunnel: func(ctx context.Context, _ connect.Config, _ string, _ []string) (tunnel, error) {
						searches++
						<-ctx.Done()
						time.Sleep(takes)
						over = true
						if came {
							return h, nil
						}
						return nil, context.Cause(ctx)
					}}
					l := harness.NewPipeListener()
					ctx, signal := context.WithCancel(t.Context())
					defer signal()
					done := make(chan error)
					go func() { done <- s.Run(ctx, l) }()
					ask := func(r Request) (a answer, err error) {
						near, err := l.Dial(t.Context())
						if err != nil {
							return a, err
						}
						defer near.Close()
						return newLink(near).request(t.Context(), r, func(connect.Event) {})
					}
					waited := make(chan answer)
					go func() {
						a, err := ask(Request{Version: "1", Op: opAttach, Services: []string{"SSH"}, Persist: time.Minute})
						if err != nil {
							t.Error(err)
						}
						waited <- a
					}()
					synctest.Wait()
					if asked {
						go func() {
							if a, err := ask(Request{Op: opClose}); err != nil || a.Error != nil || !over {
								t.Errorf("the answer %+v, %v; the search is over: %v", a, err, over)
							}
						}()
					} else {
						signal()
					}
					if a := <-waited; a.Error == nil || a.Error.Reason != int(connect.TunnelClosed) {
						t.Errorf("the command that waited got %+v", a)
					}
					if err := <-done; err != nil || !over || searches != 1 {
						t.Errorf("it ended with %v; the search was over: %v, and there were %d", err, over, searches)
					}
					select {
					case <-h.done:
					default:
						if came {
							t.Error("the tunnel is open")
						}
					}
				})
			})
		}
	}
}

// overHeld is a tunnel that has ended, and that nothing has closed.
type overHeld struct {
	*heldForever

	closed chan struct{}
}

func (h *overHeld) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// A tunnel that was lost has a goroutine and may have a successor, also if no other command comes.
func TestATunnelThatHasEndedIsClosedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &overHeld{&heldForever{done: make(chan struct{})}, make(chan struct{})}
		s := &Server{Thing: "pi-1", Version: "1", openTunnel: func(context.Context, connect.Config, string, []string) (tunnel, error) {
			return h, nil
		}}
		l := harness.NewPipeListener()
		done := make(chan error)
		go func() { done <- s.Run(t.Context(), l) }()
		near, err := l.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c := newLink(near)
		if _, err := c.request(t.Context(), Request{Version: "1", Op: opAttach, Services: []string{"SSH"}, Persist: time.Minute}, func(connect.Event) {}); err != nil {
			t.Fatal(err)
		}
		close(h.done)
		var f *failure
		if err := c.expect(frameEnd, &f); err != nil || f == nil {
			t.Errorf("the command is told %+v, %v", f, err)
		}
		synctest.Wait()
		select {
		case <-h.closed:
		default:
			t.Error("it was not closed")
		}
		_ = c.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
