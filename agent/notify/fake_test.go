package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/test/capture"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testThing = "pi-42"
	testID    = "pi-42-tunnel"
	testTopic = "$aws/things/pi-42/tunnels/notify"
)

var errStopped = errors.New("test is over")

// bench is a client under test in a synctest bubble, its log, and the broker that it dials.
type bench struct {
	t      *testing.T
	client *Client
	log    *logBuffer
	cancel context.CancelCauseFunc
	done   chan error

	mu    sync.Mutex
	dials []time.Time
}

// start runs a client whose n-th connection (from 1) is played by script. The connection is closed when
// script returns. A nil handle ignores notifications.
func start(t *testing.T, cfg Config, script func(n int, p *peer), handle func(Notification)) *bench {
	t.Helper()
	b := &bench{t: t, log: &logBuffer{}, done: make(chan error, 1)}
	var peers sync.WaitGroup
	cfg.ThingName, cfg.ClientID = testThing, testID
	if cfg.Endpoint == "" {
		cfg.Endpoint, cfg.Port = "broker.example", 8883
	}
	cfg.Logger = slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if cfg.Dial == nil {
		cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
			b.mu.Lock()
			b.dials = append(b.dials, time.Now())
			n := len(b.dials)
			b.mu.Unlock()
			near, far := net.Pipe()
			peers.Go(func() {
				defer func() { _ = far.Close() }()
				script(n, &peer{t: t, bench: b, conn: far})
			})
			return near, nil
		}
	}
	if handle == nil {
		handle = func(Notification) {}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	b.cancel = cancel
	b.client = New(cfg)
	go func() { b.done <- b.client.Run(ctx, handle) }()
	t.Cleanup(func() {
		cancel(errStopped)
		if err := <-b.done; err == nil {
			t.Error("Run ended without an error")
		}
		peers.Wait()
	})
	return b
}

// stop ends Run and returns how long it took, and its error.
func (b *bench) stop() (time.Duration, error) {
	b.t.Helper()
	began := time.Now()
	b.cancel(errStopped)
	err := <-b.done
	b.done <- err // for the clean-up
	return time.Since(began), err
}

// pass lets the bubble's time go on by d.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// gaps are the pauses between one dial and the next.
func (b *bench) gaps() []time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	var g []time.Duration
	for i := 1; i < len(b.dials); i++ {
		g = append(g, b.dials[i].Sub(b.dials[i-1]))
	}
	return g
}

// wants checks that LastError or LastHint has all the parts, or lacks those that begin with "!".
func (b *bench) wants(parts ...string) {
	b.t.Helper()
	s := b.client.State()
	got := s.LastError + "; " + s.LastHint
	for _, p := range parts {
		if no, found := strings.CutPrefix(p, "!"); found {
			if strings.Contains(got, no) {
				b.t.Errorf("last error has %q: %s", no, got)
			}
		} else if !strings.Contains(got, p) {
			b.t.Errorf("last error lacks %q: %s", p, got)
		}
	}
}

// logBuffer collects log lines.
type logBuffer struct{ capture.Buffer }

