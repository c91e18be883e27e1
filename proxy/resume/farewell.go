package resume

import "time"

const (
	// maxFarewells bounds how many ends a source remembers.
	maxFarewells = 256
	// farewellDoubt is how long before a loss a sent end may have been lost as well: it takes that long to notice that
	// a websocket is silent.
	farewellDoubt = time.Minute
)

// Farewell is the end of a connection that a source sent on a websocket which may have lost it. Unless the source sends
// it again, the destination waits for a source that does not return.
type Farewell struct {
	Service string // as on the wire
	Name    string
	Resume  Record // attaches the connection, and says what was received
	Reason  Reason // for CLOSE
	Tries   int    // how often it was sent again

	told, ended time.Time
	due         bool
}

// Bid remembers a connection's end that is sent now, or, with due, cannot be sent yet.
func (r *Registry) Bid(f Farewell, due bool) {
	if r.closed || !r.Enabled() {
		return
	}
	f.due, f.ended = due, time.Now()
	f.told = f.ended
	if len(r.farewells) >= maxFarewells {
		r.farewells = r.farewells[:copy(r.farewells, r.farewells[1:])]
	}
	r.farewells = append(r.farewells, f)
}

// Doubt makes the recent ends of a service's connections due, since the stream that carried them is lost. It returns
// the smallest number of repetitions among them, and false if there are none.
func (r *Registry) Doubt(service string) (tries int, due bool) {
	now := time.Now()
	kept := r.farewells[:0]
	for _, f := range r.farewells {
		switch {
		case now.Sub(f.ended) > r.window:
			continue
		case f.Service != service:
		case !f.due && now.Sub(f.told) > farewellDoubt:
			continue // it has arrived
		default:
			f.due = true
			if !due || f.Tries < tries {
				tries = f.Tries
			}
			due = true
		}
		kept = append(kept, f)
	}
	clear(r.farewells[len(kept):])
	r.farewells = kept
	return tries, due
}

// SayFarewells calls say with each end that is due. say reports whether it could send the end.
func (r *Registry) SayFarewells(say func(*Farewell) bool) {
	for i := range r.farewells {
		if f := &r.farewells[i]; f.due && say(f) {
			f.due, f.told = false, time.Now()
			f.Tries++
		}
	}
}

// Farewell returns Bid's argument for a source's connection, which resumes the connection in order to end it. It
// returns false if the destination has ended it too, or cannot know it.
func (s *Stream) Farewell() (Record, bool) {
	if s.farGone || !s.Speaks() {
		return Record{}, false
	}
	return s.position(Resume), true
}
