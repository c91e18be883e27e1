package stream

import (
	"context"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// carrier is a Destination with one connection over real sockets, driven frame by frame without any
// allocation of the test's own.
type carrier struct {
	tb     testing.TB
	far    *end
	target net.Conn
	in     *frame.Reader
	got    frame.Message
	key    [1]byte
}

func carry(tb testing.TB, network string) *carrier {
	tb.Helper()
	near, far := newPair()
	a, b := networks[network](tb)
	c := &carrier{tb: tb, far: far, target: b, in: frame.NewReader(far)}
	d := NewDestination(DestinationConfig{Config: Config{Transport: near, Budget: NewBudget(BudgetConfig{})}})
	connected := make(chan struct{})
	d.dialFunc = func(context.Context, string) (net.Conn, error) { close(connected); return a, nil }
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = d.Serve()
	}()
	tb.Cleanup(func() {
		_ = b.Close()
		_ = far.Close(closeNormal, "")
		<-served
	})
	_, _ = far.Write(frames("STREAM_START 1 SSH#1"))
	<-connected
	return c
}

// down moves n bytes to the target: frames of size bytes are written to the tunnel, and read at the target.
func (c *carrier) down(n, size int) {
	m := frame.Message{Type: frame.Data, StreamID: 1, ServiceID: "SSH", ConnectionID: 1, Payload: make([]byte, size)}
	one, err := m.AppendFrame(nil)
	if err != nil {
		c.tb.Fatal(err)
	}
	var sent sync.WaitGroup
	sent.Go(func() {
		for done := 0; done < n; done += size {
			if err := c.far.out.write(one); err != nil {
				c.tb.Error(err)
				return
			}
		}
	})
	b := make([]byte, 256<<10)
	for done := 0; done < n; {
		k, err := c.target.Read(b)
		if err != nil {
			c.tb.Fatal(err)
		}
		done += k
	}
	sent.Wait()
}

// up moves n bytes from the target, and tells in how many frames they came.
func (c *carrier) up(n, size int) (count int) {
	b := make([]byte, size)
	var sent sync.WaitGroup
	sent.Go(func() {
		for done := 0; done < n; done += size {
			if _, err := c.target.Write(b); err != nil {
				c.tb.Error(err)
				return
			}
		}
	})
	for done := 0; done < n; count++ {
		if err := c.in.Next(&c.got); err != nil {
			c.tb.Fatal(err)
		}
		done += len(c.got.Payload)
	}
	sent.Wait()
	return count
}

// echo sends one byte down and waits for it at the target, then the other way.
func (c *carrier) echo(one []byte) {
	if err := c.far.out.write(one); err != nil {
		c.tb.Fatal(err)
	}
	if _, err := io.ReadFull(c.target, c.key[:]); err != nil {
		c.tb.Fatal(err)
	}
	if _, err := c.target.Write(c.key[:]); err != nil {
		c.tb.Fatal(err)
	}
	if err := c.in.Next(&c.got); err != nil {
		c.tb.Fatal(err)
	}
}

func mallocs() uint64 {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.Mallocs
}

func TestCarryingAllocatesNothing(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	const tolerance = 0.05 // a frame: pools are emptied now and then
	one := frames("DATA 1 SSH#1 x")
	for _, network := range []string{"tcp", "unix"} {
		for _, c := range []struct {
			name string
			run  func(c *carrier) (count int)
		}{
			{"bulk down", func(c *carrier) int { c.down(1000*20_000, 20_000); return 1000 }},
			{"small frames down", func(c *carrier) int { c.down(10_000*100, 100); return 10_000 }},
			{"bulk up", func(c *carrier) int { return c.up(1000*30_000, 128<<10) }},
			{"echo", func(c *carrier) int {
				for range 2000 {
					c.echo(one)
				}
				return 4000
			}},
		} {
			t.Run(network+" "+c.name, func(t *testing.T) {
				l := carry(t, network)
				c.run(l) // pools and buffers are filled
				before := mallocs()
				count := c.run(l)
				if per := float64(mallocs()-before) / float64(count); per > tolerance {
					t.Errorf("%.3f allocations a frame over %d frames", per, count)
				} else {
					t.Logf("%.4f allocations a frame over %d frames", per, count)
				}
			})
		}
	}
}

func BenchmarkCarry(b *testing.B) {
	const size = 32 << 10
	for _, network := range []string{"tcp", "unix"} {
		b.Run(network+"/down", func(b *testing.B) {
			c := carry(b, network)
			b.SetBytes(size)
			b.ReportAllocs()
			c.down(b.N*size, size)
		})
		b.Run(network+"/up", func(b *testing.B) {
			c := carry(b, network)
			b.SetBytes(size)
			b.ReportAllocs()
			c.up(b.N*size, size)
		})
	}
}

func BenchmarkEcho(b *testing.B) {
	one := frames("DATA 1 SSH#1 x")
	for _, network := range []string{"tcp", "unix"} {
		b.Run(network, func(b *testing.B) {
			c := carry(b, network)
			b.ReportAllocs()
			for b.Loop() {
				c.echo(one)
			}
		})
	}
}
