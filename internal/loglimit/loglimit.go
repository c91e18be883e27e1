package loglimit

import "time"

const (
	// DefaultEvery is how often one kind of event is written.
	DefaultEvery = 30 * time.Second
	// DefaultKinds bounds the kinds that are counted separately. Names in them often come from a peer, and a
	// flood of new names must not become a flood of lines.
	DefaultKinds = 32
)

// Limiter lets the first event of each kind pass, and then one each interval. The zero value is ready and
// uses the defaults. It is not safe for concurrent use.
type Limiter struct {
	Every time.Duration // between two lines of one kind; 0 means DefaultEvery
	Kinds int           // told apart at a time; 0 means DefaultKinds. Further ones share a kind

	kinds map[string]*kind
	lost  int // suppressed events of kinds that were forgotten
}

type kind struct {
	last       time.Time
	suppressed int
}

// Allow reports whether to write an event of the given kind at now, and how many of its kind were
// suppressed since the last one that was written. Where kinds share one, they include those of kinds that
// had to make room for others.
func (l *Limiter) Allow(key string, now time.Time) (suppressed int, ok bool) {
	every, most := l.Every, l.Kinds
	if every <= 0 {
		every = DefaultEvery
	}
	if most <= 0 {
		most = DefaultKinds
	}
	if l.kinds == nil {
		l.kinds = make(map[string]*kind)
	}
	k := l.kinds[key]
	if k == nil && len(l.kinds) >= most {
		l.forget(now.Add(-every), most)
		if len(l.kinds) >= most {
			key = ""
			k = l.kinds[key]
		}
	}
	if k == nil {
		k = &kind{}
		l.kinds[key] = k
	}
	if !k.last.IsZero() && now.Sub(k.last) < every {
		k.suppressed++
		return 0, false
	}
	suppressed = k.suppressed
	k.last, k.suppressed = now, 0
	if key == "" {
		suppressed, l.lost = suppressed+l.lost, 0
	}
	return suppressed, true
}

// forget makes room for another kind, if it can. It drops kinds that were last written before the given time: the next
// event of such a kind would be written anyway, so no more lines come of it. Those with something to report go last, and
// only as many as must.
func (l *Limiter) forget(before time.Time, most int) {
	for key, k := range l.kinds {
		if k.suppressed == 0 && !k.last.After(before) {
			delete(l.kinds, key)
		}
	}
	for len(l.kinds) >= most {
		oldest, found := "", false
		for key, k := range l.kinds {
			if !k.last.After(before) && (!found || k.last.Before(l.kinds[oldest].last)) {
				oldest, found = key, true
			}
		}
		if !found {
			return
		}
		l.lost += l.kinds[oldest].suppressed
		delete(l.kinds, oldest)
	}
}
