package stream

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

// A peer that understands reasons learns that its target refused, although its offer comes a little later than its
// start. A silent peer gets its reset soon.
func TestARefusalWaitsForTheOffer(t *testing.T) {
	for _, c := range []struct {
		name   string
		offers bool
		want   []frame.Type
		after  time.Duration
	}{
		{"an offer", true, []frame.Type{frame.Data, frame.Data, frame.ConnectionReset}, 100 * time.Millisecond},
		{"nothing", false, []frame.Type{frame.ConnectionReset}, firstTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func() (net.Conn, error) { return nil, errors.New("no target") })
				near, far := newPair()
				d := NewDestination(DestinationConfig{
					Config:         Config{Transport: near, Resume: r.far},
					Dial:           func(context.Context, string) (net.Conn, error) { return r.dial() },
					DefaultService: func([]string) (string, error) { return "X", nil },
				})
				served := make(chan struct{})
				go func() { defer close(served); _ = d.Serve() }()
				h := &rawRecords{t: t, r: r, stream: offeringID(false), far: far}
				began := time.Now()
				heard := make(chan struct{})
				go func() {
					defer close(heard)
					frames := frame.NewReader(far)
					var m frame.Message
					for i, want := range c.want {
						if err := frames.Next(&m); err != nil || m.Type != want {
							t.Errorf("message %d: type %v, %v, want %v", i, m.Type, err, want)
							return
						}
						var rec resume.Record
						if i == 1 && (rec.Parse(m.Payload) != nil || rec.Type != resume.Close || rec.Reason != resume.Refused) {
							t.Errorf("message %d is %+v", i, rec)
						}
					}
				}()
				h.start()
				if c.offers {
					time.Sleep(c.after)
					h.send(1, nil)
				}
				<-heard
				if took := time.Since(began); took != c.after {
					t.Errorf("told after %v, want %v", took, c.after)
				}
				synctest.Wait()
				d.mu.Lock()
				for _, s := range d.streams {
					if len(s.conns) > 0 {
						t.Error("a connection is left")
					}
				}
				d.mu.Unlock()
				_ = far.Close(closeNormal, "")
				<-served
			})
		})
	}
}
