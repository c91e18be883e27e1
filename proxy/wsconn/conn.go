package wsconn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	closeNoStatus = websocket.CloseNoStatusReceived
	// closeTimeout bounds Close, and how long the reader may still look for the reason when a write
	// failed.
	closeTimeout = time.Second
)

// Conn is an open websocket. Read is for one goroutine, WriteBuffers for one other; all else is safe
// for concurrent use. Whoever dialled it must Close it.
type Conn struct {
	ws          *websocket.Conn
	link        *link
	cfg         Config
	channelID   string
	subprotocol string

	// The reader's alone.
	message io.Reader // the message being read; nil between two
	readErr error

	keepAlive

	mu       sync.Mutex
	cause    error // why the connection ended; nil while it stands
	writeErr error // the first failed write
	done     chan struct{}
	closing  sync.Once
	closeErr error
}

func newConn(ws *websocket.Conn, network *link, cfg Config, channelID, subprotocol string) *Conn {
	c := &Conn{ws: ws, link: network, cfg: cfg, channelID: channelID, subprotocol: subprotocol, done: make(chan struct{})}
	// Tokens are of no use any more.
	c.cfg.AccessToken, c.cfg.ClientToken, c.cfg.TLS = nil, nil, nil
	ws.SetReadLimit(MaxMessage)
	c.startKeepAlive()
	return c
}

// ChannelID names this websocket session for AWS support. It may be empty.
func (c *Conn) ChannelID() string { return c.channelID }

// Subprotocol is the one that the service chose.
func (c *Conn) Subprotocol() string { return c.subprotocol }

// RemoteAddr is the address that was dialled: the service's, or a web proxy's.
func (c *Conn) RemoteAddr() string { return c.link.RemoteAddr().String() }

// Read reads the payloads of binary messages as one stream of bytes: tunnel frames and websocket
// messages are not aligned (WebSocket protocol guide). Its error is sticky and says why the
// connection ended: *CloseError, ErrDead, ErrTextMessage, ErrMessageTooBig, ErrClosed, or the
// network's. A service that just goes away is io.ErrUnexpectedEOF.
func (c *Conn) Read(p []byte) (int, error) {
	if c.readErr != nil {
		return 0, c.readErr
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if c.message == nil {
			kind, message, err := c.ws.NextReader()
			if err != nil {
				return 0, c.failRead(err)
			}
			if kind != websocket.BinaryMessage {
				c.sendClose(websocket.CloseUnsupportedData, "binary messages only")
				return 0, c.failRead(ErrTextMessage)
			}
			c.message = message
		}
		n, err := c.message.Read(p)
		if err == io.EOF {
			c.message, err = nil, nil
		}
		if n > 0 {
			return n, nil // an error with it comes again at the next read
		}
		if err != nil {
			return 0, c.failRead(err)
		}
	}
}

// failRead ends the connection with the reason that a failed read shows, unless there was one before.
func (c *Conn) failRead(err error) error {
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed) && closed.Code == websocket.CloseAbnormalClosure:
		// No close frame can carry this code: the websocket package says so that there was none.
		err = fmt.Errorf("the tunnel service ended the connection without a close frame: %w", io.ErrUnexpectedEOF)
	case errors.As(err, &closed):
		err = &CloseError{Code: closed.Code, Reason: printable(closed.Text, maxHeader)}
	case errors.Is(err, websocket.ErrReadLimit):
		err = ErrMessageTooBig
	case isTimeout(err) && c.firstWriteError() != nil:
		err = c.firstWriteError() // it set the deadline
	case !errors.Is(err, ErrTextMessage):
		err = fmt.Errorf("reading from the tunnel service: %w", err)
	}
	c.readErr = c.fail(err)
	return c.readErr
}

// WriteBuffers sends one binary message, in one websocket frame, made of the given pieces: at most
// MaxMessage bytes in all. It is over within Config.WriteTimeout. An error other than
// ErrMessageTooBig is sticky, and the connection then ends for the reader too.
func (c *Conn) WriteBuffers(bufs ...[]byte) error {
	size := 0
	for _, b := range bufs {
		size += len(b)
	}
	if size > MaxMessage {
		return ErrMessageTooBig
	}
	if err := c.ended(); err != nil || size == 0 {
		return err
	}
	// The buffer has room for the whole message: nothing is sent before it is closed.
	_ = c.ws.SetWriteDeadline(time.Now().Add(c.cfg.WriteTimeout))
	w, err := c.ws.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return c.failWrite(err)
	}
	for _, b := range bufs {
		if _, err := w.Write(b); err != nil {
			return c.failWrite(err)
		}
	}
	if err := w.Close(); err != nil {
		return c.failWrite(err)
	}
	return nil
}

// failWrite ends the connection for the writer. The reader gets a moment more, since the close frame
// that tells why may be there already.
func (c *Conn) failWrite(err error) error {
	if isTimeout(err) {
		err = fmt.Errorf("the tunnel service took no data for %v: %w", c.cfg.WriteTimeout, os.ErrDeadlineExceeded)
	} else {
		err = fmt.Errorf("writing to the tunnel service: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	if c.writeErr == nil {
		c.writeErr = err
		_ = c.link.SetReadDeadline(time.Now().Add(closeTimeout))
	}
	return c.writeErr
}

// Close sends a close frame, if the connection still stands, and closes the connection. It takes a
// second at most. Reads and writes in progress return ErrClosed. Only the first call has an effect;
// each returns when all is over.
func (c *Conn) Close(code int, reason string) error {
	c.closing.Do(func() {
		// Whatever blocks below, a write or the farewell of TLS, is cut off in time.
		cut := time.AfterFunc(closeTimeout, func() { _ = c.link.Close() })
		defer cut.Stop()
		if c.setCause(ErrClosed) {
			c.sendClose(code, reason)
			if err := c.ws.Close(); err != nil && !errors.Is(err, net.ErrClosed) && !isTimeout(err) {
				c.closeErr = fmt.Errorf("closing the websocket: %w", err)
			}
		}
		_ = c.link.Close()
		c.stopKeepAlive()
	})
	return c.closeErr
}

// sendClose sends a close frame, for one second at most.
func (c *Conn) sendClose(code int, reason string) {
	// RFC 6455, section 5.5: 125 bytes, two of them the code.
	_ = c.ws.WriteControl(websocket.CloseMessage,
		websocket.FormatCloseMessage(code, printable(reason, 123)), time.Now().Add(closeTimeout))
}

// fail ends the connection at once and returns why it ended.
func (c *Conn) fail(err error) error {
	if c.setCause(err) {
		_ = c.link.Close()
	}
	return c.ended()
}

// setCause notes why the connection ended. Only the first reason counts.
func (c *Conn) setCause(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return false
	}
	c.cause = err
	close(c.done)
	return true
}

// ended returns why the connection can't be written to; nil while it can.
func (c *Conn) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	return c.writeErr
}

func (c *Conn) firstWriteError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeErr
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
