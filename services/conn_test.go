package services

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// halfClosing is what callers ask of a connection besides net.Conn.
type halfClosing interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
	NetConn() net.Conn
}

func TestConnectionsKeepTheirMethods(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			got := make(chan string, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				b, _ := io.ReadAll(c) // ends with the half close
				got <- string(b)
				_, _ = c.Write([]byte("answer"))
			}()
			table := NewTable([]Service{{Name: "a", Network: network, Address: l.Addr().String(), IdleTimeout: time.Minute}})
			c, ok := mustDial(t, table, "a").(halfClosing)
			if !ok {
				t.Fatal("methods are missing")
			}
			defer c.Close()
			raw, err := c.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var fd uintptr
			if err := raw.Control(func(f uintptr) { fd = f }); err != nil || fd == 0 {
				t.Errorf("fd %d, %v", fd, err)
			}
			if _, ok := c.NetConn().(syscall.Conn); !ok {
				t.Errorf("NetConn is a %T", c.NetConn())
			}
			_, _ = c.Write([]byte("question"))
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if q := <-got; q != "question" {
				t.Errorf("the target read %q", q)
			}
			if b, err := io.ReadAll(c); string(b) != "answer" || err != nil {
				t.Errorf("after CloseWrite: %q, %v", b, err)
			}
		})
	}
}

func TestAConnectionWithoutASocketSaysSo(t *testing.T) {
	table := NewTable([]Service{{Name: "a", Network: "tcp", Address: "127.0.0.1:1"}})
	pipes(table)
	c := mustDial(t, table, "a").(halfClosing)
	defer c.Close()
	if _, err := c.SyscallConn(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SyscallConn: %v", err)
	}
	if err := c.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite: %v", err)
	}
}

const idle = 80 * time.Second // steps of 10 s

func idlePipe(t *testing.T) (near, far net.Conn, table *Table) {
	t.Helper()
	table = NewTable([]Service{{Name: "a", Network: "tcp", Address: "127.0.0.1:1", IdleTimeout: idle, MaxConnections: 1}})
	ends := pipes(table)
	near = mustDial(t, table, "a")
	return near, ends()[0], table
}

func wantIdle(t *testing.T, err error) {
	t.Helper()
	ie, ok := errors.AsType[*IdleError](err)
	if !ok {
		t.Errorf("err = %v, want the idle timeout", err)
		return
	}
	if want := `service "a": no byte moved for 1m20s (idle_timeout)`; ie.Error() != want {
		t.Errorf("%q, want %q", ie, want)
	}
}

func TestASilentConnectionEndsAtItsIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far, table := idlePipe(t)
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { _, err := near.Read(make([]byte, 1)); wantIdle(t, err) })
		wg.Go(func() { _, err := near.Write([]byte("without a reader")); wantIdle(t, err) })
		wg.Wait()
		if d := time.Since(start); d != idle {
			t.Errorf("ended after %v", d)
		}
		if _, err := far.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the target sees %v", err)
		}
		if n := table.Active("a"); n != 0 {
			t.Errorf("Active = %d: the place is free before the caller closes", n)
		}
		c := mustDial(t, table, "a")
		_ = near.Close() // late, and must not free the new connection's place
		if n := table.Active("a"); n != 1 {
			t.Errorf("Active = %d", n)
		}
		_ = c.Close()
		_, err := near.Read(make([]byte, 1))
		wantIdle(t, err)
	})
}

func TestAByteEitherWayKeepsAConnection(t *testing.T) {
	for _, way := range []string{"from the target", "to the target"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far, _ := idlePipe(t)
				from, to := far, near
				if way == "to the target" {
					from, to = near, far
				}
				ended := make(chan error, 1)
				go func() {
					b := make([]byte, 16)
					for {
						if _, err := to.Read(b); err != nil {
							ended <- err
							return
						}
					}
				}()
				for range 20 {
					<-time.After(idle - time.Second)
					if _, err := from.Write([]byte("x")); err != nil {
						t.Fatal(err)
					}
				}
				last := time.Now()
				err := <-ended
				if d := time.Since(last); d < idle || d > idle+idle/idleTicks {
					t.Errorf("ended %v after the last byte", d)
				}
				if to == near {
					wantIdle(t, err)
				} else if _, err := near.Write([]byte("x")); err != nil {
					wantIdle(t, err)
				}
			})
		})
	}
}

func TestACallersOwnDeadlineIsNoIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _, _ := idlePipe(t)
		defer near.Close()
		_ = near.SetReadDeadline(time.Now().Add(time.Second))
		_, err := near.Read(make([]byte, 1))
		if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
			t.Errorf("err = %v", err)
		}
		_ = near.SetReadDeadline(time.Time{}) // and the idle timeout has not put one in its place
		start := time.Now()
		_, err = near.Read(make([]byte, 1))
		wantIdle(t, err)
		if d := time.Since(start); d != idle-time.Second {
			t.Errorf("ended after %v", d)
		}
	})
}

func TestClosedBeforeItsIdleTimeoutIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _, _ := idlePipe(t)
		_ = near.Close()
		<-time.After(2 * idle)
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestNoIdleTimeoutMeansNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable([]Service{{Name: "a", Network: "tcp", Address: "127.0.0.1:1"}})
		far := pipes(table)
		near := mustDial(t, table, "a")
		defer near.Close()
		<-time.After(365 * 24 * time.Hour)
		go func() { _, _ = far()[0].Write([]byte("x")) }()
		if n, err := near.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("Read = %d, %v", n, err)
		}
	})
}

// endless reads and writes at no cost.
type endless struct{ net.Conn }

func (endless) Read(p []byte) (int, error)  { return len(p), nil }
func (endless) Write(p []byte) (int, error) { return len(p), nil }
func (endless) Close() error                { return nil }

func TestReadAndWriteAllocateNothing(t *testing.T) {
	c := newConn(endless{}, Service{Name: "a", IdleTimeout: time.Hour}, 0, func() {})
	defer c.Close()
	p := make([]byte, 4096)
	if n := testing.AllocsPerRun(1000, func() { _, _ = c.Read(p); _, _ = c.Write(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkReadUnderAnIdleTimeout(b *testing.B) {
	c := newConn(endless{}, Service{Name: "a", IdleTimeout: time.Hour}, 0, func() {})
	defer c.Close()
	p := make([]byte, 64512)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = c.Read(p)
	}
}

// A limit that ends a connection is no orderly end for its target.
func TestALimitResetsTheTarget(t *testing.T) {
	for name, s := range map[string]Service{
		"idle_timeout": {IdleTimeout: 20 * time.Millisecond},
		"max_duration": {MaxDuration: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			s.Name, s.Network, s.Address = "a", "tcp", l.Addr().String()
			c := mustDial(t, NewTable([]Service{s}), "a")
			defer c.Close()
			target, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			_ = target.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := target.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the target reads %v, want a reset", err)
			}
		})
	}
}
