package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/test/harness"
)

// patternMark is the upper half of each pattern's key, by which a target knows that a connection is the test's.
const patternMark = 0xC01BE27

func newKey() uint64 { return patternMark<<32 | uint64(rand.Uint32()) }

// wrong returns what is wrong with b, which should be a pattern from an offset on.
func wrong(p harness.Pattern, b []byte, offset int64) error {
	return p.Check(b, make([]byte, len(b)), offset)
}

// traffic is connections that move while a fault fires: two that stand until something ends them, and short ones in
// turn. Both ends check every byte.
type traffic struct {
	open func() (net.Conn, error)
	ends chan struct{}
	done sync.WaitGroup

	mu        sync.Mutex
	complaint []string // bytes that were wrong, or more than were sent
	bytes     int64
	whole     int         // short ones that were complete
	cut       []span      // short ones that were not
	faults    []span      // times in which a fault may be felt
	standing  int         // of those that stand
	lost      []time.Time // when one of them ended
}

// span is a time with a beginning and, perhaps, an end.
type span struct{ from, to time.Time }

const (
	standingConnections = 2
	shortTransfer       = 20_000 // bytes
	trafficLimit        = 2 * time.Minute
)

// serve answers every byte, after checking it: a connection begins with the name of its pattern. One that does not is
// none of the test's, but of another program on the machine, whose server had the port before.
func (f *traffic) serve(c net.Conn) {
	var head [8]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return
	}
	key, offset := binary.BigEndian.Uint64(head[:]), int64(0)
	if key>>32 != patternMark {
		return
	}
	p := harness.NewPattern(key, 0)
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Read(buf)
		if err := wrong(p, buf[:n], offset); err != nil {
			f.complain("the target of %x: %v", key, err)
			return
		}
		offset += int64(n)
		if n > 0 {
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (f *traffic) complain(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.complaint = append(f.complaint, fmt.Sprintf(format, args...))
}

// newTraffic returns traffic that has not begun; its target is at address.
func newTraffic(t testing.TB) (f *traffic, address string) {
	f = &traffic{ends: make(chan struct{})}
	return f, server(t, f.serve)
}

// start begins with connections made by open.
func (f *traffic) start(t testing.TB, open func() (net.Conn, error)) {
	t.Helper()
	f.open = open
	for range standingConnections {
		c, err := open()
		if err != nil {
			t.Fatalf("a connection before the fault: %v", err)
		}
		begun := make(chan bool)
		f.done.Go(func() { f.stand(c, begun) })
		if !<-begun {
			t.Fatal("a connection before the fault moved nothing")
		}
	}
	f.done.Go(f.shorts)
	t.Cleanup(func() { f.stop(t) })
	f.moves(t)
}

// moves waits until a few short connections more were complete.
func (f *traffic) moves(t testing.TB) {
	t.Helper()
	whole := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.whole
	}
	before := whole()
	eventually(t, time.Minute, "short connections go on", func() bool { return whole() >= before+3 })
}

// over reports whether the test is.
func (f *traffic) over() bool {
	select {
	case <-f.ends:
		return true
	default:
		return false
	}
}

// stand sends pieces at a steady pace, while there are not too many on their way, and checks what comes back.
func (f *traffic) stand(c net.Conn, begun chan<- bool) {
	defer c.Close()
	f.mu.Lock()
	f.standing++
	f.mu.Unlock()
	key := newKey()
	p := harness.NewPattern(key, 0)
	var writing sync.WaitGroup
	var received atomic.Int64
	ended := make(chan struct{})
	writing.Go(func() {
		const piece, window = 3000, 64 << 10
		tick := time.NewTicker(40 * time.Millisecond)
		defer tick.Stop()
		buf := make([]byte, piece)
		_, err := c.Write(binary.BigEndian.AppendUint64(nil, key))
		for offset := int64(0); err == nil; {
			if offset-received.Load() < window {
				p.Fill(buf, offset)
				_ = c.SetWriteDeadline(time.Now().Add(trafficLimit))
				_, err = c.Write(buf)
				offset += piece
			}
			select {
			case <-tick.C:
			case <-ended:
				return
			case <-f.ends:
				_ = c.Close()
				return
			}
		}
	})
	buf := make([]byte, 32<<10)
	for offset := int64(0); ; {
		_ = c.SetReadDeadline(time.Now().Add(trafficLimit))
		n, err := c.Read(buf)
		if err := wrong(p, buf[:n], offset); err != nil {
			f.complain("the client of %x: %v", key, err)
		}
		offset += int64(n)
		received.Store(offset)
		if begun != nil {
			begun <- err == nil
			begun = nil
		}
		f.mu.Lock()
		f.bytes += int64(n)
		if err != nil {
			f.standing--
			if !f.over() {
				f.lost = append(f.lost, time.Now())
			}
		}
		f.mu.Unlock()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				f.complain("a connection neither moved nor ended for %v", trafficLimit)
			}
			close(ended)
			_ = c.Close()
			writing.Wait()
			return
		}
	}
}

