package stream

import "time"

// progress is how far a websocket is on its way to its end.
type progress struct {
	closing      bool // Shutdown has begun: nothing new starts
	mute         bool // the transport accepts no more writes; there is no sender
	ended        bool // the websocket has ended, or must
	sessionReset bool // the service has reset the session: all streams end
}

// takesFrames reports whether the websocket still takes new frames.
func (p *progress) takesFrames() bool { return !p.ended && !p.closing && !p.mute }

// reason is why a stream that ends now does.
func (p *progress) reason() Reason {
	switch {
	case p.closing:
		return Stopped
	case p.ended, p.sessionReset:
		return TunnelLost
	}
	return ByPeer
}

// farEnd is what a source knows of its destination. A websocket starts without that knowledge.
type farEnd struct {
	present    bool          // its process has been heard on this websocket, and nothing was lost since
	answered   bool          // it has said that it speaks records, on some connection
	unanswered bool          // it had time enough to say so, and did not
	timeout    time.Duration // that time
}

// speaksRecords notes that the destination has answered an offer of records.
func (f *farEnd) speaksRecords() { f.present, f.answered, f.unanswered = true, true, false }

// keptSilent notes that the time for such an answer has passed.
func (f *farEnd) keptSilent() { f.answered, f.unanswered = false, true }
