package agent

import (
	"sync"
	"time"
)

const (
	// dropInterval is how often one reason is logged.
	dropInterval = time.Hour
	// maxReasons bounds the reasons that are told apart; some hold a number from the payload.
	maxReasons = 16
)

// dropLog keeps notifications that nobody can use from filling the log. The zero value is ready.
type dropLog struct {
	mu      sync.Mutex
	reasons map[string]*dropped
}

type dropped struct {
	count  int // since the start
	logged time.Time
}

// note counts a reason and tells whether to log it now. When too many reasons are known, new ones wait until
// the oldest is out of date.
func (d *dropLog) note(reason string, now time.Time) (count int, log bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.reasons[reason]
	if r == nil {
		if len(d.reasons) >= maxReasons {
			for other, o := range d.reasons {
				if now.Sub(o.logged) >= dropInterval {
					delete(d.reasons, other)
				}
			}
			if len(d.reasons) >= maxReasons {
				return 0, false
			}
		}
		if d.reasons == nil {
			d.reasons = make(map[string]*dropped)
		}
		r = &dropped{}
		d.reasons[reason] = r
	}
	r.count++
	if !r.logged.IsZero() && now.Sub(r.logged) < dropInterval {
		return r.count, false
	}
	r.logged = now
	return r.count, true
}
