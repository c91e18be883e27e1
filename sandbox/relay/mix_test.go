package relay

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// Messages of one connection keep their order, and those about a stream or session their place.
func TestMixedConnectionsKeepTheirOwnOrder(t *testing.T) {
	var mu sync.Mutex
	q := newQueue(&mu)
	q.mix = rand.New(rand.NewPCG(1, 2))
	rng := rand.New(rand.NewPCG(3, 4))
	const barrier = 0
	pushed := map[uint32]uint32{} // number by connection
	taken := map[uint32]uint32{}
	var section, total int
	var sections []map[uint32]uint32 // the messages before each barrier
	pongAt := map[string]uint64{}
	overtaken, last := 0, uint32(0)
	seen := 0
	check := func(batch []byte) {
		for ; len(batch) > 0; seen++ {
			size := int(batch[0])
			c, n := binary.BigEndian.Uint32(batch[1:]), binary.BigEndian.Uint32(batch[5:])
			global := binary.BigEndian.Uint32(batch[9:])
			if c == barrier {
				for of, count := range sections[section] {
					if taken[of] != count {
						t.Fatalf("barrier %d came after %d messages of connection %d, want %d", section, taken[of], of, count)
					}
				}
				section++
			} else if taken[c]++; n != taken[c] {
				t.Fatalf("connection %d: message %d came as its %d.", c, n, taken[c])
			}
			if global < last {
				overtaken++
			}
			last = max(last, global)
			batch = batch[size:]
		}
	}
	for total = range 20_000 {
		c := rng.Uint32N(5)
		b := make([]byte, 13+rng.IntN(40))
		b[0] = byte(len(b))
		binary.BigEndian.PutUint32(b[1:], c)
		binary.BigEndian.PutUint32(b[9:], uint32(total))
		if c == barrier {
			sections = append(sections, maps.Clone(pushed))
			q.push(b, 0)
		} else {
			pushed[c]++
			binary.BigEndian.PutUint32(b[5:], pushed[c])
			q.pushMixed(b, connection{1, c})
		}
		if rng.IntN(50) == 0 {
			name := string(binary.BigEndian.AppendUint32(nil, uint32(total)))
			q.pushPong([]byte(name), 0)
			pongAt[name] = q.pushed
		}
		for rng.IntN(10) == 0 && !q.empty() {
			if pong, _ := q.takePong(); pong != nil {
				if q.taken < pongAt[string(pong)] {
					t.Fatal("a pong overtook what it answers for")
				}
				continue
			}
			batch, _ := q.take(nil)
			check(batch)
		}
	}
	for !q.empty() {
		if pong, _ := q.takePong(); pong == nil {
			batch, _ := q.take(nil)
			check(batch)
		}
	}
	if seen != total+1 || len(q.pieces) != 0 || overtaken < 1000 {
		t.Errorf("%d of %d messages came, %d overtook another, %d pieces are left", seen, total+1, overtaken, len(q.pieces))
	}
}

func TestEmptyDataIsDropped(t *testing.T) {
	g := newRig(t, with(func(c *Config) { c.DropsEmptyData = true }))
	d, s := g.join(dst, "3.0"), g.join(src, "3.0")
	data := func(p string) frame.Message {
		return frame.Message{Type: frame.Data, StreamID: 1, ServiceID: "SSH", ConnectionID: 1, Payload: []byte(p)}
	}
	s.send(start("SSH", 1, 1), data(""), data("x"), data(""), data("y"))
	d.expect(start("SSH", 1, 1), data("x"), data("y"))
	d.send(data(""), data("z"))
	s.expect(data("z"))
	if v := g.relay.Violations(); len(v) != 0 {
		t.Errorf("violations %+v", v)
	}
}

func TestMixedConnectionsLoseNothing(t *testing.T) {
	g := newRig(t, with(func(c *Config) { c.MixesConnections, c.Seed = true, 7 }))
	d, s := g.join(dst, "3.0"), g.join(src, "3.0")
	const connections, each = 4, 500
	first := []frame.Message{start("SSH", 1, 1)}
	for c := uint32(2); c <= connections; c++ {
		first = append(first, frame.Message{Type: frame.ConnectionStart, StreamID: 1, ServiceID: "SSH", ConnectionID: c})
	}
	s.send(first...)
	next := map[uint32]uint32{}
	var work sync.WaitGroup
	work.Go(func() {
		var m frame.Message
		for started, n := 0, 0; started < connections || n < connections*each; {
			if err := d.frames.Next(&m); err != nil {
				t.Error(err)
				return
			}
			if m.Type != frame.Data {
				started++
				continue
			}
			n++
			if got := binary.BigEndian.Uint32(m.Payload); got != next[m.ConnectionID] {
				t.Errorf("connection %d: message %d, want %d", m.ConnectionID, got, next[m.ConnectionID])
				return
			}
			next[m.ConnectionID]++
		}
	})
	for n := range uint32(each) {
		var batch []frame.Message
		for c := uint32(1); c <= connections; c++ {
			payload := append(binary.BigEndian.AppendUint32(nil, n), bytes.Repeat([]byte{1}, 100)...)
			batch = append(batch, frame.Message{Type: frame.Data, StreamID: 1, ServiceID: "SSH", ConnectionID: c, Payload: payload})
		}
		s.send(batch...)
	}
	work.Wait()
}
