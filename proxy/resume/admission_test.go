package resume

import (
	"testing"
)

func admit(r *Registry, id ID, at Address) Admission {
	_, a := r.Admit(&Record{Type: Open, ID: id, At: at})
	return a
}

// somewhere is a process.
var somewhere = Address{Instance: Instance{1}}

func numbered(n int) ID { return ID{1, byte(n >> 16), byte(n >> 8), byte(n)} }

// An OPEN may come any number of times, and late. The destination admits it once.
func TestAnOpenIsAdmittedOnce(t *testing.T) {
	r := newTestRegistry()
	before := r.Address()
	if a := admit(r, ID{1}, before); a != Admitted {
		t.Fatalf("a new one: %d", a)
	}
	r.Add(ID{1}, &fakeConn{})
	if a := admit(r, ID{1}, before); a != Present {
		t.Errorf("while it is open: %d", a)
	}
	r.Remove(ID{1}, Reset)
	if a := admit(r, ID{1}, before); a != Over {
		t.Errorf("after its end: %d", a)
	}
	for n := 1; n < recentOpens; n++ {
		if a := admit(r, numbered(n), r.Address()); a != Admitted {
			t.Fatalf("number %d: %d", n, a)
		}
	}
	if a := admit(r, ID{1}, before); a != Over {
		t.Errorf("as the oldest that is remembered: %d", a)
	}
	admit(r, numbered(recentOpens), r.Address())
	for _, id := range []ID{{1}, {2}} {
		if a := admit(r, id, before); a != Unproved {
			t.Errorf("when too many others came since: %d", a)
		}
	}
	if a := admit(r, ID{2}, r.Address()); a != Admitted {
		t.Errorf("a new one: %d", a)
	}
}

func TestAnOpenForAnotherProcessIsNotAdmitted(t *testing.T) {
	r, other := newTestRegistry(), newTestRegistry()
	if r.Address() == other.Address() {
		t.Fatal("two processes have the same name")
	}
	at := r.Address()
	for name, at := range map[string]Address{
		"another's": other.Address(), "no process's": {}, "from the future": {at.Instance, 1}, "from far in the future": {at.Instance, 1 << 62},
	} {
		if a := admit(r, ID{1}, at); a != Unproved {
			t.Errorf("%s: %d", name, a)
		}
	}
	if a := admit(r, ID{}, at); a != Unproved {
		t.Errorf("without identity: %d", a)
	}
}

// The process that takes over knows what the first one has accepted, and the first one accepts nothing more under its
// name.
func TestTheNextProcessKnowsWhatTheFirstHasAccepted(t *testing.T) {
	for _, accepted := range []int{0, 3, recentOpens - 1, recentOpens, recentOpens + 5, 3*recentOpens + 7} {
		first, next := newTestRegistry(), newTestRegistry()
		before := first.Address()
		for n := range accepted {
			if a := admit(first, numbered(n), first.Address()); a != Admitted {
				t.Fatalf("number %d of %d: %d", n, accepted, a)
			}
		}
		if !next.Assume(first.Identity()) {
			t.Fatal("not taken over")
		}
		if a := admit(first, ID{9}, before); a != Unproved {
			t.Errorf("the first process still admits: %d", a)
		}
		if next.Address().Instance != before.Instance || next.Address().Accepted != uint64(accepted) {
			t.Errorf("the next process is %v, want %v/%d", next.Address(), before.Instance, accepted)
		}
		oldest := max(0, accepted-recentOpens)
		for n := range accepted {
			at := Address{before.Instance, uint64(n)}
			want := Over
			if n < oldest {
				want = Unproved
			}
			if a := admit(next, numbered(n), at); a != want {
				t.Fatalf("number %d of %d: %d, want %d", n, accepted, a, want)
			}
		}
		for n := accepted; n < accepted+recentOpens+3; n++ {
			if a := admit(next, numbered(n), next.Address()); a != Admitted {
				t.Fatalf("number %d after %d: %d", n, accepted, a)
			}
			if a := admit(next, numbered(n), Address{before.Instance, uint64(n)}); a != Over {
				t.Fatalf("number %d after %d, again: %d", n, accepted, a)
			}
		}
	}
}

