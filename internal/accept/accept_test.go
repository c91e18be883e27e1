package accept

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// troubledListener answers with one error after the other, then with connections.
type troubledListener struct {
	net.Listener
	errs []error
}

func (l *troubledListener) Accept() (net.Conn, error) {
	if len(l.errs) == 0 {
		c, _ := net.Pipe()
		return c, nil
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}

// acceptError is err as package net returns it.
func acceptError(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
}

func TestAcceptOutlivesALackOfFileDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var warned []error
		l := &troubledListener{errs: []error{}}
		a := &Acceptor{Listener: l, Warn: func(err error) { warned = append(warned, err) }}
		for range 20 {
			l.errs = append(l.errs, acceptError(syscall.EMFILE))
		}
		start := time.Now()
		for range 2 {
			if _, err := a.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		// 5 ms doubling to 640 ms are 8 delays, 12 more have a second each.
		if d := time.Since(start); d != 1275*time.Millisecond+12*time.Second {
			t.Errorf("20 failures took %v", d)
		}
		if len(warned) != 1 || !errors.Is(warned[0], syscall.EMFILE) {
			t.Errorf("warned of %v, want the first alone", warned)
		}
		for want := 1; want <= 2; want++ {
			l.errs = []error{acceptError(syscall.ECONNABORTED)}
			if _, err := a.Next(t.Context()); err != nil || len(warned) != want {
				t.Errorf("after %v: %v, warned %d times, want %d", time.Since(start), err, len(warned), want)
			}
			<-time.After(acceptWarning)
		}
	})
}

func TestAcceptEndsWithItsListenerOrContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := errors.New("the listener's own end")
		for _, end := range []error{net.ErrClosed, own, acceptError(syscall.EINVAL)} {
			a := &Acceptor{Listener: &troubledListener{errs: []error{acceptError(syscall.ENFILE), end}}}
			if _, err := a.Next(t.Context()); !errors.Is(err, end) {
				t.Errorf("ended with %v, want %v", err, end)
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(own)
		a := &Acceptor{Listener: &troubledListener{errs: []error{acceptError(syscall.EMFILE)}}}
		if _, err := a.Next(ctx); !errors.Is(err, own) {
			t.Errorf("ended with %v, want the context's cause", err)
		}
	})
}
