package wsconn

import "sync"

const (
	// recordSize is what one TLS record carries at most, and recordRoom its length then, in bytes (RFC 8446, section 5.2).
	recordSize = 16 << 10
	recordRoom = recordSize + 256 + 5
	// gatherRecords is how many records one write may have: those of a full frame.
	gatherRecords = 4
)

// gathering joins the TLS records of a message. Package tls writes each of 16 KiB by itself, and a system call for 64 KiB
// costs a device hardly more than one for 16.
type gathering struct{ b []byte }

// gatherings are pooled: an idle connection keeps none.
var gatherings = sync.Pool{New: func() any { return &gathering{b: make([]byte, 0, gatherRecords*recordRoom)} }}

// gather keeps what TLS writes from now on, until flush. Package tls may write for its reader, too, at any time.
func (l *link) gather() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.gathered, _ = gatherings.Get().(*gathering)
}

// flush writes what was gathered. After an error the connection is of no more use.
func (l *link) flush() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	err := l.writeGathered()
	gatherings.Put(l.gathered)
	l.gathered = nil
	return err
}

func (l *link) writeGathered() error {
	g := l.gathered
	_, err := l.Conn.Write(g.b)
	g.b = g.b[:0]
	return err
}

func (l *link) Write(p []byte) (int, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	g := l.gathered
	if g == nil {
		return l.Conn.Write(p)
	}
	if len(g.b)+len(p) > cap(g.b) {
		if err := l.writeGathered(); err != nil {
			return 0, err
		}
	}
	g.b = append(g.b, p...)
	return len(p), nil
}
