package wsconn

import (
	"strconv"
	"sync"
	"time"
)

// keepAlive sends pings, answers the service's and detects silence.
type keepAlive struct {
	answers  chan string   // payload of the service's latest ping, to be answered
	finished chan struct{} // closed when the goroutine has ended

	watchMu  sync.Mutex
	watch    *time.Timer // checks for silence; nil before RequirePong
	required int64       // when RequirePong was called, in the link's time
}

func (c *Conn) startKeepAlive() {
	c.answers = make(chan string, 1)
	c.finished = make(chan struct{})
	// Answered from the other goroutine: a reader that waits for its own writes can deadlock with a
	// peer that does the same. Only the latest ping must be answered (RFC 6455, section 5.5.3).
	c.in.ping = func(payload []byte) {
		select {
		case <-c.answers:
		default:
		}
		c.answers <- string(payload)
	}
	go c.runKeepAlive()
}

func (c *Conn) runKeepAlive() {
	defer close(c.finished)
	ticker := time.NewTicker(c.cfg.PingInterval)
	defer ticker.Stop()
	var payload [20]byte
	for count := uint64(1); ; {
		var err error
		select {
		case <-c.done:
			return
		case answer := <-c.answers:
			err = c.out.control(opPong, []byte(answer), c.cfg.WriteTimeout)
		case <-ticker.C:
			// A decimal number: the C++ proxy on the other side of a relay may look at it.
			err = c.out.control(opPing, strconv.AppendUint(payload[:0], count, 10), c.cfg.WriteTimeout)
			c.link.notePing()
			count++
		}
		if err != nil {
			// It waited for a message that timed out, or failed itself.
			_ = c.failWrite(err)
			return
		}
	}
}

// RequirePong makes silence fatal from now on: when a Read has waited for PingInterval + PongTimeout
// without a single byte, the connection ends with [ErrDead]. Any byte counts, even an unsolicited pong.
// A caller that does not read causes no silence.
//
// Before that, a missing pong means nothing: the service may not answer pings until the other side of
// the tunnel has connected (WebSocket protocol guide).
func (c *Conn) RequirePong() {
	c.watchMu.Lock()
	defer c.watchMu.Unlock()
	if c.watch != nil {
		return
	}
	select {
	case <-c.done:
		return
	default:
	}
	c.required = c.link.now()
	c.watch = time.AfterFunc(c.cfg.PingInterval+c.cfg.PongTimeout, c.checkSilence)
}

// checkSilence ends the connection if it has been silent for too long; otherwise it sets the timer for
// the earliest time when that is possible.
func (c *Conn) checkSilence() {
	c.watchMu.Lock()
	defer c.watchMu.Unlock()
	select {
	case <-c.done:
		return
	default:
	}
	now := c.link.now()
	silence, patience := int64(c.cfg.PingInterval+c.cfg.PongTimeout), int64(c.cfg.PongTimeout)
	deadline := now + silence
	if since := c.link.waiting.Load(); since != 0 {
		deadline = max(since, c.required) + silence
		// A ping that was late because of a message before it gets its full time too.
		if pinged := c.link.pinged.Load(); pinged != 0 {
			deadline = max(deadline, pinged+patience)
		} else {
			deadline = max(deadline, now+patience)
		}
	}
	if deadline <= now {
		_ = c.fail(ErrDead)
		return
	}
	c.watch.Reset(time.Duration(deadline - now))
}

func (c *Conn) stopKeepAlive() {
	c.watchMu.Lock()
	if c.watch != nil {
		c.watch.Stop()
	}
	c.watchMu.Unlock()
	<-c.finished
}
