package resume

import (
	"testing"
)

// attached is a destination's Stream that has sent 10 bytes, of which the far end confirmed 4, and received 5.
func attached(t *testing.T) *Stream {
	t.Helper()
	s := New(NewMemory(1 << 20))
	if err := s.Accept(&Record{Type: Open, ID: ID{1}, Limit: InitialCredit}, Address{}); err != nil {
		t.Fatal(err)
	}
	s.Fill(make([]byte, 1), []byte("0123456789"), sum0123456789)
	receive(t, s, Record{Type: Credit, Received: 4, Limit: InitialCredit + 4})
	receive(t, s, Record{Type: Bytes, Data: []byte("hello")})
	return s
}

func receive(t *testing.T, s *Stream, r Record) {
	t.Helper()
	if _, err := s.Receive(r.Append(nil)); err != nil {
		t.Fatal(err)
	}
}

const sumHello = 0x9a71bb4c // CRC32C of "hello"

// sum0123 and sum0123456789 are CRC32C of "0123" and "0123456789".
const sum0123456789 = 0x280c069e

func TestFarEndThatBreaksTheRules(t *testing.T) {
	for _, test := range []struct {
		name string
		r    Record
	}{
		{"more bytes than the credit", Record{Type: Bytes, Data: make([]byte, InitialCredit)}},
		{"bytes confirmed that were never sent", Record{Type: Credit, Received: 11, Limit: InitialCredit + 4}},
		{"a confirmation taken back", Record{Type: Credit, Received: 3, Limit: InitialCredit + 4}},
		{"credit taken back", Record{Type: Credit, Received: 4, Limit: InitialCredit + 3}},
		{"an end with another length", Record{Type: End, Total: 6, Sum: sumHello}},
		{"an end with another checksum", Record{Type: End, Total: 5, Sum: sumHello + 1}},
		{"HELLO in the middle", Record{Type: Hello, Version: 1, Limit: InitialCredit}},
		{"OPEN in the middle", Record{Type: Open, ID: ID{1}, Limit: InitialCredit}},
		{"RESUME in the middle", Record{Type: Resume, ID: ID{1}, Limit: InitialCredit + 4}},
		{"ATTACHED in the middle", Record{Type: Attached, Limit: InitialCredit + 4}},
		{"UNOPENED in the middle", Record{Type: Unopened}},
		{"GONE in the middle", Record{Type: Gone, Reason: Unknown}},
		{"closed in order before the end", Record{Type: Close, Reason: Done}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := attached(t)
			_, err := s.Receive(test.r.Append(nil))
			if err == nil || ReasonOf(err) != Protocol {
				t.Fatalf("got %v, want a violation", err)
			}
		})
	}
	t.Run("a record that is none", func(t *testing.T) {
		if _, err := attached(t).Receive([]byte{0x33}); ReasonOf(err) != Protocol || err == nil {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("bytes after the end", func(t *testing.T) {
		s := attached(t)
		receive(t, s, Record{Type: End, Total: 5, Sum: sumHello})
		r := Record{Type: Bytes, Data: []byte("x")}
		if _, err := s.Receive(r.Append(nil)); err == nil {
			t.Fatal("taken")
		}
	})
}

func TestReplayThatDoesNotMatch(t *testing.T) {
	for _, test := range []struct {
		name   string
		r      Record
		reason Reason
		ok     bool
	}{
		{"all as it was", Record{Received: 10, Sum: sum0123456789, Limit: InitialCredit + 4}, 0, true},
		{"another checksum", Record{Received: 10, Sum: sum0123456789 ^ 1, Limit: InitialCredit + 4}, Protocol, false},
		{"more than was sent", Record{Received: 11, Sum: sum0123456789, Limit: InitialCredit + 4}, Protocol, false},
		{"less than was confirmed", Record{Received: 3, Limit: InitialCredit + 4}, Protocol, false},
		{"credit taken back", Record{Received: 10, Sum: sum0123456789, Limit: InitialCredit}, Protocol, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := attached(t)
			s.Detach()
			test.r.Type, test.r.ID = Resume, ID{1}
			err := s.Accept(&test.r, Address{})
			if (err == nil) != test.ok || err != nil && ReasonOf(err) != test.reason {
				t.Fatalf("got %v", err)
			}
		})
	}
	t.Run("bytes that were not kept", func(t *testing.T) {
		s := attached(t)
		s.Forget()
		s.Detach()
		err := s.Accept(&Record{Type: Resume, ID: ID{1}, Received: 4, Sum: 0, Limit: InitialCredit + 4}, Address{})
		if ReasonOf(err) != Unknown || err == nil {
			t.Fatalf("got %v", err)
		}
	})
}

// Credit follows what the path holds: a sender that uses it all up gets more, as long as the application keeps up.
func TestCreditGrowsOnlyForAnApplicationThatKeepsUp(t *testing.T) {
	for _, keepsUp := range []bool{true, false} {
		s := New(NewMemory(DefaultMemory))
		if err := s.Accept(&Record{Type: Open, ID: ID{1}, Limit: InitialCredit}, Address{}); err != nil {
			t.Fatal(err)
		}
		untaken := 0
		for range 400 {
			n := min(s.granted-s.received, 60000)
			if n == 0 && (untaken == 0 || !keepsUp) {
				break
			}
			if n == 0 { // a path that holds all of the credit
				s.Took(untaken)
				untaken = 0
				for {
					if _, ok := s.Next(make([]byte, 0, 64)); !ok {
						break
					}
				}
				continue
			}
			typ := Bytes
			if s.received+n == s.granted {
				typ = BytesFull
			}
			receive(t, s, Record{Type: typ, Data: make([]byte, n)})
			untaken += int(n)
		}
		if keepsUp && s.window != maxWindow {
			t.Errorf("window of an application that keeps up: %d, want %d", s.window, maxWindow)
		}
		if !keepsUp && s.received != InitialCredit {
			t.Errorf("an application that takes nothing was sent %d bytes, want %d", s.received, InitialCredit)
		}
	}
}

func TestReplayLeavesMemoryForOthers(t *testing.T) {
	m := NewMemory(1 << 20)
	var all []*Stream
	for range 64 {
		s := New(m)
		s.Open(ID{1}, somewhere)
		s.limit = maxOffset
		for s.Next(make([]byte, 0, 64)); ; {
			n := min(s.Room(), 16<<10)
			if n == 0 {
				break
			}
			s.Fill(make([]byte, 1), make([]byte, n), s.Sum(make([]byte, n)))
		}
		if s.replay.size == 0 {
			t.Fatal("a connection may keep nothing at all")
		}
		all = append(all, s)
	}
	if used := m.Used(); used > m.limit+64*mediumChunk {
		t.Errorf("%d bytes are kept, the limit is %d", used, m.limit)
	}
	for _, s := range all {
		s.Release()
	}
	if m.Used() != 0 {
		t.Errorf("%d bytes were not given back", m.Used())
	}
}

func TestIdleStreamKeepsNothing(t *testing.T) {
	m := NewMemory(1 << 20)
	s := New(m)
	s.Open(ID{1}, somewhere)
	s.Fill(make([]byte, 1), make([]byte, 5000), s.Sum(make([]byte, 5000)))
	if m.Used() == 0 {
		t.Fatal("nothing is kept for replay")
	}
	receive(t, s, Record{Type: Attached, Limit: InitialCredit})
	receive(t, s, Record{Type: Credit, Received: 5000, Limit: InitialCredit})
	if m.Used() != 0 {
		t.Errorf("an idle connection keeps %d bytes", m.Used())
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	a, b := New(NewMemory(1<<20)), New(NewMemory(1<<20))
	a.Open(ID{1}, somewhere)
	first, _ := a.Next(make([]byte, 0, 64))
	var r Record
	if r.Parse(first) != nil || b.Accept(&r, Address{}) != nil {
		t.Fatal("not accepted")
	}
	buf, rec := make([]byte, 1+8000), make([]byte, 0, 64)
	if n := testing.AllocsPerRun(1000, func() {
		a.Fill(buf[:1], buf[1:], a.Sum(buf[1:]))
		if _, err := b.Receive(buf); err != nil {
			t.Fatal(err)
		}
		b.Took(8000)
		for {
			p, ok := b.Next(rec)
			if !ok {
				break
			}
			if _, err := a.Receive(p); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}
