package resume

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// side is one end of the model: an application that says a script, and what came for it.
type side struct {
	t      *testing.T
	name   string
	s      *Stream
	source bool
	say    []byte // what the application has yet to say
	heard  []byte
	out    [][]byte // messages on their way
	size   int      // of records with new bytes
	gone   *Reason
}

func (e *side) pump(limit int) {
	for {
		if limit == 0 {
			return
		}
		limit--
		buf := make([]byte, 0, max(e.size, MaxOverhead))
		if b, ok := e.s.Next(buf); ok {
			e.out = append(e.out, bytes.Clone(b))
			continue
		}
		n := min(e.s.Room(), len(e.say), e.size-1)
		if n == 0 {
			if len(e.say) == 0 && !e.s.Ended() && e.s.Attached() {
				e.s.End()
				continue
			}
			return
		}
		h := e.s.Head()
		p := make([]byte, h+n)
		copy(p[h:], e.say[:n])
		e.say = e.say[n:]
		e.s.Fill(p[:h], p[h:], e.s.Sum(p[h:]))
		e.out = append(e.out, p)
	}
}

func (e *side) take(p []byte) {
	if e.source && e.s.in == plain {
		if !e.s.Answer(p) {
			e.t.Fatalf("%s: no HELLO first: %x", e.name, p)
		}
		return
	}
	data, err := e.s.Receive(p)
	if err != nil {
		e.t.Fatalf("%s: %v", e.name, err)
	}
	e.heard = append(e.heard, data...)
	e.s.Took(len(data))
	e.s.SendCredit()
	if r, ok := e.s.Closed(); ok {
		e.gone = &r
	}
}

// run carries both scripts with transports that are cut after so many messages each, and returns how many
// messages it took, and whether the connection came to its end. The destination reads a RESUME as its first message.
func run(t *testing.T, up, down []byte, size int, negotiate bool, cuts []int, step int) (messages int, finished bool) {
	t.Helper()
	memory := NewMemory(1 << 20)
	registry := NewRegistry(time.Minute, memory) // the destination's
	a := &side{t: t, name: "source", s: New(memory), source: true, say: bytes.Clone(up), size: size}
	b := &side{t: t, name: "destination", s: New(memory), say: bytes.Clone(down), size: size}
	first := true // the destination has seen no message of this transport
	if negotiate {
		a.s.Negotiate()
		b.s.Hello(ID{1}, registry.Address(), true)
		registry.Add(ID{1}, &fakeConn{})
		first = false
	} else {
		a.s.Open(ID{1}, registry.Address())
	}
	total, left := 0, -1
	if len(cuts) > 0 {
		left, cuts = cuts[0], cuts[1:]
	}
	for turn := 0; !a.s.Finished() || !b.s.Finished(); turn++ {
		if turn > 100000 {
			t.Fatalf("no end: source %+v, destination %+v", a.s, b.s)
		}
		if left == 0 {
			if !a.s.Speaks() || a.s.kept > b.s.received {
				return total, false // lost before HELLO came, or after more than is kept before that: reset
			}
			a.out, b.out = nil, nil
			a.s.Resume()
			b.s.Detach()
			first, left = true, -1
			if len(cuts) > 0 {
				left, cuts = cuts[0], cuts[1:]
			}
		}
		a.pump(step)
		if !first {
			b.pump(step)
		}
		var from, to *side
		switch {
		case len(a.out) > 0 && (turn%2 == 0 || len(b.out) == 0):
			from, to = a, b
		case len(b.out) > 0:
			from, to = b, a
		default:
			continue
		}
		p := from.out[0]
		from.out = from.out[1:]
		left--
		total++
		if to == b && first {
			first = false
			var r Record
			if err := r.Parse(p); err != nil {
				t.Fatal(err)
			}
			if r.Type == Open {
				switch _, admission := registry.Admit(&r); admission {
				case Admitted:
					registry.Add(r.ID, &fakeConn{})
				case Present:
				case Over, Unproved:
					t.Fatalf("OPEN: %v", admission)
				}
			} else if _, ok := registry.Find(r.ID); !ok {
				t.Fatal("RESUME of a connection that never arrived")
			}
			if err := b.s.Accept(&r, registry.Address()); err != nil {
				t.Fatalf("accept: %v", err)
			}
			continue
		}
		to.take(p)
	}
	if !bytes.Equal(b.heard, up) || !bytes.Equal(a.heard, down) {
		t.Fatalf("bytes differ: up %d of %d, down %d of %d", len(b.heard), len(up), len(a.heard), len(down))
	}
	if !a.s.FarEnded() || !b.s.FarEnded() {
		t.Fatal("an end of input is missing")
	}
	a.s.Release()
	b.s.Release()
	if n := memory.Used(); n != 0 {
		t.Fatalf("%d bytes of memory are not given back", n)
	}
	return total, true
}

func script(n int, seed uint64) []byte {
	p := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// A transport is lost after each message in turn, and the next one after each message of its own, so also in the
// middle of RESUME; the next message may stand for any part of it, since a message cut in its middle is lost as a whole.
func TestModelCutAfterEachMessage(t *testing.T) {
	up, down := script(700, 1), script(900, 2)
	for _, negotiate := range []bool{false, true} {
		for _, step := range []int{1, 3, 1000} {
			t.Run(fmt.Sprintf("negotiate=%v step=%d", negotiate, step), func(t *testing.T) {
				total, _ := run(t, up, down, 64, negotiate, nil, step)
				for cut := 1; cut <= total; cut++ {
					for again := range 8 {
						if _, ok := run(t, up, down, 64, negotiate, []int{cut, again, again, 3}, step); !ok && (!negotiate || cut > 40) {
							t.Fatalf("not resumed after %d messages", cut)
						}
					}
				}
			})
		}
	}
}

// With records of one byte each offset of the script is a place where the transport is cut.
func TestModelCutAfterEachByte(t *testing.T) {
	up, down := script(120, 3), script(90, 4)
	total, _ := run(t, up, down, 2, true, nil, 1)
	for _, size := range []int{2, 3} {
		for cut := range total {
			run(t, up, down, size, true, []int{cut + 1}, 1)
		}
	}
}

func TestModelRandomCuts(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	up, down := script(300_000, 7), script(500_000, 8)
	for range 60 {
		cuts := make([]int, 20)
		for i := range cuts {
			cuts[i] = 1 + r.IntN(12)
		}
		run(t, up, down, 60_000, r.IntN(2) == 0, cuts, 1+r.IntN(20))
	}
}
