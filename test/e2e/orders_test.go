package e2e

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// TestTwoCulvertsUnderBothAnswers: AWS does not say whether the service passes on DATA without a payload, nor whether
// messages of different connections keep their order. Every byte must be right in each case.
func TestTwoCulvertsUnderBothAnswers(t *testing.T) {
	t.Parallel()
	const connections, size = 10, 1 << 20
	for _, c := range []struct {
		name    string
		relay   relay.Config
		resumes bool
	}{
		{"empty data is dropped", relay.Config{DropsEmptyData: true}, false},
		{"connections are mixed", relay.Config{MixesConnections: true}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			seeds := func(n byte) (up, down uint64) { return uint64(n), uint64(n) + 100 }
			target := checkingServer(t, size, seeds)
			box := startSandbox(t, sandbox.Config{Relay: c.relay, Services: map[string]string{"DATA": target}})
			d, _ := startSubscribed(t, box)
			resume := proxy.NewResumption(proxy.DefaultResumeTimeout)
			defer resume.Close()
			opened := openTunnel(t, box, d, "DATA")
			d.waitLog(t, "tunnel connected", 20*time.Second)
			source := startSourceWith(t, box, opened.SourceToken, proxy.V3, resume)
			box.Relay.Faults().Set(relay.Target{}, relay.Conditions{RateLimit: 8 << 20})
			var all sync.WaitGroup
			wasCut := make(chan struct{})
			for n := range byte(connections) {
				conn := &halting{Conn: connectTo(t, source, "DATA"), left: size / 2, goOn: wasCut}
				all.Go(func() {
					up, down := seeds(n)
					if err := exchange(conn, size, n, up, down); err != nil {
						t.Errorf("connection %d: %v", n, err)
					}
				})
			}
			if c.resumes {
				eventually(t, 30*time.Second, "a part of it has come", func() bool {
					var moved uint64
					for _, s := range d.status(t).Tunnels {
						for _, one := range s.Services {
							moved += one.BytesIn
						}
					}
					return moved > connections*size/4
				})
				met(t, box.Relay.Faults().Cut(relay.Target{Side: tunnels.Destination}))
			}
			close(wasCut)
			all.Wait()
			if got := resume.Stats().Resumed > 0; got != c.resumes {
				t.Errorf("%d connections were resumed", resume.Stats().Resumed)
			}
		})
	}
}

// halting is a connection that takes no more than left bytes before goOn is closed, so that a transfer cannot be over by
// then.
type halting struct {
	net.Conn
	left int
	goOn <-chan struct{}
}

func (h *halting) Write(p []byte) (int, error) {
	if h.left -= len(p); h.left < 0 {
		<-h.goOn
	}
	return h.Conn.Write(p)
}
