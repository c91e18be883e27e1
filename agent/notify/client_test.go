package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/internal/settings"
)

func TestEveryConnackIsFollowedByASubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		subscribes := 0
		b := start(t, Config{Broker: settings.Broker{PersistentSession: true}}, func(n int, p *peer) {
			// The service says that the session is present from the second time on. It may be wrong.
			if p.connack(0, n > 1) && p.subscribe(1) {
				subscribes++
			}
			c := p.connect
			if c.ClientIdentifier != testID || c.CleanSession || c.ProtocolVersion != 4 || c.Keepalive != 60 {
				t.Errorf("CONNECT %v", c)
			}
			p.idleFor(40 * time.Second)
		}, nil)
		pass(10 * time.Minute)
		if n := len(b.gaps()) + 1; subscribes != n || n < 10 {
			t.Errorf("%d SUBSCRIBEs on %d connections", subscribes, n)
		}
	})
}

func TestACleanSessionIsAskedForUnlessPersistent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start(t, Config{Broker: settings.Broker{KeepAlive: 30 * time.Second}}, func(_ int, p *peer) {
			p.accept()
			if !p.connect.CleanSession || p.connect.Keepalive != 30 {
				t.Errorf("CONNECT %v", p.connect)
			}
			p.idle()
		}, nil)
		pass(time.Second)
	})
}

func TestTheSessionIsUpOnlyAfterTheSuback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{}, func(_ int, p *peer) {
			p.connack(0, false)
			sub := p.wantSubscribe()
			<-time.After(5 * time.Second)
			p.suback(sub, 1)
			p.idle()
		}, nil)
		began := time.Now()
		pass(4 * time.Second)
		select {
		case <-b.client.Ready():
			t.Error("ready before the SUBACK")
		default:
		}
		if s := b.client.State(); !s.Connected || s.Subscribed || s.Attempts != 1 {
			t.Errorf("before the SUBACK: %+v", s)
		}
		<-b.client.Ready()
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("ready after %v", d)
		}
		if s := b.client.State(); !s.Connected || !s.Subscribed || !s.Since.Equal(time.Now()) || s.Attempts != 0 || s.LastError != "" {
			t.Errorf("after the SUBACK: %+v", s)
		}
		pass(time.Hour)
		if n := len(b.log.lines("level=INFO")); n != 1 {
			t.Errorf("%d lines at info", n)
		}
	})
}

func TestMessagesReachTheHandlerInOrderAndAreAcknowledgedAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var want []string
		for i := range 50 {
			want = append(want, fmt.Sprint("message-", i))
		}
		var got received
		acked := 0
		var theBroker *peer
		start(t, Config{Broker: settings.Broker{PersistentSession: true}}, func(_ int, p *peer) {
			theBroker = p
			p.accept()
			var wg sync.WaitGroup
			p.publishing(&wg, len(want), func(i int) []byte { return note(want[i]) })
			p.idle()
			wg.Wait()
		}, func(n Notification) {
			<-time.After(time.Second)
			synctest.Wait()
			acked = len(theBroker.puts)
			if done := len(got.get()); acked != done {
				t.Errorf("%d acknowledged while %d were handled", acked, done)
			}
			got.handle(n)
		})
		pass(time.Minute)
		if diff := cmp.Diff(want, got.get()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if len(theBroker.puts) != len(want) {
			t.Errorf("%d of %d acknowledged", len(theBroker.puts), len(want))
		}
	})
}

// Without a monotonic clock reading, its age would be wrong after the clock is set. Times in a synctest bubble
// have none.
func TestLastNotifyHasAMonotonicClockReading(t *testing.T) {
	c := New(Config{ThingName: "pi-1", Logger: slog.New(slog.DiscardHandler)})
	c.inbox.put(c.topic, note("token"), func() {})
	if at := c.State().LastNotify; at == at.Round(0) { //nolint:staticcheck // Equal ignores the reading
		t.Errorf("LastNotify is %v", at)
	}
}

