package stream

import "time"

// pacer keeps what is on its way to the service within the congestion window. It knows no tunnel: the
// sender asks whether to send and notes what it sent. Without a prober everything may be sent at once.
// It is guarded by its owner's lock.
type pacer struct {
	prober Prober
	window window
	began  time.Time   // the window's time counts from here
	timer  *time.Timer // ends a wait for the window; made once
	armed  bool
	wake   func() // called without the lock when a wait for the window is over
}

// now is the window's time.
func (p *pacer) now() time.Duration { return time.Since(p.began) }

// maySend reports whether one of the waiting connections may send now; fresh says that one of them was
// silent before. Otherwise wake is called when the answers to probes have stopped.
func (p *pacer) maySend(fresh bool) bool {
	if p.prober == nil {
		return true
	}
	now := p.now()
	room := p.window.room(now)
	if room > 0 || fresh && room > -p.window.grace() || p.window.deaf(now) {
		return true
	}
	p.window.limited = true
	if p.timer == nil {
		p.timer = time.AfterFunc(p.window.late(now), p.wake)
	} else if !p.armed {
		p.timer.Reset(p.window.late(now))
	}
	p.armed = true
	return false
}

// budget returns how many bytes to put in one message, and what the window has left.
func (p *pacer) budget() (piece, room int) {
	if p.prober == nil {
		return maxWindow, maxWindow
	}
	return p.window.piece(), p.window.room(p.now())
}

// sending notes a message of size bytes and returns the number of the probe to send behind it; 0 is none.
// The probe may be all there is to send.
func (p *pacer) sending(size int) (probe uint64) {
	if p.prober == nil {
		return 0
	}
	if now := p.now(); size > 0 || p.window.deaf(now) {
		return p.window.sending(now, size)
	}
	return 0
}

// pause notes that answers to probes stay unread, until resume.
func (p *pacer) pause() {
	if p.prober == nil {
		return
	}
	now := p.now()
	p.window.hold(now)
	if p.armed {
		p.timer.Reset(max(p.window.late(now), 0))
	}
}

func (p *pacer) resume() {
	if p.prober != nil {
		p.window.release(p.now())
	}
}

// stop is called when the sender has ended.
func (p *pacer) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}
