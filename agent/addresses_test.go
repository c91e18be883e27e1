package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/agent/notify"
)

// The kernel also reports an address whose lifetime a router's advertisement renewed, to all devices of a network at once.
func TestOnlyAnotherAddressEndsTheWaits(t *testing.T) {
	cert, key, _ := certificate(t, "pi-42")
	cfg := testConfig(t, "wss://tunnels.example", "SSH = 22\n")
	cfg.MQTT.Broker.Endpoint = "mqtt.example"
	write(t, cfg.MQTT.CertFile, cert)
	write(t, cfg.MQTT.KeyFile, key)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		tries := make(map[string]int)
		a := New(cfg, Options{
			Logger: slog.New(slog.DiscardHandler),
			Dial: func(_ context.Context, _, address string) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				tries[address]++
				return nil, errors.New("no network")
			},
		})
		own := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
		a.addresses = func() (all, usable []netip.Addr, err error) { return own, own, nil }
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = a.mqtt.Run(ctx, func(notify.Notification) {}) })
		over, stop := context.WithCancel(ctx)
		stop()
		a.watchAddresses(over) // only notes what there is at the start
		n, err := notify.Decode(fmt.Appendf(nil, notification, ""))
		if err != nil {
			t.Fatal(err)
		}
		a.accept(n)
		<-time.After(time.Hour) // the waits are of a minute by now
		atOnce := func(change string, want bool) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			clear(tries)
			mu.Unlock()
			a.addressesChanged()
			synctest.Wait() // no time passes
			mu.Lock()
			defer mu.Unlock()
			for _, address := range []string{"mqtt.example:1", "tunnels.example:443"} {
				if got := tries[address] > 0; got != want {
					t.Errorf("%s: %s tried at once: %v, want %v", change, address, got, want)
				}
			}
		}
		atOnce("renewed", false)
		atOnce("renewed again", false)
		own = []netip.Addr{own[1], own[0]}
		atOnce("in another order", false)
		own = own[:1]
		atOnce("one is gone", true)
		<-time.After(time.Hour)
		atOnce("renewed after that", false)
		own = []netip.Addr{netip.MustParseAddr("198.51.100.9")}
		atOnce("another one", true)
		cancel()
		running.Wait()
		_ = a.sessions.Close(t.Context())
	})
}
