package resume

import "crypto/rand"

// recentOpens is how many OPENs a process remembers, to distinguish a repeated one from a new one.
const recentOpens = 2048

// Admission is a destination's decision about an OPEN, which may be a repeated one.
type Admission uint8

// The admissions.
const (
	Admitted Admission = iota // the process has never seen this OPEN: dial
	Present                   // the connection is here: attach it
	Over                      // it was here, and has ended
	Unproved                  // the process cannot know whether it was here
)

// opens remembers which connections a process has accepted, so that none is dialled twice.
//
// A source sends an OPEN again when it does not know whether the first one arrived. Each OPEN names the process that it
// is for and how many connections that process had accepted before. Only the named process may act on it, and only
// while it remembers all connections that it has accepted since.
type opens struct {
	at     Address
	recent []ID // a ring: connection n, counted from 0, is at n modulo its length once it is full
	first  uint64
}

func newOpens() opens {
	var o opens
	_, _ = rand.Read(o.at.Instance[:]) // never fails
	return o
}

func (o *opens) add(id ID) {
	if len(o.recent) < recentOpens {
		o.recent = append(o.recent, id)
	} else {
		o.recent[(o.at.Accepted-o.first)%recentOpens] = id
	}
	o.at.Accepted++
}

// saw reports whether id is among the connections accepted after that many, and whether that is certain.
func (o *opens) saw(id ID, after uint64) (seen, certain bool) {
	since := o.at.Accepted - after
	if after > o.at.Accepted || since > uint64(len(o.recent)) {
		return false, false
	}
	for n := after; n < o.at.Accepted; n++ {
		if o.recent[(n-o.first)%recentOpens] == id {
			return true, true
		}
	}
	return false, true
}

// Address names this process to sources.
func (r *Registry) Address() Address { return r.opens.at }

// Admit decides about an OPEN, and returns the connection if that is Present. An Admitted one counts as accepted from
// now on.
func (r *Registry) Admit(o *Record) (Conn, Admission) {
	if c, ok := r.Find(o.ID); ok {
		return c, Present
	}
	if o.At.Instance != r.opens.at.Instance || o.ID == (ID{}) {
		return nil, Unproved
	}
	switch seen, certain := r.opens.saw(o.ID, o.At.Accepted); {
	case !certain:
		return nil, Unproved
	case seen:
		return nil, Over
	}
	r.opens.add(o.ID)
	return nil, Admitted
}

// Identity is what sources know a process by. One other process, and no more, may continue under it.
type Identity struct {
	Address Address
	Recent  []byte // identities of the connections accepted last, one behind the other
}

// Identity returns the process's identity. The process accepts no connection from then on.
func (r *Registry) Identity() Identity {
	v := Identity{Address: r.opens.at}
	n := r.opens.at.Accepted
	for i := n - uint64(len(r.opens.recent)); i < n; i++ {
		id := r.opens.recent[(i-r.opens.first)%recentOpens]
		v.Recent = append(v.Recent, id[:]...)
	}
	r.opens = newOpens()
	return v
}

// Assume gives the process the identity that another one has given up. Call it before the first connection.
func (r *Registry) Assume(v Identity) bool {
	n := uint64(len(v.Recent) / idSize)
	if len(v.Recent)%idSize != 0 || n > recentOpens || n > v.Address.Accepted || v.Address.Instance == (Instance{}) {
		return false
	}
	r.opens = opens{at: v.Address, first: v.Address.Accepted - n}
	for p := v.Recent; len(p) > 0; p = p[idSize:] {
		r.opens.recent = append(r.opens.recent, ID(p[:idSize]))
	}
	return true
}

// Peer is what a source knows of the destination, so that it need not ask again on each websocket.
type Peer struct {
	At    Address
	Keeps bool
}

// Remember notes that the destination speaks records. The zero Peer forgets it.
func (r *Registry) Remember(p Peer) { r.peer = p }

// Heard records later news of the destination's process.
func (r *Registry) Heard(at Address) {
	if p := &r.peer; p.At.Instance != at.Instance {
		p.At, p.Keeps = at, true
	} else {
		p.At.Accepted = max(p.At.Accepted, at.Accepted) // answers may overtake each other
	}
}

// Resumable is how many of a source's connections outlive the loss of their transport.
func (r *Registry) Resumable() int {
	if !r.Enabled() || !r.peer.Keeps {
		return 0
	}
	return len(r.conns)
}

// Peer returns the latest argument of Remember, and false if there is none.
func (r *Registry) Peer() (Peer, bool) { return r.peer, r.peer.At.Instance != Instance{} }
