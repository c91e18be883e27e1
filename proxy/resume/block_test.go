package resume

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// opened is a source's Stream that may send as much as there is memory for.
func opened(memory int) *Stream {
	s := New(NewMemory(memory))
	s.Open(ID{1}, somewhere)
	s.Next(make([]byte, 0, MaxOverhead))
	s.limit = maxOffset
	return s
}

// fillBlock sends n random bytes from a block, with room for a record's type before them.
func fillBlock(t *testing.T, s *Stream, n int) (*Block, []byte) {
	t.Helper()
	b := NewBlock(n, 100)
	if b == nil {
		t.Fatalf("no block for %d bytes", n)
	}
	p := b.Memory()[10 : 10+n]
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	s.FillBlock(b, b.Memory()[9:10], p, s.Sum(p))
	return b, bytes.Clone(p)
}

// A far end may confirm what has not left yet. The memory that the sender sends from must not be used again before that.
func TestABlockOutlivesAnEarlyConfirmation(t *testing.T) {
	s := opened(1 << 20)
	b, _ := fillBlock(t, s, 60_000)
	receive(t, s, Record{Type: Attached, Limit: maxOffset})
	receive(t, s, Record{Type: Credit, Received: 60_000, Limit: maxOffset})
	if n := s.memory.Used(); n != 0 {
		t.Errorf("%d bytes are kept though all is confirmed", n)
	}
	for range 10 {
		if other := NewBlock(60_000, 100); other == b {
			t.Fatal("the sender's block was given to another connection")
		}
	}
	b.Release()
}

func TestWhatBlocksHoldIsSentAgain(t *testing.T) {
	s := opened(1 << 20)
	var all []byte
	for _, n := range []int{60_000, 15_000, 64_000} {
		b, p := fillBlock(t, s, n)
		b.Release()
		all = append(all, p...)
		small := []byte("keys")
		s.Fill(make([]byte, 1), small, s.Sum(small))
		all = append(all, small...)
	}
	receive(t, s, Record{Type: Attached, Limit: maxOffset})
	const received = 61_000
	s.Resume()
	var before Stream
	receive(t, s, Record{Type: Attached, Received: received, Sum: before.Sum(all[:received]), Limit: maxOffset})
	got := bytes.Clone(all[:received])
	for {
		rec, ok := s.Next(make([]byte, 0, 10_000))
		if !ok {
			break
		}
		var r Record
		if err := r.Parse(rec); err != nil {
			t.Fatal(err)
		}
		got = append(got, r.Data...)
	}
	if !bytes.Equal(got, all) {
		t.Errorf("%d bytes were sent again, not the %d that were lost", len(got)-received, len(all)-received)
	}
	s.Release()
	if n := s.memory.Used(); n != 0 {
		t.Errorf("%d bytes were not given back", n)
	}
}

// fillRoom sends new bytes until there is no more room, and returns how many.
func fillRoom(s *Stream) (sent int) {
	for s.Room() > 0 {
		p := make([]byte, min(s.Room(), 16<<10))
		s.Fill(make([]byte, 1), p, s.Sum(p))
		sent += len(p)
	}
	return sent
}

// The far end confirms a part of its window at a time. A sender with less memory than that does not wait for it.
func TestASenderShortOfMemoryAsks(t *testing.T) {
	s := opened(256 << 10)
	receive(t, s, Record{Type: Attached, Limit: maxOffset})
	sent := fillRoom(s)
	rec, ok := s.Next(make([]byte, 0, MaxOverhead))
	if !ok || Type(rec[0]) != Ping {
		t.Fatalf("%d bytes fill the memory, and the next record is %x, %v", sent, rec, ok)
	}
	if _, ok := s.Next(make([]byte, 0, MaxOverhead)); ok {
		t.Error("it asks twice")
	}
	receive(t, s, Record{Type: Credit, Received: uint64(sent), Limit: maxOffset})
	if s.Room() < 16<<10 {
		t.Errorf("there is room for %d bytes after the answer", s.Room())
	}
	s.Release()
}

// A sender that is alone may send what the far end's window allows. It does not ask for what the far end confirms anyway.
func TestALoneSenderFillsTheWindow(t *testing.T) {
	s := opened(DefaultMemory)
	receive(t, s, Record{Type: Attached, Limit: maxOffset})
	sent := fillRoom(s)
	if sent < maxWindow-sliver {
		t.Errorf("%d bytes were sent before a confirmation, want %d", sent, maxWindow)
	}
	if rec, ok := s.Next(make([]byte, 0, MaxOverhead)); ok {
		t.Errorf("the next record is %x", rec)
	}
	s.Release()
}

// The first connection that asks gets a window for the fastest path, and the next ones still get some.
func TestConnectionsShareTheCredit(t *testing.T) {
	m := NewMemory(DefaultMemory)
	grow := func() int {
		w := InitialCredit
		for n := w; n > 0 && m.promise(n); n = min(w, maxWindow-w) {
			w += n
		}
		return w
	}
	for i, least := range []int{maxWindow, 1 << 20, 512 << 10, 256 << 10} {
		if w := grow(); w < least {
			t.Errorf("connection %d has a window of %d bytes, want %d at least", i, w, least)
		}
	}
	for range 1000 {
		grow()
	}
	if m.promised > DefaultMemory/4*3 {
		t.Errorf("%d bytes are promised", m.promised)
	}
}
