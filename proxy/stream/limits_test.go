package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Seven tunnels that fill the shared memory with what their targets do not take cost another one's typing
// no time: each has a reserve.
func TestTunnelsThatFillTheMemoryDoNotStallAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(BudgetConfig{})
		hostile := make([]*script, 7)
		for i := range hostile {
			s := playWith(t, "", Config{Budget: budget})
			hostile[i] = s
			s.send("STREAM_START 1 DEAF#1", "CONNECTION_START 1 DEAF#2")
			go func() {
				s.fill("DEAF#1", inboxLimit-2*len(full))
				s.fill("DEAF#2", inboxLimit-2*len(full))
			}()
		}
		typing := playWith(t, "", Config{Budget: budget})
		typing.send("STREAM_START 1 ECHO#1")
		synctest.Wait()
		if queued, _ := budget.inUse(); queued < DefaultMemory*3/4 {
			t.Fatalf("only %d bytes are in use", queued)
		}
		for i := range 100 {
			start := time.Now()
			key := fmt.Sprintf("DATA 1 ECHO#1 key%d", i)
			typing.send(key)
			typing.expect("typed", key)
			if d := time.Since(start); d > 0 {
				t.Fatalf("key %d took %v", i, d)
			}
			time.Sleep(stall / 50)
		}
		for _, s := range append(hostile, typing) {
			_ = s.end()
		}
		checkUnused(t, budget)
	})
}

// flooded starts a Destination whose peer starts n connections as fast as it is read. Answers are read.
func flooded(t *testing.T, cfg Config, n int, dial func(context.Context, string) (net.Conn, error)) (d *Destination, started func() int, end func()) {
	t.Helper()
	near, far := newPair()
	cfg.Transport = near
	d = NewDestination(DestinationConfig{Config: cfg, Dial: dial, DefaultService: func([]string) (string, error) { return "", errors.New("unused") }})
	served := make(chan struct{})
	go func() { defer close(served); _ = d.Serve() }()
	go func() { _, _ = io.Copy(io.Discard, far) }()
	go func() {
		_, _ = far.Write(frames("STREAM_START 1 X#1"))
		for i := 2; i <= n; i++ {
			if _, err := far.Write(frames(fmt.Sprintf("CONNECTION_START 1 X#%d", i))); err != nil {
				return
			}
		}
	}()
	started = func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return int(d.stats.get("X").Total)
	}
	return d, started, func() { _ = far.Close(closeNormal, ""); <-served }
}

// A flood of starts towards a closed port is slowed down to a rate, by not reading on from its tunnel.
func TestAFloodOfStartsIsSlowedDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		_, _, end := flooded(t, Config{Budget: NewBudget(BudgetConfig{})}, 100_000, func(context.Context, string) (net.Conn, error) {
			dials.Add(1)
			return nil, errors.New("connection refused")
		})
		const seconds = 10
		time.Sleep(seconds * time.Second)
		synctest.Wait()
		if n, most := int(dials.Load()), startBurst+seconds*startRate; n > most+1 || n < seconds*startRate {
			t.Errorf("%d dials in %d s, want at most %d", n, seconds, most)
		}
		end()
	})
}

// A tunnel whose dials hang takes neither all of a process's dials nor all of another tunnel's time.
func TestDialsAtATimeAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(BudgetConfig{Dials: 100})
		var dials [3]atomic.Int32
		var ends [3]func()
		for i := range ends {
			_, _, ends[i] = flooded(t, Config{Budget: budget}, 500, func(ctx context.Context, _ string) (net.Conn, error) {
				dials[i].Add(1)
				<-ctx.Done()
				return nil, ctx.Err()
			})
			synctest.Wait()
		}
		total := 0
		for i := range dials {
			n := int(dials[i].Load())
			if n > maxDials || n < dialReserve {
				t.Errorf("tunnel %d dials %d targets at a time", i, n)
			}
			total += n
		}
		if most := 100 + len(dials)*dialReserve; total > most {
			t.Errorf("%d dials at a time in all, want at most %d", total, most)
		}
		for _, end := range ends {
			end()
		}
		if len(budget.dials) != 0 {
			t.Errorf("%d dials are left", len(budget.dials))
		}
	})
}

// A process has a limit of connections, and a tunnel beside a full one still gets some.
func TestConnectionsOfAllTunnelsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(BudgetConfig{Connections: 100})
		dial := func(context.Context, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, far) }()
			return near, nil
		}
		first, _, endFirst := flooded(t, Config{Budget: budget}, 200, dial)
		synctest.Wait()
		second, _, endSecond := flooded(t, Config{Budget: budget}, 200, dial)
		synctest.Wait()
		for i, c := range []struct {
			d    *Destination
			want int
		}{{first, 100}, {second, connectionReserve}} {
			c.d.mu.Lock()
			if n := len(c.d.conns); n != c.want {
				t.Errorf("tunnel %d has %d connections, want %d", i, n, c.want)
			}
			c.d.mu.Unlock()
		}
		endFirst()
		endSecond()
		if budget.connections != 0 {
			t.Errorf("%d connections are left", budget.connections)
		}
	})
}

// A flood of frames that carry nothing is slowed down likewise, whatever they are; bulk is not.
func TestAFloodOfSmallFramesIsSlowedDown(t *testing.T) {
	t.Parallel()
	bulk := "DATA 7 X#1 " + strings.Repeat("x", smallFrame)
	for name, c := range map[string]struct {
		frame string
		least time.Duration
	}{
		"data":   {"DATA 7 X#1 x", 3 * time.Second},
		"resets": {"CONNECTION_RESET 7 X#1", 3 * time.Second},
		"bulk":   {bulk, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := newPair()
				d := NewDestination(DestinationConfig{Config: Config{Transport: near}, Dial: func(context.Context, string) (net.Conn, error) {
					target, app := net.Pipe()
					go func() { _, _ = io.Copy(io.Discard, app) }()
					return target, nil
				}})
				served := make(chan struct{})
				go func() { defer close(served); _ = d.Serve() }()
				began := time.Now()
				_, _ = far.Write(frames("STREAM_START 7 X#1"))
				batch := bytes.Repeat(frames(c.frame), 1000)
				for range (smallBurst + 3*smallRate) / 1000 {
					if _, err := far.Write(batch); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				if took := time.Since(began); took < c.least*4/5 || took > c.least+time.Second/10 {
					t.Errorf("the flood took %v, want %v", took, c.least)
				}
				_ = far.Close(closeNormal, "")
				<-served
			})
		})
	}
}
