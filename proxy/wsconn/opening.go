package wsconn

import (
	"bytes"
	"net"
)

// opening is the connection during the handshake. It holds back what follows the answer's header,
// so that the websocket's reader gets all of it.
type opening struct {
	net.Conn
	header   int  // bytes of the header so far
	answered bool // the header is complete
	empty    bool // the line being read is empty so far
	held     []byte
}

// Read reads to the header's end at most, then a refusal's body.
func (o *opening) Read(p []byte) (int, error) {
	if len(o.held) > 0 && len(p) > 0 {
		n := copy(p, o.held)
		o.held = o.held[n:]
		return n, nil
	}
	n, err := o.Conn.Read(p)
	if o.answered {
		return n, err
	}
	if o.header += n; o.header > maxHeaderBytes+handshakeBuffer {
		return 0, errLongHandshake
	}
	for i, b := range p[:n] {
		switch {
		case b == '\n' && o.empty:
			o.answered, o.held = true, bytes.Clone(p[i+1:n])
			return i + 1, nil // an error with it comes again
		case b != '\r':
			o.empty = b == '\n'
		}
	}
	return n, err
}

// behind reads the connection from the end of the header on.
type behind struct {
	net.Conn
	early []byte
}

// Read reads what came with the header, then the connection.
func (b *behind) Read(p []byte) (int, error) {
	if len(b.early) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.early)
	b.early = b.early[n:]
	return n, nil
}