func TestAnIdentityThatMakesNoSenseIsNotAssumed(t *testing.T) {
	at := newTestRegistry().Address()
	for name, v := range map[string]Identity{
		"no process's":                  {},
		"a piece of an identity":        {Address: Address{at.Instance, 1}, Recent: make([]byte, idSize-1)},
		"more than was accepted":        {Address: at, Recent: make([]byte, idSize)},
		"more than a process remembers": {Address: Address{at.Instance, 1 << 20}, Recent: make([]byte, (recentOpens+1)*idSize)},
	} {
		if newTestRegistry().Assume(v) {
			t.Errorf("%s: assumed", name)
		}
	}
}

// The source sends OPEN again to the process that it was for. It sends it to another process only if that one answered
// its only OPEN: then no other process can have it.
func TestASourceOpensAgainOnlyWhereNothingCanHaveBeenOpened(t *testing.T) {
	at, other := newTestRegistry().Address(), newTestRegistry().Address()
	open := func(s *Stream) Record { t.Helper(); return sentOpen(t, s) }
	unopened := Record{Type: Unopened, At: other}

	s := New(NewMemory(1 << 20))
	s.Open(ID{1}, at)
	if r := open(s); r.At != at {
		t.Fatalf("it is for %v", r.At)
	}
	receive(t, s, unopened)
	if _, closed := s.Closed(); !s.Misled() || closed {
		t.Fatal("one OPEN, answered: it can be sent to the other process")
	}
	s.Detach()
	s.Resume()
	if r := open(s); r.At != other {
		t.Fatalf("it is for %v, want %v", r.At, other)
	}
	s.Detach() // lost
	s.Resume()
	if r := open(s); r.At != other {
		t.Fatalf("it is for %v, want %v", r.At, other)
	}
	receive(t, s, Record{Type: Unopened, At: at})
	if why, closed := s.Closed(); s.Misled() || !closed || why != Unknown {
		t.Fatalf("two OPENs, of which one may have arrived: closed %v, %v", closed, why)
	}

	s = New(NewMemory(1 << 20))
	s.Open(ID{1}, at)
	open(s)
	receive(t, s, Record{Type: Attached, At: other, Limit: InitialCredit})
	s.Detach()
	s.Resume()
	var r Record
	if p, ok := s.Next(make([]byte, 0, MaxOverhead)); !ok || r.Parse(p) != nil || r.Type != Resume {
		t.Errorf("an OPEN that was answered is sent again: %x", p)
	}
}

// A source that does not know the destination's process asks, as often as it must: no destination acts on that.
func TestAnOpenForNoProcessAsksWhichIsThere(t *testing.T) {
	s, r := New(NewMemory(1<<20)), newTestRegistry()
	s.Open(ID{1}, Address{})
	if s.Room() > 0 {
		t.Error("bytes may follow")
	}
	for range 10 * maxMoves {
		open := sentOpen(t, s)
		if _, a := r.Admit(&open); a != Unproved {
			t.Fatalf("admission %d", a)
		}
		s.Resume() // it is lost
	}
	sentOpen(t, s)
	receive(t, s, Record{Type: Unopened, At: r.Address()})
	if !s.Misled() {
		t.Fatal("not opened where the answer came from")
	}
	s.Resume()
	open := sentOpen(t, s)
	if _, a := r.Admit(&open); a != Admitted {
		t.Fatalf("admission %d", a)
	}
}

func sentOpen(t *testing.T, s *Stream) (r Record) {
	t.Helper()
	p, ok := s.Next(make([]byte, 0, MaxOverhead))
	if !ok || r.Parse(p) != nil || r.Type != Open {
		t.Fatalf("not an OPEN: %x", p)
	}
	return r
}

// A full destination refuses a new connection for good, and a resumed one for now.
func TestTurnedAway(t *testing.T) {
	full := Record{Type: Gone, Reason: LimitHit}
	s := New(NewMemory(1 << 20))
	s.Open(ID{1}, somewhere)
	receive(t, s, full)
	if why, closed := s.Closed(); !closed || why != LimitHit {
		t.Errorf("a new connection: closed %v, %v", closed, why)
	}
	s = New(NewMemory(1 << 20))
	s.Open(ID{1}, somewhere)
	receive(t, s, Record{Type: Attached, Limit: InitialCredit})
	s.Resume()
	receive(t, s, full)
	if _, closed := s.Closed(); closed {
		t.Error("a connection that is resumed is over")
	}
}
