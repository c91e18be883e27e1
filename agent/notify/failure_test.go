package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/internal/settings"
)

const (
	wantConnect   = "iot:Connect on client/" + testID
	wantSubscribe = "iot:Subscribe on topicfilter/" + testTopic
	wantReceive   = "iot:Receive on topic/" + testTopic
	wantOwnID     = "another client probably uses the client id " + testID
)

func TestFailuresNameTheirRemedy(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(n int, p *peer)
		wait   time.Duration
		want   []string // in LastError; "!" = not
	}{
		{"CONNACK 5", func(_ int, p *peer) { p.connack(5, false); p.idle() }, time.Second, []string{"return code 5 (not authorized)", wantConnect}},
		{"CONNACK 7, which paho takes for success", func(_ int, p *peer) { p.connack(7, false); p.idle() }, time.Second, []string{"return code 7", wantConnect}},
		{"CONNACK with a code of the future", func(_ int, p *peer) { p.connack(99, false); p.idle() }, time.Second, []string{"return code 99"}},
		{"CONNACK 3", func(_ int, p *peer) { p.connack(3, false); p.idle() }, time.Second, []string{"server unavailable", "!iot:Connect"}},
		{"CONNACK 2", func(_ int, p *peer) { p.connack(2, false); p.idle() }, time.Second, []string{"client id rejected", "mqtt.client_id"}},
		{"closed after CONNECT", func(_ int, p *peer) { p.read() }, time.Second, []string{"right after CONNECT", wantConnect, "active"}},
		{"closed before CONNECT was read", func(int, *peer) {}, time.Second, []string{"right after CONNECT", wantConnect}},
		{"no CONNACK", func(_ int, p *peer) { p.idleOn() }, 20 * time.Second, []string{"did not answer CONNECT within 15s", "mqtt.endpoint"}},
		{"SUBACK 0x80", func(_ int, p *peer) { p.connack(0, false); p.subscribe(0x80); p.idle() }, time.Second, []string{"refused SUBSCRIBE", wantSubscribe, wantReceive}},
		{"no SUBACK", func(_ int, p *peer) { p.connack(0, false); p.wantSubscribe(); p.idle() }, 15 * time.Second, []string{"did not answer SUBSCRIBE within 10s", wantSubscribe}},
		{"closed after SUBSCRIBE once", once(func(p *peer) { p.connack(0, false); p.wantSubscribe() }), 30 * time.Second, []string{"right after SUBSCRIBE", "!iot:"}},
		{"closed after SUBSCRIBE again and again", func(_ int, p *peer) { p.connack(0, false); p.wantSubscribe() }, 10 * time.Second, []string{"again and again", wantSubscribe, wantReceive}},
		{"closed after CONNACK again and again", func(_ int, p *peer) { p.connack(0, false) }, 10 * time.Second, []string{"right after SUBSCRIBE", wantSubscribe}},
		{"a slow end after SUBSCRIBE is no policy", func(_ int, p *peer) { p.connack(0, false); p.wantSubscribe(); p.idleFor(4 * time.Second) }, time.Minute, []string{"connection lost after SUBSCRIBE", "!iot:"}},
		{"not MQTT", func(_ int, p *peer) { p.read(); p.raw([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")...) }, time.Second, []string{"first packet is no CONNACK"}},
		{"a PUBLISH of QoS 2", func(_ int, p *peer) { p.accept(); p.raw(0x34); p.idle() }, time.Second, []string{"PUBLISH of QoS 2"}},
		{"a SUBACK with more codes than filters", func(_ int, p *peer) {
			p.connack(0, false)
			p.suback(p.wantSubscribe(), 1, 1)
			p.idle()
		}, time.Second, []string{"packet of type 9 with 4 bytes"}},
		{"a PUBLISH whose topic is longer than it is", func(_ int, p *peer) { p.accept(); p.raw(0x30, 4, 0xff, 0xff, 'a', 'b'); p.idle() }, time.Second, []string{"connection given up", "payload length"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, Config{}, c.script, nil)
				pass(c.wait)
				b.wants(c.want...)
			})
		})
	}
}

// once plays script on the first connection; the next ones are good.
func once(script func(*peer)) func(int, *peer) {
	return func(n int, p *peer) {
		if n == 1 {
			script(p)
			return
		}
		p.accept()
		p.idle()
	}
}

// idleOn reads without answering, until the other side closes.
func (p *peer) idleOn() {
	for p.read() != nil {
	}
}

func TestARefusedClientIsNeverConnected(t *testing.T) {
	for _, code := range []byte{5, 7} {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, Config{}, func(_ int, p *peer) {
				p.connack(code, false)
				if cp := p.read(); cp != nil {
					t.Errorf("%v after CONNACK %d", cp, code)
				}
			}, nil)
			for range 100 {
				pass(50 * time.Millisecond)
				if s := b.client.State(); s.Connected || s.Subscribed {
					t.Fatalf("CONNACK %d: %+v", code, s)
				}
			}
		})
	}
}

