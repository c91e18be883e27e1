package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/agent/notify"
	"github.com/culvert-iot/culvert/test/capture"
)

// What did not work while the clock was wrong, such as TLS, is tried again at once.
func TestAStepOfTheClockEndsTheWaits(t *testing.T) {
	cert, key, _ := certificate(t, "pi-42")
	cfg := testConfig(t, "wss://tunnels.example", "SSH = 22\n")
	cfg.MQTT.Broker.Endpoint = "mqtt.example"
	write(t, cfg.MQTT.CertFile, cert)
	write(t, cfg.MQTT.KeyFile, key)
	synctest.Test(t, func(t *testing.T) {
		pass := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}
		var mu sync.Mutex
		tries := make(map[string]int)
		counted := func() map[string]int {
			mu.Lock()
			defer mu.Unlock()
			return maps.Clone(tries)
		}
		var logs capture.Buffer
		a := New(cfg, Options{
			Logger: slog.New(slog.NewTextHandler(&logs, nil)),
			Dial: func(_ context.Context, _, address string) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				tries[address]++
				return nil, errors.New("the clock is wrong")
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = a.mqtt.Run(ctx, func(notify.Notification) {}) })
		n, err := notify.Decode(fmt.Appendf(nil, notification, ""))
		if err != nil {
			t.Fatal(err)
		}
		a.accept(n)
		pass(time.Hour)
		before := counted()
		a.clockSet()
		pass(2 * time.Second) // the waits are of a minute by now
		after := counted()
		for _, address := range []string{"mqtt.example:1", "tunnels.example:443"} {
			if before[address] == 0 || after[address] == before[address] {
				t.Errorf("%s: %d attempts before the step, %d more at once after it", address, before[address], after[address]-before[address])
			}
		}
		if !strings.Contains(logs.String(), `msg="the clock was set"`) {
			t.Error("the step is not in the log")
		}
		cancel()
		running.Wait()
		_ = a.sessions.Close(t.Context())
	})
}
