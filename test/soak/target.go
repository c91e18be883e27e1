package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/test/harness"
)

// target is a service's server, the device's local end of all its connections.
type target struct {
	service          string
	network, address string // the address is kept once it is known
	ledger           *ledger
	limit            time.Duration
	ctx              context.Context         //nolint:containedctx // of the run
	wrap             func(net.Conn) net.Conn // breaks what passes; nil: nothing

	busy     sync.Mutex // held while it is away
	tasks    sync.WaitGroup
	listener net.Listener
}

func (t *target) listen() error {
	if t.network == "unix" {
		_ = os.Remove(t.address)
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), t.network, t.address)
	if err != nil {
		return err
	}
	if t.wrap != nil {
		l = &wrapping{l, t.wrap}
	}
	t.address, t.listener = l.Addr().String(), l
	t.tasks.Go(func() {
		if err := harness.Serve(l, &t.tasks, t.serve); err != nil {
			t.ledger.violated("the target of %s cannot accept: %v", t.service, err)
		}
	})
	return nil
}

// wrapping is a listener whose connections are damaged.
type wrapping struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l *wrapping) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(c), nil
}

// close makes the target refuse connections. Those that stand go on.
func (t *target) close() { _ = t.listener.Close() }

// serve talks on one connection.
func (t *target) serve(c net.Conn) {
	b := make([]byte, headerSize)
	_ = c.SetReadDeadline(time.Now().Add(t.limit))
	s := &side{ctx: t.ctx, conn: c, limit: t.limit, clock: t.ledger.count}
	n, err := io.ReadFull(c, b)
	if err != nil {
		if err = s.verdict(err); errors.Is(err, errOverdue) {
			t.ledger.violated("a connection to %s neither said what it is for nor ended: %v (%d bytes came)", t.service, err, n)
		}
		return
	}
	head, err := parseHeader(b)
	if err != nil {
		t.ledger.violated("a connection to %s: %v", t.service, err)
		return
	}
	if head.id == probeID {
		_, _ = s.target(&head)
		return
	}
	entry, err := t.ledger.accepted(head)
	if err != nil {
		t.ledger.violated("%v", err)
		return
	}
	got, err := s.target(&head)
	_ = c.Close()
	t.ledger.ended(entry, true, got, err)
}
