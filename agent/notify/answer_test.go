package notify

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

const testPing, testPong = "culvert/pi-42/ping", "culvert/pi-42/pong"

// joined is an answer that shows which pings it is for.
func joined(asked []string) []byte { return []byte(strings.Join(asked, " ")) }

// answer reads packets until the client publishes.
func (p *peer) answer() *packets.PublishPacket {
	for {
		switch cp := p.read().(type) {
		case nil:
			return nil
		case *packets.PingreqPacket:
			p.send(packets.NewControlPacket(packets.Pingresp))
		case *packets.PublishPacket:
			return cp
		}
	}
}

func TestPingsThatAskAreAnsweredNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{Answer: joined}, func(_ int, p *peer) {
			if !p.accept() {
				return
			}
			for i, bad := range []string{`{}`, `{"answer":"a b"}`, `{"answer":7}`, `{"answer":"` + strings.Repeat("x", 65) + `"}`, strings.Repeat(" ", 300) + `{"answer":"x"}`} {
				p.publish(uint16(100+i), testPing, []byte(bad))
			}
			p.idleFor(47 * time.Second) // none of them is, and no keep-alive is due at the end
			began := time.Now()
			for i, marks := range []string{"m1", "m1 m2", "m1 m2 m3", "m1 m2 m3 m4", "m2 m3 m4 m5"} {
				p.publish(uint16(i+1), testPing, fmt.Appendf(nil, `{"answer":"m%d"}`, i+1))
				pub := p.answer()
				if pub == nil {
					t.Fatal("the connection ended")
				}
				if pub.TopicName != testPong || !pub.Retain || pub.Qos != 0 || string(pub.Payload) != marks {
					t.Errorf("answer %v %q, want %q", pub, pub.Payload, marks)
				}
				if took := time.Since(began); took != time.Duration(i)*answerSpacing {
					t.Errorf("answer %d after %v", i+1, took)
				}
			}
			p.idle()
		}, nil)
		pass(2 * time.Minute)
		if _, err := b.stop(); err == nil {
			t.Error("it ended without an error")
		}
	})
}

func TestPingsAreNotAnsweredUnlessConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{}, func(_ int, p *peer) {
			if p.accept() {
				p.publish(1, testPing, []byte(`{"answer":"m"}`))
				p.idle() // fails at a PUBLISH
				if len(p.puts) != 1 {
					t.Errorf("%d acknowledgements", len(p.puts))
				}
			}
		}, nil)
		pass(time.Minute)
		_, _ = b.stop()
	})
}

func TestAnswersStopWhenTheyCostTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := 0
		b := start(t, Config{Answer: joined}, func(_ int, p *peer) {
			if !p.accept() {
				return
			}
			p.publish(1, testPing, []byte(`{"answer":"m"}`))
			_ = p.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			if p.answer() == nil {
				_ = p.conn.SetReadDeadline(time.Time{})
				p.idle()
				return
			}
			answers++ // and the broker drops a client that may not publish
		}, nil)
		pass(10 * time.Minute)
		if s := b.client.State(); answers != 2 || !s.Subscribed || !s.AnswersDenied || s.LastAnswer.IsZero() {
			t.Errorf("%d answers, state %+v", answers, s)
		}
		if n := len(b.log.lines("pings are no longer answered", "iot:RetainPublish on topic/"+testPong)); n != 1 {
			t.Errorf("%d lines:\n%s", n, b.log.String())
		}
	})
}

func TestAnswersGoOnAfterAnotherFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := 0
		b := start(t, Config{Answer: joined}, func(_ int, p *peer) {
			if !p.accept() {
				return
			}
			p.publish(1, testPing, []byte(`{"answer":"m"}`))
			if p.answer() == nil {
				return
			}
			answers++
			p.idleFor(answerDenied + time.Second) // lost later than a denial would be
		}, nil)
		pass(10 * time.Minute)
		if lines := b.log.lines("no longer answered"); answers < 4 || len(lines) > 0 || b.client.State().AnswersDenied {
			t.Errorf("%d answers; %s", answers, lines)
		}
	})
}
