package resume

import "crypto/rand"

// recentOpens is how many OPENs a process remembers, to tell one that it sees again from one that it never saw.
const recentOpens = 2048

// Admission is what a destination does with an OPEN, which may have been sent before.
type Admission uint8

// The admissions.
const (
	Admitted Admission = iota // the process has never seen this OPEN: dial
	Present                   // the connection is here: attach it
	Over                      // it was here
	Unproved                  // it cannot be told whether it was here
)

// opens remembers which connections a process has accepted, so that none is dialled twice.
//
// A source sends an OPEN again when it does not know whether it arrived. Each names the process that it is for
// and how many connections that process had accepted before: only the named process may act on it, and only
// while it remembers all that it has accepted since.
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

// saw reports whether id was accepted after the first so many, and whether that is certain.
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

// Admit decides about an OPEN, and returns the connection where it is Present. An Admitted one counts as
// accepted from now on.
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

// Identity is a process as sources know it, for the next process to go on as the same. Only one may.
type Identity struct {
	Address Address
	Recent  []byte // identities of the connections accepted last, one behind the other
}

// Identity returns the process's identity. It accepts nothing from then on.
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

// Assume makes the process another one, which has given up its identity. Call it before the first connection.
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

// Peer is what a source remembers of the destination, so that it need not ask again on each websocket.
type Peer struct {
	At    Address
	Keeps bool
}

// Remember notes that the destination speaks records. The zero Peer forgets it.
func (r *Registry) Remember(p Peer) { r.peer = p }

// Heard notes what the destination has said about its process since.
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

// Peer returns what Remember was told last, and false where that is nothing.
func (r *Registry) Peer() (Peer, bool) { return r.peer, r.peer.At.Instance != Instance{} }
