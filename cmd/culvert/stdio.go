package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/connect"
)

// carryStdio carries one connection on standard input and output until it has ended. note gets what may or may
// not be as it should.
//
// It fails when the tunnel, the link or the device was lost: an output that was cut short must not look complete.
func carryStdio(ctx context.Context, t tunnel, thing, service string, in io.Reader, out io.Writer, note func(string, ...any)) error {
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
	switch {
	case ctx.Err() != nil:
		return nil // a signal: it was asked for
	case received.failed.Load():
		return nil // the reader of standard output has left
	case isLost(err):
		return err
	case received.n.Load() == 0 && inputEnded.Load():
		// A service that only listens, or one that is not there: the protocol does not distinguish them.
		note("%s on %s ended the connection without a byte: if it should have answered, see culvertd status on the device", service, thing)
		return nil
	case received.n.Load() == 0:
		return &exitError{exitFailed, hint.New(fmt.Sprintf("%s on %s ended the connection without a byte", service, thing), missingHint)}
	}
	return err
}

// missingHint is for a service that says nothing.
const missingHint = "is the service there and running? On the device: culvertd status, culvertd check"

// isLost reports whether a connection failed with more than itself.
func isLost(err error) bool {
	e, ok := errors.AsType[*connect.Error](err)
	return ok && e.Reason != connect.ConnectionReset
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