// lines returns those with all the parts.
func (l *logBuffer) lines(parts ...string) []string {
	var found []string
next:
	for line := range strings.Lines(l.String()) {
		for _, p := range parts {
			if !strings.Contains(line, p) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

// peer is the broker's end of one connection.
type peer struct {
	t     *testing.T
	bench *bench
	conn  net.Conn

	puts    []uint16 // message ids of PUBACKs that idle saw
	pings   int
	goodbye bool // a DISCONNECT came
	connect *packets.ConnectPacket
}

// read returns the next packet, or nil at the connection's end.
func (p *peer) read() packets.ControlPacket {
	cp, err := packets.ReadPacket(p.conn)
	if err != nil {
		return nil
	}
	return cp
}

func (p *peer) send(cp packets.ControlPacket) { _ = cp.Write(p.conn) }

func (p *peer) raw(b ...byte) { _, _ = p.conn.Write(b) }

// connack reads CONNECT and answers it.
func (p *peer) connack(code byte, sessionPresent bool) bool {
	connect, ok := p.read().(*packets.ConnectPacket)
	if !ok {
		return false
	}
	p.connect = connect
	ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	ack.ReturnCode, ack.SessionPresent = code, sessionPresent
	p.send(ack)
	return true
}

// subscribe reads SUBSCRIBE, checks it, and answers with code.
func (p *peer) subscribe(code byte) bool {
	sub := p.wantSubscribe()
	if sub == nil {
		return false
	}
	p.suback(sub, code)
	return true
}

func (p *peer) wantSubscribe() *packets.SubscribePacket {
	cp := p.read()
	for {
		put, ok := cp.(*packets.PubackPacket) // of a message that came before the SUBACK
		if !ok {
			break
		}
		p.puts = append(p.puts, put.MessageID)
		cp = p.read()
	}
	sub, ok := cp.(*packets.SubscribePacket)
	if !ok {
		if cp != nil {
			p.t.Errorf("got %v instead of SUBSCRIBE", cp)
		}
		return nil
	}
	if !slices.Equal(sub.Topics, []string{testTopic}) || !slices.Equal(sub.Qoss, []byte{1}) {
		p.t.Errorf("SUBSCRIBE %v at %v", sub.Topics, sub.Qoss)
	}
	return sub
}

func (p *peer) suback(sub *packets.SubscribePacket, codes ...byte) {
	ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	ack.MessageID, ack.ReturnCodes = sub.MessageID, codes
	p.send(ack)
}

// accept brings the session up.
func (p *peer) accept() bool { return p.connack(0, false) && p.subscribe(1) }

// idle answers pings and collects acknowledgements until the connection ends.
func (p *peer) idle() {
	for {
		switch cp := p.read().(type) {
		case nil:
			return
		case *packets.PingreqPacket:
			p.pings++
			p.send(packets.NewControlPacket(packets.Pingresp))
		case *packets.PubackPacket:
			p.puts = append(p.puts, cp.MessageID)
		case *packets.DisconnectPacket:
			p.goodbye = true
		default:
			p.t.Errorf("unexpected %v", cp)
		}
	}
}

// idleFor is idle that ends after d with the connection still open.
func (p *peer) idleFor(d time.Duration) {
	_ = p.conn.SetReadDeadline(time.Now().Add(d))
	p.idle()
	_ = p.conn.SetReadDeadline(time.Time{})
}

// publish sends a message at QoS 1.
func (p *peer) publish(id uint16, topic string, payload []byte) {
	pub := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	pub.Qos, pub.MessageID, pub.TopicName, pub.Payload = 1, id, topic, payload
	p.send(pub)
}

// announce sends a message of size bytes without holding it in memory.
func (p *peer) announce(id uint16, topic string, size int) {
	head := []byte{0x32}
	n := 2 + len(topic) + 2 + size
	for ; n >= 0x80; n >>= 7 {
		head = append(head, byte(n&0x7f|0x80))
	}
	head = append(head, byte(n), 0, byte(len(topic)))
	head = append(append(head, topic...), byte(id>>8), byte(id))
	p.raw(head...)
	junk := bytes.Repeat([]byte("x"), 64<<10)
	for ; size > 0; size -= len(junk) {
		p.raw(junk[:min(size, len(junk))]...)
	}
}

// publishing sends messages beside idle.
func (p *peer) publishing(wg *sync.WaitGroup, n int, payload func(i int) []byte) {
	wg.Go(func() {
		for i := range n {
			p.publish(uint16(i+1), testTopic, payload(i))
		}
	})
}

// note is a notification with the given token.
func note(token string) []byte {
	return fmt.Appendf(nil, `{"clientAccessToken":%q,"clientMode":"destination","region":"eu-west-1","services":["SSH"]}`, token)
}

// received collects the tokens that handle got.
type received struct {
	mu   sync.Mutex
	list []string
}

func (r *received) handle(n Notification) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, n.AccessToken.Reveal())
}

func (r *received) get() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.list...)
}
