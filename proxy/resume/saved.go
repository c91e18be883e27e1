package resume

import "fmt"

// savedVersion changes with the meaning of [Saved]. A process does not take over what it does not understand.
const savedVersion = 1

// Saved is a detached Stream for another process to go on with. It holds bytes of the application.
type Saved struct {
	Version int
	ID      ID

	Kept, Acked, Sent, Limit uint64
	SentSum                  uint32
	Ended, EndAcked, Keeps   bool
	Unmarked                 bool   `json:",omitempty"` // the source may not have the identity; older processes do not say
	Replay                   []byte // bytes Kept to Sent

	Received, Taken, Granted, Told uint64
	Window                         int
	Sum                            uint32
	Starved, FarEnded              bool
}

// Save returns the state of a detached Stream.
func (s *Stream) Save() Saved {
	v := Saved{
		Version: savedVersion, ID: s.id,
		Kept: s.kept, Acked: s.acked, Sent: s.sent, Limit: s.limit, SentSum: s.sentSum,
		Ended: s.ended, EndAcked: s.endAcked, Keeps: s.keeps, Unmarked: !s.open.known,
		Received: s.received, Taken: s.taken, Granted: s.granted, Told: s.told,
		Window: s.window, Sum: s.sum, Starved: s.starved, FarEnded: s.farEnded,
	}
	s.replay.each(0, func(p []byte) bool {
		v.Replay = append(v.Replay, p...)
		return true
	})
	return v
}

// Restore returns a detached Stream in the state that another process saved, or an error for a state that makes no sense.
func Restore(m *Memory, v Saved) (*Stream, error) {
	switch {
	case v.Version != savedVersion:
		return nil, fmt.Errorf("state of version %d", v.Version)
	case v.ID == ID{}, v.Kept > v.Sent, v.Sent-v.Kept != uint64(len(v.Replay)), v.Acked > v.Sent, v.Acked < v.Kept,
		v.Taken > v.Received, v.Window < InitialCredit || v.Window > maxWindow, len(v.Replay) > maxWindow:
		return nil, fmt.Errorf("state that makes no sense")
	}
	s := New(m)
	s.id, s.open.known = v.ID, !v.Unmarked
	s.kept, s.acked, s.sent, s.next, s.limit, s.sentSum = v.Kept, v.Acked, v.Sent, v.Sent, v.Limit, v.SentSum
	s.ended, s.endAcked, s.keeps = v.Ended, v.EndAcked, v.Keeps
	s.received, s.taken, s.granted, s.told, s.sum = v.Received, v.Taken, v.Granted, v.Told, v.Sum
	s.starved, s.farEnded = v.Starved, v.FarEnded
	if n := v.Window - InitialCredit; n > 0 && m.promise(n) {
		s.window = v.Window
	}
	for p := v.Replay; len(p) > 0; {
		n := min(len(p), largeChunk)
		s.replay.put(p[:n], true)
		p = p[n:]
	}
	return s, nil
}
