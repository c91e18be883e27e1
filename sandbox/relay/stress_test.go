package relay

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

func TestReplacementsAndFaultsAtOnce(t *testing.T) {
	g := newRig(t)
	f := g.relay.Faults()
	stop := make(chan struct{})
	var peers, trouble sync.WaitGroup
	for _, side := range []tunnels.Mode{src, dst, src, dst} {
		peers.Go(func() {
			for i := range 40 {
				ws, _, err := g.try(side, "3.0", g.header(side))
				if err != nil {
					continue // reset by a fault in the middle of the handshake
				}
				if side == src {
					_ = ws.WriteMessage(websocket.BinaryMessage, enc(t, start("SSH", int32(i+1), 1), data("SSH", int32(i+1), 1, strconv.Itoa(i))))
				}
				_ = ws.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // a stranded one hears nothing
				_, _, _ = ws.NextReader()
				_ = ws.Close()
			}
		})
	}
	trouble.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			switch i % 5 {
			case 0:
				f.Cut(Target{Side: dst})
			case 1:
				f.Strand(Target{Side: src})
			case 2:
				f.CloseWith(Target{}, 1001, "")
			case 3:
				f.SendMessage(Target{}, frame.Message{Type: frame.SessionReset})
			case 4:
				f.Set(Target{Side: dst}, Conditions{Delay: 1})
				f.Clear()
			}
			g.relay.Violations()
			_, _ = g.store.Describe(g.id)
		}
	})
	peers.Wait()
	close(stop)
	trouble.Wait()
	d, s := g.join(dst, "3.0"), g.join(src, "3.0")
	s.send(start("SSH", 1000, 1))
	d.expect(start("SSH", 1000, 1))
	if v := g.relay.Violations(); len(v) != 0 {
		t.Errorf("violations %+v", v)
	}
}

// BenchmarkForward is bulk from a source to a destination: what a relay costs beside what it carries.
func BenchmarkForward(b *testing.B) {
	for _, encrypted := range []bool{false, true} {
		for _, size := range []int{1 << 10, 63 << 10} {
			b.Run("tls="+strconv.FormatBool(encrypted)+"/frame="+strconv.Itoa(size), func(b *testing.B) {
				benchmarkForward(b, encrypted, size)
			})
		}
	}
}

func benchmarkForward(b *testing.B, encrypted bool, size int) {
	b.Helper()
	g := newRig(b, with(func(c *Config) { c.Cutting = Straight }))
	if encrypted {
		server := httptest.NewUnstartedServer(g.relay)
		server.StartTLS()
		b.Cleanup(server.Close)
		g.dial = func(ctx context.Context) (net.Conn, error) {
			d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
			return d.DialContext(ctx, "tcp", server.Listener.Addr().String())
		}
	}
	d, s := g.streaming()
	one := enc(b, data("SSH", 1, 1, string(make([]byte, size))))
	var message []byte
	perMessage := 0
	for len(message)+len(one) <= frame.MaxWebsocketMessage {
		message = append(message, one...)
		perMessage++
	}
	b.SetBytes(int64(len(one)))
	b.ReportAllocs()
	b.ResetTimer()
	var writer sync.WaitGroup
	writer.Go(func() {
		for range b.N/perMessage + 1 {
			_ = s.ws.WriteMessage(websocket.BinaryMessage, message)
		}
	})
	buf := make([]byte, frame.MaxWebsocketMessage)
	for total := (b.N/perMessage + 1) * len(message); total > 0; {
		_, r, err := d.ws.NextReader()
		if err != nil {
			b.Fatal(err)
		}
		for {
			n, err := r.Read(buf)
			if total -= n; err != nil {
				break
			}
		}
	}
	writer.Wait()
}
