package stream

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

// A source may start a connection before it knows that the destination has another websocket. The new websocket has
// not seen the stream begin, and must not give records to the target.
func TestAConnectionOfAStreamThatBeganOnAnotherWebsocket(t *testing.T) {
	self := resume.NewRegistry(time.Minute, resume.NewMemory(resume.DefaultMemory)).Identity()
	open := record(resume.Record{Type: resume.Open, ID: resume.NewID(), At: self.Address, Limit: 1 << 20})
	for _, tt := range []struct {
		name string
		data [][]byte
		want string
	}{
		{"records", [][]byte{open, record(resume.Record{Type: resume.Bytes, Data: []byte("hello")})}, "hello"},
		{"an offer", [][]byte{{}, []byte("hello")}, "hello"},
		{"a plain source whose id looks alike", [][]byte{[]byte("hel"), []byte("lo")}, "hello"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := newPair()
				target, reads, _ := newOneWay()
				kept := resume.NewRegistry(time.Minute, resume.NewMemory(resume.DefaultMemory))
				kept.Assume(self)
				d := NewDestination(DestinationConfig{
					Config:         Config{Transport: near, Resume: kept},
					Dial:           func(context.Context, string) (net.Conn, error) { return target, nil },
					DefaultService: func([]string) (string, error) { return "X", nil },
				})
				served := make(chan struct{})
				go func() { defer close(served); _ = d.Serve() }()
				go func() { _, _ = io.Copy(io.Discard, far) }()
				h := &rawRecords{t: t, stream: offeringID(false), far: far, conn: 7} // the eighth of its stream
				conn := h.start()
				for _, b := range tt.data {
					h.send(conn, b)
				}
				got := make([]byte, len(tt.want))
				if n, err := io.ReadFull(reads, got); err != nil || string(got) != tt.want {
					t.Errorf("the target read %q, %v; want %q", got[:n], err, tt.want)
				}
				m := frame.Message{Type: frame.StreamReset, StreamID: h.stream, ServiceID: "X"}
				b, _ := m.AppendFrame(nil)
				_, _ = far.Write(b)
				_ = far.Close(closeNormal, "")
				<-served
				stop(kept)
			})
		})
	}
}
