package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

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
	return carry(ctx, conn, thing, service, in, out, note)
}

// carry is carryStdio with a connection that is there.
func carry(ctx context.Context, conn net.Conn, thing, service string, in io.Reader, out io.Writer, note func(string, ...any)) error {
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
	_, err := io.Copy(received, conn)
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
		return silent(thing, service)
	}
	return err
}

func silent(thing, service string) error {
	return &exitError{exitFailed, hint.New(fmt.Sprintf("%s on %s ended the connection without a byte", service, thing), missingHint)}
}

// answerTime is how long dialAnswered waits for the first bytes. An ssh server speaks first.
const answerTime = 5 * time.Second

// dialAnswered returns a connection whose service has spoken, or has been silent for answerTime. It fails if the service
// is not there.
func dialAnswered(ctx context.Context, t tunnel, thing, service string) (net.Conn, error) {
	conn, err := t.Dial(ctx, service)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	first := make([]byte, 512)
	_ = conn.SetReadDeadline(time.Now().Add(answerTime))
	n, err := conn.Read(first)
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if n == 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
		_ = conn.Close()
		if isLost(err) {
			return nil, err
		}
		return nil, silent(thing, service)
	}
	if err := refusal(first[:n], thing, service); err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetReadDeadline(time.Time{})
	return &answeredConn{conn, bytes.NewReader(first[:n])}, nil
}

// refusal is the error of an sshd that refuses connections for now. It says so before its version, where ssh does not show
// it: for ssh the connection is merely closed.
func refusal(first []byte, thing, service string) error {
	line, _, _ := strings.Cut(string(first), "\n")
	line = strings.TrimSpace(line)
	if line != "Not allowed at this time" && line != "Exceeded MaxStartups" {
		return nil
	}
	return &exitError{exitFailed, hint.New(fmt.Sprintf("%s on %s refuses connections for now: %s", service, thing, line),
		"wait some minutes; if it happens again, put PerSourcePenaltyExemptList 127.0.0.1,::1 into the device's sshd_config: "+
			"for sshd, everything that comes through a tunnel is one address")}
}

// answeredConn is a connection whose first bytes were read already.
type answeredConn struct {
	net.Conn

	first *bytes.Reader
}

func (c *answeredConn) Read(p []byte) (int, error) {
	if c.first.Len() > 0 {
		return c.first.Read(p)
	}
	return c.Conn.Read(p)
}

// CloseWrite is that of the connection.
func (c *answeredConn) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
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