func TestASecondClientWithTheSameIDIsNamedTheThirdTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{}, func(n int, p *peer) {
			p.accept()
			p.idleFor(10 * time.Second) // the last end is told by now
			last := p.bench.client.State().LastHint
			if named := strings.Contains(last, wantOwnID); named != (n > 3) {
				t.Errorf("after %d drops: %s", n-1, last)
			}
			p.idleFor(10 * time.Second)
		}, nil)
		pass(10 * time.Minute)
		if len(b.gaps()) < 5 {
			t.Errorf("only %d reconnects", len(b.gaps()))
		}
		if n := len(b.log.lines("level=WARN", "mqtt.client_id")); n != 1 {
			t.Errorf("%d warnings name the client id", n)
		}
		// The first drop, and the third with its remedy.
		if n := len(b.log.lines("level=WARN")); n != 2 {
			t.Errorf("%d warnings:\n%s", n, b.log.lines("level=WARN"))
		}
	})
}

func TestSessionsThatStoodAreNoTakeoverAndNoWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{}, func(_ int, p *peer) {
			p.accept()
			p.idleFor(6 * time.Hour)
		}, nil)
		pass(48 * time.Hour)
		b.wants("connection lost", "!client id")
		if lines := b.log.lines("level=WARN"); lines != nil {
			t.Errorf("warned: %s", lines)
		}
		if n := len(b.log.lines("level=INFO", "connection ended")); n < 7 {
			t.Errorf("%d ends at info", n)
		}
	})
}

func TestADeadBrokerIsNoticedInBoundedTime(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(p *peer)
		want   string
	}{
		{"it reads and never answers", func(p *peer) { p.accept(); p.idleOn() }, "connection given up: pingresp not received"},
		{"it does not even read", func(p *peer) { p.accept(); <-time.After(time.Hour) }, "timeout"},
		{"it publishes but does not read", func(p *peer) {
			p.accept()
			for i := range 1000 {
				p.publish(uint16(i+1), testTopic, note("token"))
				<-time.After(5 * time.Second)
			}
		}, "timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, Config{Broker: settings.Broker{KeepAlive: 60 * time.Second}}, once(c.script), nil)
				<-b.client.Ready()
				began := time.Now()
				for b.client.State().Subscribed {
					pass(time.Second)
				}
				if d := time.Since(began); d > 91*time.Second {
					t.Errorf("noticed after %v", d)
				}
				pass(5 * time.Second)
				if !b.client.State().Subscribed {
					t.Error("no new connection")
				}
				b.wants("connection lost", c.want, "!client id")
			})
		})
	}
}

func TestReconnectDelaysGrowAndSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{}, func(_ int, p *peer) { p.connack(5, false) }, nil)
		for len(b.gaps()) < 200 {
			pass(time.Minute)
		}
		gaps := b.gaps()
		if lo, hi := slices.Min(gaps), slices.Max(gaps); lo < time.Second || hi > 60*time.Second {
			t.Errorf("gaps from %v to %v: AWS takes one CONNECT a second, and no wait exceeds a minute", lo, hi)
		}
		mean := func(list []time.Duration) time.Duration {
			var sum time.Duration
			for _, g := range list {
				sum += g
			}
			return sum / time.Duration(len(list))
		}
		early, late := gaps[:4], gaps[10:]
		if mean(early) > 5*time.Second || mean(late) < 20*time.Second || mean(late) > 40*time.Second {
			t.Errorf("mean gap %v at first, %v later", mean(early), mean(late))
		}
		low, high := 0, 0
		for _, g := range late {
			if g < 15*time.Second {
				low++
			}
			if g > 45*time.Second {
				high++
			}
		}
		// A quarter of 190 each is expected: 47 with a deviation of 6.
		if low < 20 || high < 20 {
			t.Errorf("%d gaps in the lowest quarter, %d in the highest of %d: no full jitter", low, high, len(late))
		}
		if n := len(b.log.lines("level=WARN")); n != 1 {
			t.Errorf("the same error was a warning %d times", n)
		}
		if n := len(b.log.lines("level=DEBUG", "failed again")); n < 199 {
			t.Errorf("the same error was repeated at debug %d times", n)
		}
		if s := b.client.State(); s.Attempts < 200 {
			t.Errorf("%+v", s)
		}
	})
}

