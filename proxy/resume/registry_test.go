package resume

import (
	"testing"
	"testing/synctest"
	"time"
)

type fakeConn struct{ expired []Reason }

func (c *fakeConn) Expire(why Reason) { c.expired = append(c.expired, why) }

func newTestRegistry() *Registry { return NewRegistry(10*time.Minute, NewMemory(1<<20)) }

func TestDetachedConnectionExpiresAfterTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c := newTestRegistry(), &fakeConn{}
		locked(r, func() { r.Add(ID{1}, c); r.Detach(ID{1}, 1) })
		time.Sleep(10*time.Minute - 1)
		synctest.Wait()
		locked(r, func() {
			if len(c.expired) > 0 {
				t.Fatal("expired early")
			}
		})
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		locked(r, func() {
			if _, ok := r.Find(ID{1}); ok || len(c.expired) != 1 || c.expired[0] != Unknown {
				t.Fatalf("expired: %v, found: %v", c.expired, ok)
			}
		})
		if s := r.Stats(); s.Detached != 0 || s.Expired != 1 {
			t.Errorf("stats: %+v", s)
		}
	})
}

func TestAttachedAgainDoesNotExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c := newTestRegistry(), &fakeConn{}
		locked(r, func() { r.Add(ID{1}, c); r.Detach(ID{1}, 1) })
		time.Sleep(9 * time.Minute)
		locked(r, func() {
			if d := r.Attach(ID{1}); d != 9*time.Minute {
				t.Errorf("was detached for %v", d)
			}
		})
		time.Sleep(2 * time.Minute)
		locked(r, func() { r.Detach(ID{1}, 1) })
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		locked(r, func() {
			if len(c.expired) > 0 {
				t.Error("the first window counted on")
			}
			r.Remove(ID{1}, Reset)
		})
	})
}

// 10,000 abandoned connections cost only connections of their own owner, beyond the number that may wait.
func TestDetachedConnectionsAreBounded(t *testing.T) {
	r := newTestRegistry()
	mine := &fakeConn{}
	all := make([]fakeConn, 10000)
	locked(r, func() {
		r.Add(ID{0xff}, mine)
		r.Detach(ID{0xff}, 2)
		for i := range all {
			id := ID{1, byte(i >> 8), byte(i)}
			r.Add(id, &all[i])
			r.Detach(id, 1)
		}
	})
	if s := r.Stats(); s.Detached != MaxDetached {
		t.Errorf("%d wait, want %d", s.Detached, MaxDetached)
	}
	if len(mine.expired) > 0 || len(all[0].expired) != 1 || len(all[9999].expired) != 0 {
		t.Error("not the oldest one gave way")
	}
	locked(r, func() { r.Close(Stopped) })
	if s := r.Stats(); s.Detached != 0 {
		t.Errorf("%d wait after Close", s.Detached)
	}
}

func TestFinishedConnectionIsRemembered(t *testing.T) {
	r := newTestRegistry()
	locked(r, func() {
		r.Add(ID{1}, &fakeConn{})
		r.Add(ID{2}, &fakeConn{})
		r.Remove(ID{1}, Done)
		r.Remove(ID{2}, Reset)
		if r.Fate(ID{1}) != Done || r.Fate(ID{2}) != Unknown || r.Fate(ID{3}) != Unknown {
			t.Error("wrong fate")
		}
		for i := range tombstones {
			id := ID{3, byte(i >> 8), byte(i)}
			r.Add(id, &fakeConn{})
			r.Remove(id, Done)
		}
		if r.Fate(ID{1}) != Unknown || len(r.finished) != tombstones {
			t.Errorf("%d are remembered", len(r.finished))
		}
	})
}

func TestSameIdentityTwiceIsRefused(t *testing.T) {
	r := newTestRegistry()
	locked(r, func() {
		if !r.Add(ID{1}, &fakeConn{}) || r.Add(ID{1}, &fakeConn{}) || r.Add(ID{}, &fakeConn{}) {
			t.Error("taken twice, or without identity")
		}
	})
}

func TestSwitchedOffKeepsNothing(t *testing.T) {
	r := NewRegistry(0, NewMemory(1<<20))
	locked(r, func() {
		r.Add(ID{1}, &fakeConn{})
		if r.Detach(ID{1}, 1) || r.Enabled() {
			t.Error("a connection waits")
		}
	})
}

func locked(r *Registry, f func()) {
	r.Lock()
	defer r.Unlock()
	f()
}
