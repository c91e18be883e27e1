package stream

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// answerable is a local connection that is told of the destination's answer.
type answerable struct {
	net.Conn
	answered chan struct{}
}

func (a *answerable) Answered() { close(a.answered) }

// A service that waits to be asked says nothing: only the destination itself can show that it understands the form.
func TestADestinationAnswersBeforeItsTargetSpeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target, _, _ := newOneWay()
		r := newRig(t, func() (net.Conn, error) { return target, nil })
		r.link(-1, -1)
		local, _, _ := newOneWay()
		a := &answerable{local, make(chan struct{})}
		if err := r.source.Open("X", a); err != nil {
			t.Fatal(err)
		}
		select {
		case <-a.answered:
		case <-time.After(time.Second):
			t.Error("the destination did not answer")
		}
	})
}
