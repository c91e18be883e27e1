package broker

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// world is a broker without sockets, under a fake clock.
type world struct {
	t   *testing.T
	b   *Broker
	tls *tls.Config
}

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	cfg, ca := newConfig(t)
	if change != nil {
		change(&cfg)
	}
	b, err := newBroker(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.running = true
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{t: t, b: b, tls: deviceTLS(t, ca, thing)}
}

func (w *world) dial() *client {
	near, far := net.Pipe()
	w.b.serve(far, false)
	return newClient(w.t, tls.Client(near, w.tls))
}

func TestKeepAliveRange(t *testing.T) {
	tests := []struct {
		ask  uint16
		drop time.Duration // silence after which the connection drops: 1.5 times what counts
	}{
		{ask: 60, drop: 90 * time.Second},
		{ask: 30, drop: 45 * time.Second},
		{ask: 5, drop: 45 * time.Second},
		{ask: 1200, drop: 1800 * time.Second},
		{ask: 1201, drop: 1800 * time.Second},
		{ask: 0, drop: 1800 * time.Second},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.ask), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				c := w.dial()
				c.connect(thing, true, tt.ask, nil)
				c.want(packets.Connack)
				begin := time.Now()
				if pk, err := c.recv(time.Hour); err == nil {
					t.Fatalf("received packet %d", pk.FixedHeader.Type)
				}
				if got := time.Since(begin); got != tt.drop {
					t.Errorf("dropped after %v, want %v", got, tt.drop)
				}
			})
		})
	}
}

func TestPingKeepsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWorld(t, nil).dial()
		c.session(thing, true)
		for range 10 {
			<-time.After(80 * time.Second)
			c.ping()
			c.want(packets.Pingresp)
		}
	})
}

func TestSilentClientIsDroppedBeforeConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		near, far := net.Pipe()
		defer near.Close()
		begin := time.Now()
		w.b.serve(far, false)
		if _, err := near.Read(make([]byte, 1)); err == nil || time.Since(begin) != handshakeTimeout {
			t.Errorf("read: %v after %v, want a drop after %v", err, time.Since(begin), handshakeTimeout)
		}
	})
}

func TestPersistentSession(t *testing.T) {
	tests := []struct {
		name    string
		clean   bool // of the first connection
		subQoS  byte
		pubQoS  byte
		absent  time.Duration
		expiry  time.Duration
		present bool
		replay  bool
	}{
		{name: "replays after a short absence", subQoS: 1, pubQoS: 1, absent: time.Minute, present: true, replay: true},
		{name: "replays after almost an hour", subQoS: 1, pubQoS: 1, absent: 59 * time.Minute, present: true, replay: true},
		{name: "is gone after an hour", subQoS: 1, pubQoS: 1, absent: time.Hour + 3*time.Second},
		{name: "lives as long as configured", subQoS: 1, pubQoS: 1, absent: 5 * time.Hour, expiry: 6 * time.Hour, present: true, replay: true},
		{name: "dies as soon as configured", subQoS: 1, pubQoS: 1, absent: 20 * time.Second, expiry: 10 * time.Second},
		{name: "keeps nothing published at QoS 0", subQoS: 1, pubQoS: 0, absent: time.Minute, present: true},
		{name: "keeps nothing subscribed at QoS 0", subQoS: 0, pubQoS: 1, absent: time.Minute, present: true},
		{name: "a clean session is none", clean: true, subQoS: 1, pubQoS: 1, absent: time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(c *Config) { c.SessionExpiry = tt.expiry })
				c := w.dial()
				c.session(thing, tt.clean)
				c.subscribed(tt.subQoS)
				_ = c.Close()
				synctest.Wait()
				want := Delivery{}
				if tt.subQoS == 1 && tt.pubQoS == 1 && !tt.clean {
					want.Stored = 1
				}
				if d, err := w.b.Publish(notify, []byte("missed"), tt.pubQoS); err != nil || d != want {
					t.Errorf("Publish = %+v, %v; want %+v", d, err, want)
				}
				<-time.After(tt.absent)
				c = w.dial()
				if present := c.session(thing, false); present != tt.present {
					t.Errorf("session present %v, want %v", present, tt.present)
				}
				if tt.replay {
					// It comes before SUBSCRIBE, without DUP: AWS IoT may send again without it.
					pk := c.want(packets.Publish)
					if string(pk.Payload) != "missed" || pk.FixedHeader.Dup || pk.FixedHeader.Qos != 1 {
						t.Errorf("replayed %q, DUP %v, QoS %d", pk.Payload, pk.FixedHeader.Dup, pk.FixedHeader.Qos)
					}
					c.ack(pk.PacketID)
				}
				c.ping()
				c.want(packets.Pingresp)
				// A session that is gone took its subscriptions along.
				want = Delivery{}
				if tt.present {
					want.Sent = 1
				}
				if d, err := w.b.Publish(notify, []byte("now"), 1); err != nil || d != want {
					t.Errorf("Publish after the return = %+v, %v; want %+v", d, err, want)
				}
				_ = c.Close()
			})
		})
	}
}

func TestUnconfirmedMessageComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.dial()
		c.session(thing, false)
		c.subscribed(1)
		for range 3 { // received, never acknowledged
			if _, err := w.b.Publish(notify, []byte("{}"), 1); err != nil {
				t.Fatal(err)
			}
			c.want(packets.Publish)
		}
		next := w.dial() // takes over
		if !next.session(thing, false) {
			t.Error("the session is gone")
		}
		var ids []uint16
		for range 3 {
			ids = append(ids, next.want(packets.Publish).PacketID)
		}
		for _, id := range ids {
			next.ack(id)
		}
		next.ping()
		next.want(packets.Pingresp)
		_ = next.Close()
		last := w.dial()
		last.session(thing, false)
		last.ping()
		last.want(packets.Pingresp)
		_ = last.Close()
	})
}
