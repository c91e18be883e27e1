package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/culvert-iot/culvert/operator/connect"
)

// carryStdio is a connection on standard input and output. It returns when the connection has ended. note is told what
// may or may not be as it should.
func carryStdio(ctx context.Context, t *connect.Tunnel, thing, service string, in io.Reader, out io.Writer, note func(string, ...any)) error {
	conn, err := t.Dial(ctx, service)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	received := &counter{w: out}
	var inputEnded atomic.Bool
	go func() { // not waited for: a read of standard input cannot be ended
		_, err := io.Copy(conn, in)
		inputEnded.Store(err == nil)
		// Two Culverts know how to go on with the other direction; with others the tunnel has no such thing, and this
		// ends the connection after a while.
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	_, err = io.Copy(received, conn)
	select {
	case <-t.Done():
		if err := t.Err(); err != nil {
			return err
		}
	default:
	}
	switch {
	case ctx.Err() != nil:
		return nil
	case received.failed.Load():
		return nil // whoever read standard output has left
	case received.n.Load() == 0 && inputEnded.Load() && err == nil:
		// A service that only listens, or one that is not there: the protocol does not tell them apart.
		note("%s on %s has ended the connection without a word: if it should have answered, see culvertd status on the device", service, thing)
	case received.n.Load() == 0 && !inputEnded.Load():
		return &connect.Error{
			Reason: connect.NoDataPlane,
			Text:   fmt.Sprintf("%s on %s ended the connection without a word", service, thing),
			Hint:   "is the service there and running? On the device: culvertd status, culvertd check",
		}
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("connection to %s on %s: %w", service, thing, err)
	}
	return nil
}

// counter is a writer that knows how much it wrote.
type counter struct {
	w      io.Writer
	n      atomic.Int64
	failed atomic.Bool
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n.Add(int64(n))
	c.failed.Store(err != nil)
	return n, err
}
