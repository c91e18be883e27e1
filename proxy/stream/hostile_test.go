package stream

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

// rawRecords is a source that says what it likes to a destination which also serves an honest connection.
type rawRecords struct {
	t      *testing.T
	r      *rig
	stream int32
	far    *end
	conn   uint32
	b      []byte // of the last message
}

func (h *rawRecords) send(conn uint32, payload []byte) {
	h.write(&frame.Message{Type: frame.Data, StreamID: h.stream, ServiceID: "X", ConnectionID: conn, Payload: payload})
}

func (h *rawRecords) write(m *frame.Message) {
	var err error
	if h.b, err = m.AppendFrame(h.b[:0]); err != nil {
		h.t.Fatal(err)
	}
	_, _ = h.far.Write(h.b)
}

func (h *rawRecords) start() uint32 {
	h.conn++
	m := frame.Message{Type: frame.ConnectionStart, StreamID: h.stream, ServiceID: "X", ConnectionID: h.conn}
	if h.conn == 1 {
		m.Type = frame.StreamStart
	}
	h.write(&m)
	return h.conn
}

func record(r resume.Record) []byte { return r.Append(nil) }

// Whatever a hostile source sends on its connections, the destination stays bounded, and an honest connection that waits
// in the same process is neither touched nor found by guessing.
func TestHostileSourceTouchesNoOtherTunnel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		honest, heard, says := newOneWay()
		first := true
		r := newRig(t, func() (net.Conn, error) {
			if first {
				first = false
				return honest, nil
			}
			target, reads, _ := newOneWay()
			go func() { _, _ = io.Copy(io.Discard, reads) }()
			return target, nil
		})
		r.link(-1, -1)
		local, clientHears, clientSays := newOneWay()
		if err := r.source.Open("X", local); err != nil {
			t.Fatal(err)
		}
		echo := func(text string) {
			t.Helper()
			for _, c := range []struct {
				w net.Conn
				r io.Reader
			}{{clientSays, heard}, {says, clientHears}} {
				_, _ = io.WriteString(c.w, text)
				b := make([]byte, len(text))
				if _, err := io.ReadFull(c.r, b); err != nil || string(b) != text {
					t.Fatalf("%q, %v", b, err)
				}
			}
		}
		echo("before")
		time.Sleep(time.Second)
		r.cut()

		// The hostile source has a websocket of the same daemon.
		near, far := newPair()
		hostile := NewDestination(DestinationConfig{
			Config: Config{Transport: near, Resume: r.far}, Dial: func(context.Context, string) (net.Conn, error) { return r.dial() }, DefaultService: func([]string) (string, error) { return "X", nil },
		})
		served := make(chan struct{})
		go func() { defer close(served); _ = hostile.Serve() }()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		h := &rawRecords{t: t, r: r, stream: offeringID(true), far: far}
		r.far.Lock()
		at := r.far.Address()
		r.far.Unlock()
		for i := range 1000 { // guessed identities
			h.send(h.start(), record(resume.Record{Type: resume.Resume, ID: resume.ID{byte(i), byte(i >> 8)}, Limit: resume.InitialCredit}))
		}
		for i, bad := range [][]byte{
			record(resume.Record{Type: resume.Hello, Version: 1}),
			record(resume.Record{Type: resume.Resume, ID: resume.NewID()}),
			record(resume.Record{Type: resume.Credit, Received: 1 << 40, Limit: 1 << 62}),
			{8, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
			record(resume.Record{Type: resume.Credit, Received: 0, Limit: 1}),
			record(resume.Record{Type: resume.End, Total: 7}),
			record(resume.Record{Type: resume.Close}),
			record(resume.Record{Type: resume.Bytes, Data: make([]byte, 60_000)}),
			{0x70},
			{},
		} {
			conn := h.start()
			h.send(conn, record(resume.Record{Type: resume.Open, ID: resume.ID{0xee, byte(i)}, At: at, Limit: resume.InitialCredit}))
			h.send(conn, bad)
			h.send(conn, record(resume.Record{Type: resume.Bytes, Data: make([]byte, 60_000)}))
		}
		for i := range 2000 { // and left behind
			h.send(h.start(), record(resume.Record{Type: resume.Open, ID: resume.ID{0xdd, byte(i), byte(i >> 8)}, At: at, Limit: resume.InitialCredit}))
		}
		time.Sleep(30 * time.Second)
		if used := r.far.Memory.Used(); used > resume.DefaultMemory {
			t.Errorf("%d bytes are kept", used)
		}
		_ = far.Close(closeNormal, "")
		<-served
		if s := r.far.Stats(); s.Detached > resume.MaxDetached {
			t.Errorf("%d connections wait", s.Detached)
		}
		r.link(-1, -1)
		echo(fmt.Sprintf("after %d connections", h.conn))
	})
}
