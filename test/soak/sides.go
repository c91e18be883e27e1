package main

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/culvert-iot/culvert/test/harness"
)

// errShort is the end of a connection before all was there.
var errShort = errors.New("it ended early")

// client plays the client's side. It returns how many of the target's bytes came, and nil if that was all of them and
// everything went in order.
func (s *side) client(t *talk) (got int64, err error) {
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.limit))
	if _, err := s.conn.Write(t.header()); err != nil {
		return 0, short(s.verdict(err))
	}
	up, down := harness.NewPattern(t.id, 0), harness.NewPattern(t.id, 1)
	switch t.kind {
	case clientGone:
		err = s.send(up, 0, t.cut)
		return 0, err
	case targetGone, targetReset, stall:
		// Whatever the target does, this side learns of the end.
		sent := make(chan error, 1)
		go func() { sent <- s.send(up, 0, t.up) }()
		got, err = s.receive(down, 1<<62, false)
		_ = s.conn.Close()
		if e := <-sent; errors.Is(e, errOverdue) {
			err = e
		}
		return got, err
	case duplex, slowClient, slowTarget:
		sent := make(chan error, 1)
		go func() { sent <- s.send(up, 0, t.up) }()
		got, err = s.receive(down, t.down, t.kind == slowClient)
		if err != nil {
			_ = s.conn.Close()
		}
		if e := <-sent; err == nil {
			err = e
		}
		return got, short(err)
	case idle:
		if err = s.send(up, 0, t.up/2); err == nil {
			pause(s.ctx, t.pause) // cut short when the run ends
			err = s.send(up, t.up/2, t.up-t.up/2)
		}
	default:
		err = s.send(up, 0, t.up)
	}
	if err == nil && t.kind == halfClose {
		err = s.closeWriting()
	}
	if err != nil {
		// The target may have said something before it ended: that, too, must be right.
		got, e := s.receive(down, t.down, false)
		if isFinding(e) {
			err = e
		}
		return got, short(err)
	}
	if got, err = s.receive(down, t.down, false); err == nil && (t.kind == halfClose || t.kind == answerFirst) {
		err = s.end()
	}
	return got, short(err)
}

// target plays the target's side behind the header, and returns what client does.
func (s *side) target(t *talk) (got int64, err error) {
	up, down := harness.NewPattern(t.id, 0), harness.NewPattern(t.id, 1)
	switch t.kind {
	case clientGone:
		got, err = s.receive(up, 1<<62, false)
		return got, err
	case targetGone, targetReset:
		got, err = s.receive(up, t.cut, false)
		if tcp, ok := s.conn.(*net.TCPConn); ok && t.kind == targetReset {
			_ = tcp.SetLinger(0)
		}
		return got, err
	case stall:
		pause(s.ctx, t.pause)
		got, err = s.receive(up, t.up, false)
		return got, err
	case duplex, slowClient, slowTarget:
		sent := make(chan error, 1)
		go func() { sent <- s.send(down, 0, t.down) }()
		got, err = s.receive(up, t.up, t.kind == slowTarget)
		if err != nil {
			_ = s.conn.Close()
		}
		if e := <-sent; err == nil {
			err = e
		}
		if err == nil {
			err = s.end()
		}
		return got, short(err)
	default:
	}
	got, err = s.receive(up, t.up, false)
	if err == nil && t.kind == halfClose {
		err = s.end()
	}
	if err == nil {
		err = s.send(down, 0, t.down)
	}
	if err == nil && t.kind != halfClose && t.kind != answerFirst {
		err = s.end()
	}
	return got, short(err)
}

// short names an end that came too early.
func short(err error) error {
	if err == nil || isFinding(err) {
		return err
	}
	if errors.Is(err, io.EOF) {
		return errShort
	}
	return errors.Join(errShort, err)
}

// isFinding reports whether err is against the rules whatever fault fired.
func isFinding(err error) bool {
	var wrong *harness.WrongByte
	return errors.As(err, &wrong) || errors.Is(err, errOverdue) || errors.Is(err, errMore)
}