func TestTheEndOfALongOutageIsToldAndAFlappingConnectionOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{}, func(n int, p *peer) {
			switch {
			case n <= 20: // the outage
			case n <= 30: // it comes and goes
				p.accept()
				p.idleFor(time.Second)
			default:
				p.accept()
				p.idle()
			}
		}, nil)
		for len(b.gaps()) < 20 {
			pass(time.Second)
		}
		pass(500 * time.Millisecond)
		if n := len(b.log.lines("level=INFO", "mqtt subscribed")); n != 1 {
			t.Errorf("the end of the outage is told at info %d times, want once", n)
		}
		for len(b.gaps()) < 30 {
			pass(time.Second)
		}
		pass(time.Minute)
		if n := len(b.log.lines("level=INFO", "mqtt subscribed")); n > 3 {
			t.Errorf("a connection that comes and goes is told at info %d times", n)
		}
	})
}

func TestDelaysStartOverOnlyAfterASessionThatStood(t *testing.T) {
	for _, c := range []struct {
		name  string
		stood time.Duration
		over  bool
	}{
		{"29 s", 29 * time.Second, false},
		{"31 s", 31 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, Config{random: func() float64 { return 0.999 }}, func(_ int, p *peer) {
					p.accept()
					p.idleFor(c.stood)
				}, nil)
				for len(b.gaps()) < 10 {
					pass(time.Minute)
				}
				last := b.gaps()[9] - c.stood
				if over := last <= time.Second; over != c.over {
					t.Errorf("the tenth delay is %v", last)
				}
			})
		})
	}
}

func TestAnErrorThatChangesIsAWarningEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{}, func(n int, p *peer) {
			if n%4 < 2 {
				p.connack(5, false)
			} else {
				p.connack(3, false)
			}
		}, nil)
		for len(b.gaps()) < 12 {
			pass(time.Second)
		}
		attempts := len(b.gaps()) + 1
		if n := len(b.log.lines("level=WARN")); n != 1+attempts/2 {
			t.Errorf("%d warnings in %d attempts with a change at every second", n, attempts)
		}
	})
}

func TestWhyNoConnectionIsPossible(t *testing.T) {
	dns := func(notFound, timeout bool) error {
		return &net.OpError{Op: "dial", Err: &net.DNSError{Err: "x", Name: "broker.example", IsNotFound: notFound, IsTimeout: timeout}}
	}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"the name does not exist", dns(true, false), "describe-endpoint"},
		{"a name in .local", &net.DNSError{Err: "no such host", Name: "Broker.local.", IsNotFound: true}, "mDNS"},
		{"DNS does not answer", dns(false, true), "no answer from DNS"},
		{"refused", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "nothing listens there"},
		{"no route", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}, "no route"},
		{"timeout", fmt.Errorf("dial: %w", context.DeadlineExceeded), ":443"},
		{"something else", errors.New("it is Monday"), "it is Monday"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, Config{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, c.err }}, nil, nil)
				pass(time.Second)
				b.wants("cannot reach broker.example:8883", c.want)
			})
		})
	}
}

func TestANetworkThatComesMinutesAfterTheStart(t *testing.T) {
	for _, late := range []time.Duration{time.Minute, 10 * time.Minute, 3 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			b := start(t, Config{Dial: func(context.Context, string, string) (net.Conn, error) {
				if time.Since(began) < late {
					return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}
				}
				near, far := net.Pipe()
				go func() {
					defer func() { _ = far.Close() }()
					p := &peer{t: t, conn: far}
					p.accept()
					p.idle()
				}()
				return near, nil
			}}, nil, nil)
			<-b.client.Ready()
			if d := time.Since(began); d > late+time.Minute {
				t.Errorf("a network that came after %v was used after %v", late, d)
			}
			synctest.Wait()
			if warned, told := len(b.log.lines("level=WARN")), len(b.log.lines("level=INFO", "subscribed")); warned != 1 || told != 1 {
				t.Errorf("%v without a network are %d warnings, and its coming is told %d times; want 1 and 1", late, warned, told)
			}
		})
	}
}

func TestErrorsThatDifferInAPortNumberAreTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		port := 40000
		b := start(t, Config{Dial: func(context.Context, string, string) (net.Conn, error) {
			port++
			return nil, fmt.Errorf("read udp 192.0.2.1:%d->192.0.2.53:53: i/o timeout", port)
		}}, nil, nil)
		pass(10 * time.Minute)
		if n := len(b.log.lines("level=WARN")); n != 1 {
			t.Errorf("%d warnings", n)
		}
	})
}

func TestCertificateFilesThatCannotBeReadAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		b := start(t, Config{TLS: func() (*tls.Config, error) {
			tries++
			return nil, &os.PathError{Op: "open", Path: "device.pem.crt", Err: os.ErrNotExist}
		}}, func(int, *peer) { t.Error("dialled") }, nil)
		pass(5 * time.Minute)
		b.wants("device.pem.crt", "mqtt.cert_file")
		if tries < 5 {
			t.Errorf("%d tries", tries)
		}
	})
}
