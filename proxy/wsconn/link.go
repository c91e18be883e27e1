package wsconn

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxHandshakeBytes bounds what is read before the websocket is open, certificates included.
	maxHandshakeBytes = 128 << 10

	// maxHeaderBytes bounds the HTTP answer's header: the parser itself takes any size, and each of
	// many tunnels may get such an answer.
	maxHeaderBytes = 32 << 10
)

var errLongHandshake = errors.New("the handshake's answer does not end")

// link is the network connection below TLS. It records since when a read has been waiting, to
// distinguish silence from a reader that is busy elsewhere.
type link struct {
	net.Conn
	start     time.Time
	handshake int // bytes that may still be read before open; -1 afterwards

	secured  bool // TLS writes here, in records
	writing  sync.Mutex
	gathered *gathering // nil unless records are gathered

	waiting atomic.Int64 // when the pending read began, in nanoseconds since start; 0 if there is none
	pinged  atomic.Int64 // when the first ping since the last inbound byte was sent; 0 if there is none
}

func newLink(conn net.Conn) *link {
	// One nanosecond back, so that now is never 0, which means none.
	return &link{Conn: conn, start: time.Now().Add(-1), handshake: maxHandshakeBytes}
}

// open ends the handshake. Call it before another goroutine uses the connection.
func (l *link) open() { l.handshake = -1 }

func (l *link) now() int64 { return int64(time.Since(l.start)) }

func (l *link) Read(p []byte) (int, error) {
	if l.handshake == 0 {
		return 0, errLongHandshake
	}
	if l.handshake > 0 {
		p = p[:min(len(p), l.handshake)]
	}
	l.waiting.Store(l.now())
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.pinged.Store(0)
	}
	l.waiting.Store(0)
	if l.handshake > 0 {
		l.handshake -= n
	}
	return n, err
}

// notePing records that a ping was sent. Its pong may have been read already: then a later silence
// counts from its first byte, which is never too short.
func (l *link) notePing() { l.pinged.CompareAndSwap(0, l.now()) }