func TestStoredMessagesThatComeBeforeTheSubackAreDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got received
		var puts []uint16
		b := start(t, Config{Broker: settings.Broker{PersistentSession: true}}, func(_ int, p *peer) {
			if !p.connack(0, true) {
				return
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				p.publish(7, testTopic, note("kept-while-you-were-away"))
				p.publish(8, testTopic, note("and-another"))
			})
			sub := p.wantSubscribe()
			wg.Wait()
			p.idleFor(3 * time.Second)
			p.suback(sub, 1)
			p.idleFor(3 * time.Second)
			puts = p.puts
			p.idle()
		}, got.handle)
		pass(time.Minute)
		if diff := cmp.Diff([]string{"kept-while-you-were-away", "and-another"}, got.get()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]uint16{7, 8}, puts); diff != "" {
			t.Errorf("acknowledged (-want +got):\n%s", diff)
		}
		if s := b.client.State(); !s.Subscribed || s.LastNotify.IsZero() {
			t.Errorf("%+v", s)
		}
	})
}

func TestABlockedHandlerStallsNeitherKeepAliveNorMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sent = 1000
		release := make(chan struct{})
		var got received
		var theBroker *peer
		b := start(t, Config{}, func(_ int, p *peer) {
			theBroker = p
			p.accept()
			var wg sync.WaitGroup
			p.publishing(&wg, sent, func(i int) []byte { return note(fmt.Sprint("token-", i)) })
			p.idle()
			wg.Wait()
		}, func(n Notification) {
			<-release
			got.handle(n)
		})
		pass(time.Hour)
		if s := b.client.State(); !s.Subscribed || len(b.gaps()) != 0 || theBroker.pings < 50 {
			t.Errorf("the connection suffered: %+v, %d pings", s, theBroker.pings)
		}
		// One is in the handler, the queue is full, and the broker need not keep the rest.
		if want := sent - inboxSize - 1; len(theBroker.puts) != want {
			t.Errorf("%d acknowledged, want %d", len(theBroker.puts), want)
		}
		if n := len(b.log.lines("more arrive than can be handled")); n != 1 {
			t.Errorf("the overflow was logged %d times", n)
		}
		close(release)
		synctest.Wait()
		// The oldest went: the newest tokens are the ones that still open a tunnel.
		want := []string{"token-0"}
		for i := sent - inboxSize; i < sent; i++ {
			want = append(want, fmt.Sprint("token-", i))
		}
		if diff := cmp.Diff(want, got.get()); diff != "" {
			t.Errorf("handled after the release (-want +got):\n%s", diff)
		}
	})
}

func TestWhatIsNotANotificationIsDroppedAndTheConnectionStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got received
		var invalid []string
		var theBroker *peer
		b := start(t, Config{Invalid: func(err error) { invalid = append(invalid, err.Error()) }}, func(_ int, p *peer) {
			theBroker = p
			p.accept()
			var wg sync.WaitGroup
			wg.Go(func() {
				p.publish(1, "$aws/things/other/tunnels/notify", []byte("SECRET"))
				p.publish(2, "SECRET/topic", []byte("SECRET"))
				p.publish(3, testTopic, []byte(strings.Repeat("SECRET", MaxPayload)))
				p.publish(4, testTopic, nil)
				p.publish(5, testTopic, []byte(strings.Repeat("x", MaxPayload)))
				p.publish(6, testTopic, note("good"))
			})
			p.idle()
			wg.Wait()
		}, got.handle)
		pass(time.Minute)
		if diff := cmp.Diff([]string{"good"}, got.get()); diff != "" {
			t.Errorf("handled (-want +got):\n%s", diff)
		}
		const not = "notification is not one JSON object"
		if diff := cmp.Diff([]string{not, not}, invalid); diff != "" {
			t.Errorf("invalid (-want +got):\n%s", diff)
		}
		if len(theBroker.puts) != 6 || !b.client.State().Subscribed || len(b.gaps()) != 0 {
			t.Errorf("acknowledged %v, state %+v", theBroker.puts, b.client.State())
		}
		if n := len(b.log.lines("wrong topic")); n != 1 {
			t.Errorf("wrong topics were logged %d times", n)
		}
		if lines := b.log.lines("SECRET"); lines != nil {
			t.Errorf("the log repeats what came: %s", lines)
		}
	})
}

