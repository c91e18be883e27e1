package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// desk is a Transport on which a test plays the peer between two messages: it is called with each message
// that the sender has built, while the sender waits for it.
type desk struct {
	*judge
	message func(frames []frame.Message) // with payloads; returns when the next may be built
	parse   splitter
}

func (d *desk) WriteBuffers(bufs ...[]byte) error {
	if err := d.judge.WriteBuffers(bufs...); err != nil {
		return err
	}
	var frames []frame.Message
	for _, b := range bufs {
		if err := d.parse.add(b, func(m *frame.Message) { frames = append(frames, *m) }); err != nil {
			return err
		}
	}
	d.message(frames)
	return nil
}

// supply is a connection's target: ahead of the sender by a known number of bytes, so that whether there is
// something to read never depends on who was scheduled when.
type supply struct {
	net.Conn
	ahead int
}

const ahead = 150_000 // more than a message holds of one connection, less than a socket does

var nothing [ahead]byte

func (s *supply) fill(t *testing.T, to int) {
	t.Helper()
	if n, err := s.Write(nothing[:to-s.ahead]); err != nil {
		t.Errorf("after %d bytes: %v", n, err)
	}
	s.ahead = to
}

// turns starts a Destination with connections 1 to n and calls each with them, as message 0, and then with
// each message that was sent, until it returns false. *m is the Destination's.
func turns(t *testing.T, n int, m **mux, each func(number int, sent []frame.Message, all []*supply) bool) {
	t.Helper()
	far := make([]*supply, n+1)
	near, out := newPair()
	ended := make(chan struct{})
	var begun sync.Mutex
	number := 0
	go func() {
		for b := make([]byte, 1<<20); ; {
			if _, err := out.Read(b); err != nil {
				return
			}
		}
	}()
	d := &desk{judge: judged(t, near, false)}
	var once sync.Once
	d.message = func(sent []frame.Message) {
		begun.Lock()
		defer begun.Unlock()
		for _, m := range sent {
			far[m.ConnectionID].ahead -= len(m.Payload)
		}
		select {
		case <-ended:
			return
		default:
		}
		number++
		if !each(number, sent, far) {
			once.Do(func() { close(ended) })
		}
	}
	next := make(chan net.Conn, n)
	for i := range n {
		a, b := networks["unix"](t)
		_ = b.(*net.UnixConn).SetWriteBuffer(1 << 20)
		next <- a
		far[i+1] = &supply{Conn: b}
	}
	connect := make(chan struct{}, 1)
	dest := NewDestination(DestinationConfig{
		Config: Config{Transport: d},
		Dial: func(context.Context, string) (net.Conn, error) {
			<-connect
			return <-next, nil
		},
		DefaultService: func([]string) (string, error) { return "", errors.New("unused") },
	})
	*m = dest.mux
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = dest.Serve()
	}()
	for i := range n {
		start := "CONNECTION_START"
		if i == 0 {
			start = "STREAM_START"
		}
		if _, err := out.Write(frames(fmt.Sprintf("%s 1 X#%d", start, i+1))); err != nil {
			t.Fatal(err)
		}
		connect <- struct{}{}
		waitFor(t, func() bool { return dest.attached(i + 1) })
	}
	t.Cleanup(func() {
		for _, s := range far[1:] {
			_ = s.Close()
		}
		_ = out.Close(closeNormal, "")
		<-served
	})
	begun.Lock()
	each(0, nil, far)
	begun.Unlock()
	<-ended
}

// attached reports whether n connections have their targets.
func (m *mux) attached(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		if c.target != nil {
			n--
		}
	}
	return n <= 0
}

// waiting tells how many connections are in the two queues.
func (m *mux) waiting() (fresh, bulk int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sched.fresh.n, m.sched.bulk.n
}

func TestBulkConnectionsShareEqually(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 7, 8, 9, 20} {
		t.Run(fmt.Sprintf("%d connections", n), func(t *testing.T) {
			got := make([]int, n+1)
			var m *mux
			counting := false
			turns(t, n, &m, func(number int, sent []frame.Message, all []*supply) bool {
				for _, m := range sent {
					got[m.ConnectionID] += len(m.Payload)
				}
				for _, s := range all[1:] {
					s.fill(t, ahead)
				}
				if number == 0 {
					return true
				}
				fresh, bulk := 0, 0
				waitFor(t, func() bool { fresh, bulk = m.waiting(); return fresh+bulk == n })
				// A first turn takes what room is left in its message: it is not counted.
				if fresh > 0 || !counting {
					clear(got)
					counting = fresh == 0
					if number > 1000 {
						t.Error("some are still in the queue of those that were silent")
					}
					return number <= 1000
				}
				least, most := got[1], got[1]
				for _, b := range got[1:] {
					least, most = min(least, b), max(most, b)
				}
				if most-least > turn {
					t.Errorf("message %d: one has sent %d bytes, another %d: %v", number, least, most, got[1:])
					return false
				}
				return number < 200
			})
		})
	}
}

