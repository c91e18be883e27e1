package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

// FuzzRecords: whatever records a source sends, in whatever order, on whichever of its connections and websockets,
// nothing panics or hangs, and at the end nothing is kept.
func FuzzRecords(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 5, 2, 0, 5, 3})
	f.Add([]byte{0, 0, 1, 0, 5, 9, 9, 0, 2, 0, 6, 4})
	f.Add([]byte{8, 0, 1, 0, 5, 2, 9, 9, 0, 1, 2, 2, 2, 7, 7, 7})
	f.Add([]byte{0, 1, 0, 0, 1, 0, 2, 0, 3, 0, 4, 1, 4, 1, 5, 9, 9, 1, 2, 3, 2, 4, 2})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 400 {
			return
		}
		synctest.Test(t, func(t *testing.T) { playRecords(t, script) })
	})
}

func playRecords(t *testing.T, script []byte) {
	t.Helper()
	registry := resume.NewRegistry(time.Minute, resume.NewMemory(1<<20))
	at := registry.Address()
	var far *end
	var served chan struct{}
	link := func() {
		var near *end
		near, far = newPair()
		far.in.limit, far.out.limit = 1<<30, 1<<30
		d := NewDestination(DestinationConfig{
			Config: Config{Transport: near, Resume: registry},
			Dial: func(context.Context, string) (net.Conn, error) {
				target, reads, writes := newOneWay()
				go func() { _, _ = io.Copy(writes, reads); _ = writes.Close() }()
				return target, nil
			},
			DefaultService: func([]string) (string, error) { return "", errors.New("unused") },
		})
		served = make(chan struct{})
		go func(done chan struct{}) { defer close(done); _ = d.Serve() }(served)
	}
	cut := func() { _ = far.Close(closeNormal, ""); <-served }
	link()
	known := len(script) > 0 && script[0]&8 == 0
	stream := offeringID(known)
	for i, b := range script {
		conn := uint32(b>>4&3) + 1
		n := uint64(i)
		r := resume.Record{ID: resume.ID{1, byte(conn)}, Received: n % 7, Limit: resume.InitialCredit + n, Total: n % 9, Reason: resume.Reason(n % 9)}
		m := frame.Message{Type: frame.Data, StreamID: stream, ServiceID: "X", ConnectionID: conn}
		switch b & 15 {
		case 0:
			m.Type = frame.StreamStart
		case 1:
			r.Type = resume.Open
			r.At = at
			if n%5 == 4 {
				r.At.Accepted++
			}
		case 2:
			r.Type = resume.Resume
		case 3:
			m.Type = frame.ConnectionStart
		case 4:
			r.Type, r.Data = resume.Bytes, []byte("hello")
		case 5:
			r.Type = resume.Credit
		case 6:
			r.Type = resume.End
		case 7:
			r.Type = resume.Close
		case 8:
			m.Type = frame.ConnectionReset
		case 9:
			cut()
			link()
			continue
		case 10:
			m.Type = frame.StreamReset
			m.ConnectionID = 0
		case 11:
			r.Type = resume.Hello
		case 12:
			r.Type = resume.Ping
		case 13: // an empty message
		case 14:
			m.Payload = script[i:]
		case 15:
			time.Sleep(time.Second)
			continue
		}
		if r.Type != 0 {
			m.Payload = r.Append(nil)
		}
		out, err := m.AppendFrame(nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = far.Write(out)
		if b&64 != 0 {
			synctest.Wait()
		}
	}
	time.Sleep(time.Second)
	cut()
	stop(registry)
	if n := registry.Memory.Used(); n != 0 {
		t.Errorf("%d bytes are kept after the end", n)
	}
	if s := registry.Stats(); s.Detached != 0 {
		t.Errorf("%d connections wait after the end", s.Detached)
	}
}