// shorts makes one short connection after the other.
func (f *traffic) shorts() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !f.over() {
		from := time.Now()
		got, err := f.short()
		f.mu.Lock()
		f.bytes += int64(got)
		if err == nil {
			f.whole++
		} else if !f.over() {
			f.cut = append(f.cut, span{from, time.Now()})
		}
		f.mu.Unlock()
		select {
		case <-tick.C:
		case <-f.ends:
		}
	}
}

// short sends a little, and reads all of it back until the end.
func (f *traffic) short() (got int, err error) {
	c, err := f.open()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-f.ends:
			_ = c.Close()
		case <-stop:
		}
	}()
	key := newKey()
	p := harness.NewPattern(key, 0)
	data := make([]byte, shortTransfer)
	p.Fill(data, 0)
	_ = c.SetDeadline(time.Now().Add(trafficLimit))
	if _, err := c.Write(append(binary.BigEndian.AppendUint64(nil, key), data...)); err != nil {
		return 0, err
	}
	back := make([]byte, shortTransfer)
	got, err = io.ReadFull(c, back)
	if err := wrong(p, back[:got], 0); err != nil {
		f.complain("the client of %x: %v", key, err)
	}
	if err != nil {
		return got, err
	}
	return got, nil
}

// fault marks the start of a time in which connections may be lost, until healed.
func (f *traffic) fault() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, span{from: time.Now()})
}

// healed marks its end.
func (f *traffic) healed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[len(f.faults)-1].to = time.Now()
}

// outage is how long the latest fault was felt.
func (f *traffic) outage() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.faults[len(f.faults)-1]
	return last.to.Sub(last.from)
}

// stands is how many of the standing connections there still are.
func (f *traffic) stands() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.standing
}

// abandon ends the traffic and says how many complaints there were.
func (f *traffic) abandon() (complaints int) {
	f.mu.Lock()
	if !f.over() {
		close(f.ends)
	}
	f.mu.Unlock()
	f.done.Wait()
	return len(f.complaint)
}

// stop ends the traffic and judges it.
func (f *traffic) stop(t testing.TB) {
	t.Helper()
	if f.over() {
		return
	}
	if f.open != nil && !t.Failed() {
		f.moves(t)
	}
	f.mu.Lock()
	close(f.ends)
	f.mu.Unlock()
	f.done.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.complaint {
		t.Error(c)
	}
	excused := func(s span) bool {
		for _, fault := range f.faults {
			if s.to.After(fault.from) && (fault.to.IsZero() || s.from.Before(fault.to)) {
				return true
			}
		}
		return false
	}
	for _, c := range f.cut {
		if !excused(c) {
			t.Errorf("a short connection was cut though no fault was felt")
		}
	}
	// A broken connection's last bytes are written before it is reset, which may take drainLimit.
	const drainLimit = 2 * time.Second
	for _, at := range f.lost {
		if !excused(span{at.Add(-drainLimit), at}) {
			t.Errorf("a standing connection ended though no fault was felt")
		}
	}
	t.Logf("%d bytes as sent; %d short connections whole, %d cut; %d of %d standing ones ended", f.bytes, f.whole, len(f.cut), len(f.lost), standingConnections)
}
