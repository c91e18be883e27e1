package e2e

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox/pki"
	"github.com/culvert-iot/culvert/sandbox/relay"
)

const bulkSize = 64 << 20

// bulkServer takes a request of one direction byte and a length: 'u' reads that many bytes and answers one,
// 'd' sends that many.
func bulkServer(t testing.TB) string {
	return server(t, func(c net.Conn) {
		var head [9]byte
		buf := make([]byte, 256<<10)
		for {
			if _, err := io.ReadFull(c, head[:]); err != nil {
				return
			}
			left := int64(binary.BigEndian.Uint64(head[1:]))
			switch head[0] {
			case 'u':
				for left > 0 {
					n, err := c.Read(buf[:min(left, int64(len(buf)))])
					if left -= int64(n); err != nil {
						return
					}
				}
				if _, err := c.Write([]byte{'k'}); err != nil {
					return
				}
			case 'd':
				for left > 0 {
					n, err := c.Write(buf[:min(left, int64(len(buf)))])
					if left -= int64(n); err != nil {
						return
					}
				}
			}
		}
	})
}

// bulk moves size bytes over c in a direction and returns how long it took, to the last byte's arrival.
func bulk(t testing.TB, c net.Conn, direction byte, size int64) time.Duration {
	t.Helper()
	start := time.Now()
	var head [9]byte
	head[0] = direction
	binary.BigEndian.PutUint64(head[1:], uint64(size))
	if _, err := c.Write(head[:]); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256<<10)
	if direction == 'u' {
		for left := size; left > 0; {
			n, err := c.Write(buf[:min(left, int64(len(buf)))])
			if left -= int64(n); err != nil {
				t.Fatal(err)
			}
		}
		size = 1
	}
	for left := size; left > 0; {
		n, err := c.Read(buf)
		if left -= int64(n); err != nil {
			t.Fatal(err)
		}
	}
	return time.Since(start)
}

// plainTLS is the baseline: the same way over TCP, a TLS hop to a forwarder and one from it, TCP, with
// io.Copy at each joint and neither websocket nor frames.
func plainTLS(t testing.TB, target string) net.Conn {
	t.Helper()
	authority, err := pki.New("plain")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.Server("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	serverTLS := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	clientTLS := &tls.Config{RootCAs: authority.Pool(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	join := func(c, next net.Conn) {
		var both sync.WaitGroup
		both.Go(func() { _, _ = io.Copy(next, c); _ = next.Close() })
		both.Go(func() { _, _ = io.Copy(c, next); _ = c.Close() })
		both.Wait()
	}
	dial := func(address string) net.Conn {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Error(err)
			return nil
		}
		return c
	}
	device := server(t, func(c net.Conn) { join(tls.Server(c, serverTLS), dial(target)) })
	forward := server(t, func(c net.Conn) { join(tls.Server(c, serverTLS), tls.Client(dial(device), clientTLS)) })
	operator := server(t, func(c net.Conn) { join(c, tls.Client(dial(forward), clientTLS)) })
	return dial(operator)
}

func median[T ~int64 | ~float64](list []T) T {
	s := slices.Clone(list)
	slices.Sort(s)
	return s[len(s)/2]
}

// BenchmarkBulk moves 64 MiB through client, source, relay and destination to a server or back, and the same
// through plain TLS over as many hops, in turn. up is from the operator to the device.
func BenchmarkBulk(b *testing.B) {
	for name, direction := range map[string]byte{"up": 'u', "down": 'd'} {
		b.Run(name, func(b *testing.B) {
			target := bulkServer(b)
			c := newChain(b, proxy.V3, relay.Straight, []string{"BULK"}, dialTo(target))
			tunnel := c.open(b, "BULK")
			defer tunnel.Close()
			plain := plainTLS(b, target)
			defer plain.Close()
			bulk(b, tunnel, direction, bulkSize/4) // buffers and windows grow to their size
			bulk(b, plain, direction, bulkSize/4)
			var ours, theirs, ratios []float64
			b.ResetTimer()
			for b.Loop() {
				t, p := bulk(b, tunnel, direction, bulkSize), bulk(b, plain, direction, bulkSize)
				ours = append(ours, bulkSize/t.Seconds()/1e6)
				theirs = append(theirs, bulkSize/p.Seconds()/1e6)
				ratios = append(ratios, p.Seconds()/t.Seconds())
			}
			b.ReportMetric(median(ours), "tunnel-MB/s")
			b.ReportMetric(median(theirs), "plain-MB/s")
			b.ReportMetric(median(ratios), "tunnel/plain")
		})
	}
}

// BenchmarkEcho measures 64-byte round trips, alone and beside an endless upload or download on another
// connection of the tunnel, and on plain TLS over as many hops.
func BenchmarkEcho(b *testing.B) {
	run := func(b *testing.B, c net.Conn) {
		defer c.Close()
		var msg [64]byte
		var took []time.Duration
		for b.Loop() {
			start := time.Now()
			if _, err := c.Write(msg[:]); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, msg[:]); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	}
	b.Run("plain", func(b *testing.B) { run(b, plainTLS(b, echoServer(b))) })
	for name, direction := range map[string]byte{"idle": 0, "beside-upload": 'u', "beside-download": 'd'} {
		b.Run(name, func(b *testing.B) {
			echo, target := echoServer(b), bulkServer(b)
			c := newChain(b, proxy.V3, relay.Straight, []string{"ECHO", "BULK"}, func(ctx context.Context, service string) (net.Conn, error) {
				if service == "BULK" {
					return dialTo(target)(ctx, service)
				}
				return dialTo(echo)(ctx, service)
			})
			if direction != 0 {
				beside := c.open(b, "BULK")
				var busy sync.WaitGroup
				var moved atomic.Int64
				busy.Go(func() { endless(beside, direction, &moved) })
				defer busy.Wait()
				defer beside.Close()
				start := time.Now()
				defer func() { b.ReportMetric(float64(moved.Load())/time.Since(start).Seconds()/1e6, "bulk-MB/s") }()
			}
			run(b, c.open(b, "ECHO"))
		})
	}
}

// endless keeps c busy in a direction until it is closed.
func endless(c net.Conn, direction byte, moved *atomic.Int64) {
	var head [9]byte
	head[0] = direction
	binary.BigEndian.PutUint64(head[1:], 1<<62)
	if _, err := c.Write(head[:]); err != nil {
		return
	}
	buf := make([]byte, 256<<10)
	for {
		var n int
		var err error
		if direction == 'u' {
			n, err = c.Write(buf)
		} else {
			n, err = c.Read(buf)
		}
		moved.Add(int64(n))
		if err != nil {
			return
		}
	}
}
