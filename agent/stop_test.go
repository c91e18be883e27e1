package agent

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/agent/session"
	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy"
)

// stuck is a tunnel that ends when the test does.
type stuck struct{ over <-chan struct{} }

func (s stuck) Stats() proxy.Stats { return proxy.Stats{} }

func (s stuck) Run(ctx context.Context) error {
	<-s.over
	return context.Cause(ctx)
}

// The time that the service manager may need is for it alone: without it, what hangs ends the daemon no later than
// anywhere else.
func TestOnlyASlowServiceManagerMakesTheStopLonger(t *testing.T) {
	for name, c := range map[string]struct{ put, want time.Duration }{
		"it takes the sockets at once": {0, closeTimeout},
		"it is slow":                   {4 * time.Second, 4*time.Second + 500*time.Millisecond}, // it is asked after half a second
		"it hangs":                     {time.Hour, closeTimeout + session.PutPatience},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, "", "SSH = 22\n")
			synctest.Test(t, func(t *testing.T) {
				over := make(chan struct{})
				handOver := session.HandOver{
					Limit: 8, State: []byte(`{"Identity":{"Address":{"Instance":[1],"Accepted":1}}}`),
					Put: func([]byte, []*os.File) error { time.Sleep(c.put); return nil },
				}
				a := New(cfg, Options{Logger: slog.New(slog.DiscardHandler), HandOver: handOver})
				a.sessions = session.NewManager(session.Config{
					Services: a.table, HandOver: handOver, Logger: a.log, NewTunnel: func(proxy.DestinationConfig) session.Tunnel { return stuck{over} },
				})
				if _, err := a.sessions.Resume(); err != nil {
					t.Fatal(err)
				}
				a.sessions.Accept(session.Token{AccessToken: secret.New("TOKEN"), Region: "eu-west-1"})
				synctest.Wait() // until the tunnel stands
				ctx, stop := context.WithCancel(t.Context())
				stop()
				start := time.Now()
				err := a.tasks(ctx, nil)[0].run(ctx)
				if took := time.Since(start); took != c.want || err == nil || !strings.Contains(err.Error(), "not ended in time: 1") {
					t.Errorf("the tunnels' task ends after %v with %v, want after %v", took, err, c.want)
				}
				close(over)
				time.Sleep(2 * time.Hour)
			})
		})
	}
}
