package wsconn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/gorilla/websocket"
)

// written counts the writes of a network connection. From number failAt on they fail; 0 means never.
type written struct {
	net.Conn
	count, failAt atomic.Int64
}

func (w *written) Write(p []byte) (int, error) {
	n := w.count.Add(1)
	if at := w.failAt.Load(); at > 0 && n >= at {
		return 0, &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}
	}
	return w.Conn.Write(p)
}

// dialWritten connects to a service over TLS that hands on what it received.
func dialWritten(t *testing.T) (*Conn, *written, <-chan []byte) {
	t.Helper()
	messages := make(chan []byte, 1)
	cfg := realService(t, func(ws *websocket.Conn) {
		for {
			_, p, err := ws.ReadMessage()
			if err != nil {
				return
			}
			messages <- p
		}
	})
	w := new(written)
	dial := cfg.NetDial
	cfg.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		w.Conn = conn
		return w, err
	}
	c, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(1000, "") })
	return c, w, messages
}

func TestTheRecordsOfAMessageLeaveTogether(t *testing.T) {
	c, w, messages := dialWritten(t)
	for _, test := range []struct {
		size   int
		writes int64
	}{
		{1, 1},
		{16 << 10, 1},
		{17 << 10, 1},
		{63 << 10, 1},
		{64 << 10, 2}, // the frame's head makes it a record more
		{MaxMessage, 3},
	} {
		content := bytes.Repeat([]byte{byte(test.size >> 3)}, test.size)
		before := w.count.Load()
		if err := c.WriteBuffers(content); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(<-messages, content) {
			t.Errorf("%d bytes arrived changed", test.size)
		}
		if n := w.count.Load() - before; n > test.writes {
			t.Errorf("%d bytes were %d writes, want %d at most", test.size, n, test.writes)
		}
	}
}

func TestAFailedWriteOfGatheredRecordsIsTheMessages(t *testing.T) {
	for _, size := range []int{63 << 10, MaxMessage} {
		c, w, _ := dialWritten(t)
		w.failAt.Store(w.count.Load() + 1)
		err := c.WriteBuffers(make([]byte, size))
		if !errors.Is(err, syscall.EPIPE) {
			t.Errorf("%d bytes: error = %v", size, err)
		}
		if again := c.WriteBuffers([]byte("x")); again == nil || again.Error() != err.Error() {
			t.Errorf("%d bytes: the next write = %v", size, again)
		}
	}
}

// Package tls answers a key update and a broken record from its reader, whatever is being written meanwhile.
func TestWhatTheReaderWritesKeepsItsPlaceAmongGatheredRecords(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	l := newLink(near)
	got := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(far)
		got <- all
	}()
	record := bytes.Repeat([]byte("r"), 16<<10)
	l.gather()
	for _, p := range [][]byte{record, []byte("answer"), record, record, record} {
		if n, err := l.Write(p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := l.flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Write([]byte("after")); err != nil {
		t.Fatal(err)
	}
	_ = near.Close()
	want := append(append([]byte{}, record...), "answer"...)
	want = append(append(want, bytes.Repeat(record, 3)...), "after"...)
	if !bytes.Equal(<-got, want) {
		t.Error("the order is another")
	}
}