func TestALoneBulkConnectionSendsFullFrames(t *testing.T) {
	turns(t, 1, new(*mux), func(number int, sent []frame.Message, all []*supply) bool {
		all[1].fill(t, ahead)
		if number > 3 && (len(sent) != 1 || len(sent[0].Payload) != frame.MaxPayload) {
			t.Errorf("message %d: %d frames, the first of %d bytes", number, len(sent), len(sent[0].Payload))
		}
		return number < 50
	})
}

// A connection that sends little is in the very next message, however much bulk there is.
func TestASparseConnectionIsInTheNextMessage(t *testing.T) {
	t.Parallel()
	for _, bulk := range []int{1, 8, 30} {
		for _, size := range []int{1, 100, sparse} {
			t.Run(fmt.Sprintf("%d bytes beside %d bulk connections", size, bulk), func(t *testing.T) {
				var m *mux
				expected, rounds := 0, 0
				echo := bulk + 1
				turns(t, echo, &m, func(number int, sent []frame.Message, all []*supply) bool {
					for _, s := range all[1:echo] {
						s.fill(t, ahead)
					}
					got := 0
					for _, f := range sent {
						if f.ConnectionID == uint32(echo) {
							got += len(f.Payload)
						}
					}
					if got != expected {
						t.Errorf("message %d has %d bytes of the sparse connection, want %d", number, got, expected)
					}
					expected = 0
					if number == 0 {
						return true
					}
					waitFor(t, func() bool { fresh, waiting := m.waiting(); return fresh+waiting >= bulk })
					if fresh, _ := m.waiting(); fresh == 0 && number%3 == 0 {
						all[echo].fill(t, size)
						waitFor(t, func() bool { fresh, _ := m.waiting(); return fresh == 1 })
						expected = size
						rounds++
					}
					return rounds < 20 && number < 1000
				})
			})
		}
	}
}

// However many connections always have a little to say, bulk goes on.
func TestSparseConnectionsDoNotStarveBulk(t *testing.T) {
	t.Parallel()
	const chatty = 300
	var m *mux
	without := 0
	turns(t, chatty+1, &m, func(number int, sent []frame.Message, all []*supply) bool {
		bulk := 0
		for _, f := range sent {
			if f.ConnectionID == 1 {
				bulk += len(f.Payload)
			}
		}
		if without++; bulk > 0 {
			without = 0
		}
		if number > 10 && without > 2 {
			t.Errorf("message %d: none of %d messages has bulk", number, without)
			return false
		}
		all[1].fill(t, ahead)
		for _, s := range all[2:] {
			s.fill(t, 450)
		}
		if number > 0 { // the sender is here, and takes none of them
			waitFor(t, func() bool { fresh, bulk := m.waiting(); return fresh+bulk == chatty+1 })
		}
		return number < 50
	})
}

// Targets without a descriptor come as if from silence each time, however much they send. One that is read
// directly gets its share beside them.
func TestPlainTargetsDoNotStarveOthers(t *testing.T) {
	t.Parallel()
	const plain = 8
	near, out := newPair()
	got := make([]int, plain+2)
	total := 0
	var d *Destination
	j := judged(t, near, false)
	ended := make(chan struct{})
	desk := &desk{judge: j, message: func(sent []frame.Message) {
		if total > 10<<20 {
			return
		}
		for _, m := range sent {
			got[m.ConnectionID] += len(m.Payload)
			total += len(m.Payload)
		}
		if total > 10<<20 {
			close(ended)
			return
		}
		out.in.take()
		waitFor(t, func() bool { fresh, bulk := d.waiting(); return fresh+bulk == plain+1 })
	}}
	var far []net.Conn
	d = NewDestination(DestinationConfig{
		Config: Config{Transport: desk},
		Dial: func(context.Context, string) (net.Conn, error) {
			network := "pipe"
			if len(far) == plain {
				network = "unix"
			}
			a, b := networks[network](t)
			far = append(far, b)
			go endless(b)
			return a, nil
		},
	})
	served := make(chan struct{})
	go func() { defer close(served); _ = d.Serve() }()
	for i := range plain + 1 {
		start := "CONNECTION_START"
		if i == 0 {
			start = "STREAM_START"
		}
		_, _ = out.Write(frames(fmt.Sprintf("%s 1 X#%d", start, i+1)))
		waitFor(t, func() bool { return d.attached(i + 1) })
	}
	<-ended
	for _, b := range far {
		_ = b.Close()
	}
	_ = out.Close(closeNormal, "")
	<-served
	if mean := (total - got[plain+1]) / plain; got[plain+1] < mean {
		t.Errorf("it has sent %d bytes, the others %d each", got[plain+1], mean)
	}
}

func TestManySmallConnectionsShareAMessage(t *testing.T) {
	t.Parallel()
	const n = 500
	var m *mux
	seen := 0
	turns(t, n, &m, func(number int, sent []frame.Message, all []*supply) bool {
		seen += len(sent)
		switch number {
		case 0:
			all[1].fill(t, 100) // the sender comes with the first, and waits
		case 1:
			for _, s := range all[1:] {
				s.fill(t, 100)
			}
			waitFor(t, func() bool { fresh, _ := m.waiting(); return fresh == n })
		case 2:
			if len(sent) != n {
				t.Errorf("%d frames in the message, want %d", len(sent), n)
			}
			return false
		}
		return true
	})
	if seen != n+1 {
		t.Errorf("%d frames", seen)
	}
}
