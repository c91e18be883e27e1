package wsconn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAMessageLeavesAsOneFrame(t *testing.T) {
	c, p := open(t, nil)
	frames := p.frames()
	content := bytes.Repeat([]byte("0123456789abcdef"), MaxMessage/16+1)
	for _, sizes := range [][]int{
		{1},
		{124},
		{125},
		{126},
		{127},
		{0, 2, 0},
		{65_534},
		{65_535},
		{65_536},
		{65_537},
		{2, 30, 64_512},
		{MaxMessage},
		{MaxMessage - 1, 1},
		{2, 64_512, 2, MaxMessage - 64_516},
	} {
		var bufs [][]byte
		start := 0
		for _, n := range sizes {
			bufs = append(bufs, content[start:start+n])
			start += n
		}
		if err := c.WriteBuffers(bufs...); err != nil {
			t.Fatalf("%v: %v", sizes, err)
		}
		if got, want := <-frames, (frame{opBinary, true, string(content[:start])}); got != want {
			t.Errorf("%v: a frame with opcode %d, fin %v and %d bytes", sizes, got.Op, got.Fin, len(got.Payload))
		}
	}
	if !bytes.Equal(content[:16], []byte("0123456789abcdef")) {
		t.Error("masking changed the caller's buffer")
	}
}

func TestAMessageOfNothingIsNotSent(t *testing.T) {
	c, p := open(t, nil)
	frames := p.frames()
	for _, bufs := range [][][]byte{nil, {nil}, {{}, {}}} {
		if err := c.WriteBuffers(bufs...); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.WriteBuffers([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(frame{opBinary, true, "x"}, <-frames); diff != "" {
		t.Error(diff)
	}
}

func TestAMessageTooBigIsRefusedAndTheConnectionLives(t *testing.T) {
	c, p := open(t, nil)
	frames := p.frames()
	if err := c.WriteBuffers(make([]byte, MaxMessage), []byte{0}); !errors.Is(err, ErrMessageTooBig) {
		t.Errorf("error = %v", err)
	}
	if err := c.WriteBuffers([]byte("x")); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(frame{opBinary, true, "x"}, <-frames); diff != "" {
		t.Error(diff)
	}
}

func TestAServiceThatTakesNothingEndsTheConnectionByTheWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := open(t, func(cfg *Config) { cfg.WriteTimeout = 7 * time.Second })
		start := time.Now()
		err := c.WriteBuffers([]byte("x"))
		if !errors.Is(err, os.ErrDeadlineExceeded) || err.Error() != "the tunnel service accepted no data for 7s: i/o timeout" {
			t.Errorf("error = %v", err)
		}
		if d := time.Since(start); d != 7*time.Second {
			t.Errorf("after %v", d)
		}
		if again := c.WriteBuffers([]byte("x")); again == nil || again.Error() != err.Error() {
			t.Errorf("the next write = %v", again)
		}
		// The reader gets a second to find a better reason, and then ends with this one.
		if _, rerr := c.Read(make([]byte, 1)); rerr == nil || rerr.Error() != err.Error() {
			t.Errorf("Read = %v", rerr)
		}
		if d := time.Since(start); d != 8*time.Second {
			t.Errorf("Read ended after %v", d)
		}
	})
}

func TestAFailedWriteLeavesTheReaderTimeToFindTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := open(t, func(cfg *Config) { cfg.WriteTimeout = 7 * time.Second })
		if err := c.WriteBuffers([]byte("x")); err == nil {
			t.Fatal("no error")
		}
		go func() { _ = p.send(opClose, closePayload(1008, "replaced")) }()
		var closed *CloseError
		if _, err := c.Read(make([]byte, 1)); !errors.As(err, &closed) || closed.Code != 1008 {
			t.Errorf("Read = %v", err)
		}
	})
}

// newPeerless opens a connection whose service takes everything and says nothing.
func newPeerless(tb testing.TB) *Conn {
	tb.Helper()
	cfg := testConfig(pipeDialer(func(p *peer) {
		if p.accept() == nil {
			_, _ = io.Copy(io.Discard, p.Conn)
		}
	}))
	c, err := Dial(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close(1000, "") })
	return c
}

func TestAnIdleConnectionHoldsNoWriteBuffer(t *testing.T) {
	heap := func() int64 {
		var m runtime.MemStats
		for range 3 { // a pool is empty after two collections
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const count = 64
	before := heap()
	conns, payload := make([]*Conn, count), make([]byte, 64_512)
	for i := range conns {
		conns[i] = newPeerless(t)
	}
	for _, c := range conns {
		if err := c.WriteBuffers(payload); err != nil {
			t.Fatal(err)
		}
	}
	if each := (heap() - before) / count; each > MaxMessage/2 {
		t.Errorf("%d bytes of heap for each of %d connections after one message, the service's side included", each, count)
	}
	runtime.KeepAlive(conns)
	runtime.KeepAlive(payload)
}

// noDeadlines leaves out what allocates in a net.Pipe and not in a socket.
type noDeadlines struct{ net.Conn }

func (noDeadlines) SetWriteDeadline(time.Time) error { return nil }

func TestSteadyStateAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c, p := open(t, func(cfg *Config) {
		pipe := cfg.NetDial
		cfg.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := pipe(ctx, network, address)
			return noDeadlines{conn}, err
		}
	})
	head, payload, buf := make([]byte, 20), make([]byte, 64_512), make([]byte, 128<<10)
	go func() { _, _ = io.Copy(io.Discard, p.Conn) }()
	message := append(frame{opPong, true, "0123"}.bytes(), binaryFrame(strings.Repeat("x", 64_512))...)
	var pongs uint64
	c.OnProbe(func(n uint64) { pongs += n })
	next := make(chan struct{})
	go func() {
		for range next {
			_, _ = p.Write(message)
		}
	}()
	defer close(next)
	probe := uint64(0)
	write := testing.AllocsPerRun(500, func() {
		probe++
		if err := c.WriteProbe(probe, head, payload); err != nil {
			t.Fatal(err)
		}
	})
	read := testing.AllocsPerRun(500, func() {
		next <- struct{}{}
		for n := 0; n < len(payload); {
			m, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
	})
	if write >= 1 || read >= 1 || pongs == 0 {
		t.Errorf("%v allocations for a message and a ping out, %v for a message and a pong in, %d pongs", write, read, pongs)
	}
}

func BenchmarkWriteBuffers(b *testing.B) {
	c := newPeerless(b)
	head, payload := make([]byte, 20), make([]byte, 64_512)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if err := c.WriteBuffers(head, payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	message := binaryFrame(strings.Repeat("x", 64_512))
	cfg := testConfig(pipeDialer(func(p *peer) {
		if p.accept() != nil {
			return
		}
		for {
			if _, err := p.Write(message); err != nil {
				return
			}
		}
	}))
	c, err := Dial(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close(1000, "") }()
	buf := make([]byte, 128<<10)
	b.SetBytes(64_512)
	b.ReportAllocs()
	for b.Loop() {
		for n := 0; n < 64_512; {
			m, err := c.Read(buf[:64_512-n])
			if err != nil {
				b.Fatal(err)
			}
			n += m
		}
	}
}
