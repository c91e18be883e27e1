package notify

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/settings"
)

// probe plays the n-th connection (from 1) of a probe by script.
func probe(t *testing.T, o ProbeOptions, script func(n int, p *peer)) (Attempt, []*peer) {
	t.Helper()
	return probeAs(t, Config{}, o, script)
}

func probeAs(t *testing.T, cfg Config, o ProbeOptions, script func(n int, p *peer)) (Attempt, []*peer) {
	t.Helper()
	var (
		scripts sync.WaitGroup
		peers   []*peer
	)
	cfg.ThingName, cfg.Broker = testThing, settings.Broker{Endpoint: "broker.example", Port: 8883, ClientID: testID, PersistentSession: true}
	cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		p := &peer{t: t, conn: far}
		peers = append(peers, p)
		n := len(peers)
		scripts.Go(func() {
			defer func() { _ = far.Close() }()
			script(n, p)
		})
		return near, nil
	}
	a := Probe(t.Context(), cfg, o)
	scripts.Wait()
	return a, peers
}

func TestAProbeTellsHowFarAConnectionComes(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(n int, p *peer)
		stage  Stage
		fault  Fault
		text   string // in the error and the remedy
		drops  int
	}{
		{"all well", func(_ int, p *peer) { p.accept(); p.idle() }, Up, "", "", 0},
		{"CONNACK 7", func(_ int, p *peer) { p.connack(7, false); p.idle() }, Connect, ConnectDenied, "return code 7 (not authorized)", 0},
		{"CONNACK 3", func(_ int, p *peer) { p.connack(3, false); p.idle() }, Connect, "", "server unavailable", 0},
		{"closed after CONNECT", func(_ int, p *peer) { p.read() }, Connect, ConnectDenied, "right after CONNECT", 0},
		{"SUBACK 0x80", func(_ int, p *peer) { p.connack(0, false); p.subscribe(0x80); p.idle() }, Subscribe, SubscribeDenied, "return code 128", 0},
		{"closed after SUBSCRIBE, twice", func(_ int, p *peer) { p.connack(0, false); p.wantSubscribe() }, Subscribe, SubscribeDenied, "again and again", 1},
		{"closed after SUBSCRIBE, once", func(n int, p *peer) {
			if p.connack(0, false); n == 1 {
				p.wantSubscribe()
				return
			}
			p.subscribe(1)
			p.idle()
		}, Up, "", "", 1},
		{"taken over three times", func(_ int, p *peer) { p.accept(); p.idleFor(time.Second) }, Up, ClientIDClash, "another client probably uses the client id", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, _ := probe(t, ProbeOptions{Stay: 3 * time.Second}, c.script)
				text := hint.Of(a.Err)
				if a.Err != nil {
					text = hint.Line(a.Err)
				}
				if a.Stage != c.stage || a.Fault != c.fault || a.Drops != c.drops || !strings.Contains(text, c.text) || (c.text == "") != (a.Err == nil) {
					t.Errorf("got %+v", a)
				}
			})
		})
	}
}

func TestAProbeTellsWhetherAnswersAreDenied(t *testing.T) {
	for _, c := range []struct {
		name             string
		script           func(n int, p *peer)
		answered, denied bool
		stage            Stage
		fault            Fault
		drops            int
	}{
		{"allowed", func(_ int, p *peer) {
			p.accept()
			if pub := p.answer(); pub == nil || pub.TopicName != testPong || !pub.Retain {
				p.t.Errorf("got %v", pub)
			}
			p.idle()
		}, true, false, Up, "", 0},
		{"denied", func(_ int, p *peer) {
			p.accept()
			_ = p.conn.SetReadDeadline(time.Now().Add(time.Second))
			if p.answer() == nil {
				_ = p.conn.SetReadDeadline(time.Time{})
				p.idle()
			}
		}, false, true, Up, "", 0},
		{"another client has the id", func(_ int, p *peer) {
			p.accept()
			_ = p.conn.SetReadDeadline(time.Now().Add(time.Second))
			p.answer()
		}, false, false, Up, ClientIDClash, 2},
		{"no subscription", func(_ int, p *peer) { p.connack(0, false); p.subscribe(0x80); p.idle() }, false, false, Subscribe, SubscribeDenied, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, _ := probeAs(t, Config{Answer: joined}, ProbeOptions{Stay: 3 * time.Second}, c.script)
				if a.Answered != c.answered || a.AnswerDenied != c.denied || a.Stage != c.stage || a.Fault != c.fault || a.Drops != c.drops {
					t.Errorf("got %+v", a)
				}
			})
		})
	}
}

func TestAProbeLeavesNotificationsToTheDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, peers := probe(t, ProbeOptions{Stay: 3 * time.Second}, func(_ int, p *peer) {
			p.connack(0, true)
			p.publish(7, testTopic, note("stored"))
			p.subscribe(1)
			p.idle()
		})
		if a.Err != nil || len(peers) != 1 {
			t.Fatalf("got %+v after %d connections", a, len(peers))
		}
		p := peers[0]
		if p.connect.CleanSession || p.connect.ClientIdentifier != testID {
			t.Errorf("CONNECT with clean session %v as %q", p.connect.CleanSession, p.connect.ClientIdentifier)
		}
		if len(p.puts) > 0 {
			t.Error("the notification was acknowledged")
		}
		if !p.goodbye {
			t.Error("no DISCONNECT")
		}
	})
}

func TestAProbeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		near, far := net.Pipe()
		defer far.Close()
		go func() { (&peer{t: t, conn: far}).idleOn() }()
		began := time.Now()
		a := Probe(ctx, Config{
			ThingName: testThing, Broker: settings.Broker{Endpoint: "broker.example", Port: 8883, ClientID: testID},
			Dial: func(context.Context, string, string) (net.Conn, error) { return near, nil },
		}, ProbeOptions{})
		if a.Err == nil || a.Stage != Connect || time.Since(began) != 2*time.Second {
			t.Errorf("got %+v after %v", a, time.Since(began))
		}
	})
}

func TestAHandshakeIsEnoughForAProbeBesideARunningClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, peers := probe(t, ProbeOptions{HandshakeOnly: true, Stay: 5 * time.Second}, func(_ int, p *peer) {
			if cp := p.read(); cp != nil {
				t.Errorf("got %v", cp)
			}
		})
		if a.Err != nil || a.Stage != TLS || len(peers) != 1 {
			t.Errorf("got %+v", a)
		}
	})
}
