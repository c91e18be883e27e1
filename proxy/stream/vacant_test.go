package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A connection of records whose first record never comes is given up, and one whose record is late is not.
func TestAConnectionWithoutItsFirstRecordEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func() (net.Conn, error) { return nil, errors.New("no target") })
		near, far := newPair()
		dials := 0
		d := NewDestination(DestinationConfig{
			Config: Config{Transport: near, Resume: r.far},
			Dial: func(context.Context, string) (net.Conn, error) {
				dials++
				return r.dial()
			},
			DefaultService: func([]string) (string, error) { return "X", nil },
		})
		served := make(chan struct{})
		go func() { defer close(served); _ = d.Serve() }()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		h := &rawRecords{t: t, r: r, stream: offeringID(true), far: far}
		count := func() (n int) {
			synctest.Wait()
			d.mu.Lock()
			defer d.mu.Unlock()
			for _, s := range d.streams {
				n += len(s.conns)
			}
			return n
		}
		for range 100 {
			h.start()
		}
		time.Sleep(vacantTimeout - time.Second)
		if n := count(); n != 100 {
			t.Fatalf("%d connections before their time", n)
		}
		h.send(1, nil) // as a source sends that has not seen HELLO
		time.Sleep(time.Second)
		if n := count(); n != 0 || dials != 1 {
			t.Errorf("%d connections are left, %d dials", n, dials)
		}
		_ = far.Close(closeNormal, "")
		<-served
	})
}
