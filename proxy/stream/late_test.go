package stream

import (
	"context"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// A source gave a websocket up and attached its connection through another one. What it had sent on the first is read only
// now, since that websocket lags: it must not take the connection back, nor end it. The other one may be lost by then.
func TestALateAttachmentIsIgnored(t *testing.T) {
	for name, lost := range map[string]bool{"the later websocket stands": false, "it is lost": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { attachLate(t, lost) })
		})
	}
}

func attachLate(t *testing.T, lost bool) {
	t.Helper()
	target, heard, says := newOneWay()
	registry := resume.NewRegistry(time.Minute, resume.NewMemory(resume.DefaultMemory))
	var serving sync.WaitGroup
	link := func() (*rawRecords, func()) {
		near, far := newPair()
		d := NewDestination(DestinationConfig{
			Config:         Config{Transport: near, Resume: registry},
			Dial:           func(context.Context, string) (net.Conn, error) { return target, nil },
			DefaultService: func([]string) (string, error) { return "X", nil },
		})
		serving.Go(func() { _ = d.Serve() })
		serving.Go(func() { _, _ = io.Copy(io.Discard, far) })
		return &rawRecords{t: t, stream: offeringID(true), far: far}, func() { _ = far.Close(closeGoingAway, "") }
	}
	const limit = 1 << 20
	id, greeting := resume.NewID(), []byte("SSH-2.0-x")
	a, closeA := link()
	b, closeB := link()
	a.send(a.start(), record(resume.Record{Type: resume.Open, ID: id, At: registry.Address(), Limit: limit}))
	_, _ = says.Write(greeting)
	synctest.Wait()
	sum := crc32.Checksum(greeting, crc32.MakeTable(crc32.Castagnoli))
	all := record(resume.Record{Type: resume.Resume, ID: id, Received: uint64(len(greeting)), Sum: sum, Limit: limit})
	onB := b.start()
	b.send(onB, all)
	synctest.Wait()
	if lost {
		closeB()
		synctest.Wait()
	}
	a.send(a.start(), record(resume.Record{Type: resume.Resume, ID: id, Limit: limit}))
	synctest.Wait()
	if lost {
		b, closeB = link()
		onB = b.start()
		b.send(onB, all)
	}
	b.send(onB, record(resume.Record{Type: resume.Bytes, Data: []byte("hello")}))
	got := make([]byte, 5)
	if n, err := io.ReadFull(heard, got); err != nil || string(got) != "hello" {
		t.Errorf("the target heard %q, %v", got[:n], err)
	}
	closeA()
	closeB()
	serving.Wait()
	stop(registry)
}

// A reader has a part of the last message in its hand when the connection's end comes on another websocket. The target
// still takes it.
func TestARestIsTakenByAConnectionThatDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target, heard, _ := newOneWay()
		r := newRig(t, func() (net.Conn, error) { return target, nil })
		r.link(-1, -1)
		c := r.talk("all but ")
		got := make([]byte, len("all but the rest"))
		if _, err := io.ReadFull(heard, got[:len("all but ")]); err != nil {
			t.Fatal(err)
		}
		r.far.Lock()
		r.far.All(func(w resume.Conn) {
			o, _ := w.(*connection)
			o.finished = true
			o.end(draining, true)
			o.deliverBytes(o.m, []byte("the rest"))
		})
		r.far.Unlock()
		if n, err := io.ReadFull(heard, got[len("all but "):]); err != nil || string(got) != "all but the rest" {
			t.Errorf("the target heard %q, %v", got[:len("all but ")+n], err)
		}
		_ = c
	})
}