// TestAnOversizedMessageIsSkippedAndAcknowledged plays a broker with a persistent session: it sends the same
// message at each connection until it is acknowledged.
func TestAnOversizedMessageIsSkippedAndAcknowledged(t *testing.T) {
	for _, size := range []int{packetLimit, 1 << 20, 200 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if testing.Short() && size > 1<<20 {
					t.Skip("takes a second")
				}
				var got received
				var theBroker *peer
				b := start(t, Config{Broker: settings.Broker{PersistentSession: true}}, func(_ int, p *peer) {
					theBroker = p
					p.accept()
					var wg sync.WaitGroup
					wg.Go(func() {
						p.announce(7, testTopic, size)
						p.publish(8, testTopic, note("good"))
					})
					p.idle()
					wg.Wait()
				}, got.handle)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				pass(time.Minute)
				runtime.ReadMemStats(&after)
				if diff := cmp.Diff([]uint16{7, 8}, theBroker.puts); diff != "" {
					t.Errorf("acknowledged (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff([]string{"good"}, got.get()); diff != "" {
					t.Errorf("handled (-want +got):\n%s", diff)
				}
				if s := b.client.State(); !s.Subscribed || len(b.gaps()) != 0 {
					t.Errorf("state %+v after %d reconnects", s, len(b.gaps()))
				}
				if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 { // most of it is what a net.Pipe takes for its deadlines
					t.Errorf("%d bytes were allocated", used)
				}
			})
		})
	}
}

func TestTheEndIsADisconnectAndQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var theBroker *peer
		b := start(t, Config{}, func(_ int, p *peer) {
			theBroker = p
			p.accept()
			p.idle()
		}, nil)
		pass(time.Minute)
		took, err := b.stop()
		synctest.Wait()
		if !errors.Is(err, errStopped) || took != 0 || !theBroker.goodbye {
			t.Errorf("Run = %v after %v, DISCONNECT seen: %v", err, took, theBroker.goodbye)
		}
		if s := b.client.State(); s.Connected || s.Subscribed || s.LastError != "" {
			t.Errorf("%+v", s)
		}
		if lines := b.log.lines("level=WARN"); lines != nil {
			t.Errorf("warned: %s", lines)
		}
	})
}

func TestTheEndIsQuickAtEveryStage(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(p *peer)
		within time.Duration
	}{
		{"the broker does not read CONNECT", func(*peer) { <-time.After(10 * time.Second) }, 0},
		{"no CONNACK", func(p *peer) { p.read(); p.idle() }, 0},
		{"the broker does not read SUBSCRIBE", func(p *peer) { p.connack(0, false); <-time.After(10 * time.Second) }, goodbyeLimit},
		{"no SUBACK", func(p *peer) { p.connack(0, false); p.wantSubscribe(); p.idle() }, 0},
		{"the broker stopped reading", func(p *peer) { p.accept(); <-time.After(10 * time.Second) }, goodbyeLimit},
		{"waiting for the next attempt", func(*peer) {}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, Config{}, func(_ int, p *peer) { c.script(p) }, nil)
				pass(3 * time.Second)
				if took, err := b.stop(); !errors.Is(err, errStopped) || took > c.within {
					t.Errorf("Run = %v after %v, want within %v", err, took, c.within)
				}
			})
		})
	}
	t.Run("dialling", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, Config{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}}, nil, nil)
			pass(time.Second)
			if took, err := b.stop(); !errors.Is(err, errStopped) || took != 0 {
				t.Errorf("Run = %v after %v", err, took)
			}
		})
	})
}

func TestWhatIsQueuedAtTheEndStaysUnacknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var theBroker *peer
		handled := 0
		b := start(t, Config{Broker: settings.Broker{PersistentSession: true}}, func(_ int, p *peer) {
			theBroker = p
			p.accept()
			var wg sync.WaitGroup
			p.publishing(&wg, 5, func(int) []byte { return note("token") })
			p.idle()
			wg.Wait()
		}, func(Notification) {
			<-time.After(10 * time.Second)
			handled++
		})
		pass(15 * time.Second) // one is done, one under way
		if took, _ := b.stop(); took != 5*time.Second {
			t.Errorf("Run returned after %v: it waits for the running handler and no longer", took)
		}
		if handled != 2 || len(theBroker.puts) != 1 {
			t.Errorf("%d handled, acknowledged %v", handled, theBroker.puts)
		}
	})
}
