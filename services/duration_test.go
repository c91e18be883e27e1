package services

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestABusyConnectionEndsAfterItsMaxDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable([]Service{{
			Name: "a", Network: "tcp", Address: "127.0.0.1:1", MaxDuration: time.Hour, IdleTimeout: time.Minute, MaxConnections: 1,
		}})
		far := pipes(table)
		start := time.Now()
		near := mustDial(t, table, "a")
		target := near.(interface {
			Target() string
			Expired() error
		})
		var writer sync.WaitGroup
		defer writer.Wait()
		writer.Go(func() {
			for {
				if _, err := far()[0].Write([]byte("busy")); err != nil {
					return
				}
				time.Sleep(7 * time.Second) // which never falls together with the hour's end
			}
		})
		b := make([]byte, 16)
		var err error
		for err == nil {
			if target.Expired() != nil {
				t.Fatal("expired while bytes still came")
			}
			_, err = near.Read(b)
		}
		over, ok := errors.AsType[*DurationError](err)
		if !ok || over.Error() != `service "a": the connection was open for 1h0m0s (max_duration)` || !errors.Is(target.Expired(), err) {
			t.Errorf("ended with %v, expired %v", err, target.Expired())
		}
		if d := time.Since(start); d != time.Hour {
			t.Errorf("ended after %v", d)
		}
		if _, err := near.Write(b); !errors.Is(err, over) {
			t.Errorf("a write says %v", err)
		}
		synctest.Wait()
		if table.Active("a") != 0 {
			t.Error("its place is not free")
		}
		if target.Target() != "127.0.0.1:1" {
			t.Errorf("target %q", target.Target())
		}
	})
}

func TestAConnectionThatIsClosedBeforeItsMaxDurationHasNotExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable([]Service{{Name: "a", Network: "tcp", Address: "127.0.0.1:1", MaxDuration: time.Hour}})
		far := pipes(table)
		near := mustDial(t, table, "a")
		_ = far()[0].Close()
		if _, err := near.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read %v", err)
		}
		_ = near.Close()
		time.Sleep(2 * time.Hour)
		if err := near.(interface{ Expired() error }).Expired(); err != nil {
			t.Errorf("expired: %v", err)
		}
	})
}

func TestAConnectionThatIsAdoptedHasTheRestOfItsMaxDuration(t *testing.T) {
	for name, c := range map[string]struct{ age, left time.Duration }{
		"a new one":                      {0, time.Hour},
		"one of an earlier process":      {45 * time.Minute, 15 * time.Minute},
		"one whose time is over":         {time.Hour, 0},
		"one whose limit is shorter now": {90 * time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				table := NewTable([]Service{{Name: "a", MaxDuration: time.Hour}})
				one, far := net.Pipe()
				defer far.Close()
				near, err := table.Adopt("a", one, c.age)
				if err != nil {
					t.Fatal(err)
				}
				defer near.Close()
				start := time.Now()
				_, err = near.Read(make([]byte, 1))
				if _, ok := errors.AsType[*DurationError](err); !ok || time.Since(start) != c.left {
					t.Errorf("it ends after %v with %v, want after %v", time.Since(start), err, c.left)
				}
			})
		})
	}
}
