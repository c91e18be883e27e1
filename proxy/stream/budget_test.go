package stream

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

func (y *Budget) inUse() (queued, sending int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.queued, y.sending
}

func checkUnused(t *testing.T, y *Budget) {
	t.Helper()
	if queued, sending := y.inUse(); queued != 0 || sending != 0 || len(y.tunnels) != 0 {
		t.Errorf("after the end %d and %d bytes are in use, by %d tunnels", queued, sending, len(y.tunnels))
	}
}

// When the memory of all tunnels is in use, the slowest connection of the tunnel that holds most gives way.
func TestTunnelsShareMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := NewBudget(BudgetConfig{Memory: 2 << 20})
		a, b := playWith(t, "", Config{Budget: memory}), playWith(t, "", Config{Budget: memory})
		a.send("STREAM_START 1 DEAF#1", "STREAM_START 1 ECHO#1")
		b.send("STREAM_START 1 DEAF#1", "STREAM_START 1 ECHO#1")
		a.fill("DEAF#1", inboxLimit-2*len(full))
		synctest.Wait()
		time.Sleep(stall / 5)
		a.send("CONNECTION_START 1 DEAF#2")
		a.fill("DEAF#2", inboxLimit/4)
		synctest.Wait()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			b.fill("DEAF#1", inboxLimit-2*len(full))
			b.send("DATA 1 ECHO#1 through")
		}()
		time.Sleep(stall*4/5 - time.Nanosecond)
		a.expect("just before the timeout")
		b.expect("while memory is short")
		if queued, _ := memory.inUse(); queued < 15<<17 || queued > 2<<20 {
			t.Errorf("%d bytes are in use of %d", queued, 2<<20)
		}
		time.Sleep(time.Nanosecond)
		a.expect("at the timeout", "CONNECTION_RESET 1 DEAF#1")
		<-sent
		b.expect("when there is memory again", "DATA 1 ECHO#1 through")
		a.alive(V3)
		_, _ = a.end(), b.end()
		checkUnused(t, memory)
	})
}

// Memory that is given back by another tunnel is noticed at once.
func TestATunnelWaitsNoLongerThanMemoryIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := NewBudget(BudgetConfig{Memory: 3 << 19})
		a, b := playWith(t, "", Config{Budget: memory}), playWith(t, "", Config{Budget: memory})
		a.send("STREAM_START 1 DEAF#1")
		a.fill("DEAF#1", inboxLimit-2*len(full))
		b.send("STREAM_START 1 SLOW#1")
		synctest.Wait()
		sent := make(chan time.Duration)
		go func() {
			before := time.Now()
			b.send("STREAM_START 1 ECHO#1")
			b.fill("SLOW#1", inboxLimit*3/4)
			b.send("DATA 1 ECHO#1 through")
			sent <- time.Since(before)
		}()
		time.Sleep(stall / 2)
		b.expect("while memory is short")
		_ = a.target("DEAF", 0).Close() // the connection is dead: what waits for it is dropped
		<-sent
		b.expect("at once", "DATA 1 ECHO#1 through")
		_, _ = a.end(), b.end()
		checkUnused(t, memory)
	})
}

// Many tunnels flood targets that take nothing: the limit holds all the time, and each tunnel stays alive.
func TestTheProcessesMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 4 << 20
		memory := NewBudget(BudgetConfig{Memory: limit})
		all := make([]*script, 6)
		done := make(chan struct{})
		for i := range all {
			s := playWith(t, "", Config{Budget: memory})
			all[i] = s
			s.send("STREAM_START 1 ECHO#1", "STREAM_START 1 DEAF#1")
		}
		synctest.Wait() // until all are there: the reserve of one that comes later is on top
		for _, s := range all {
			for n := range 20 {
				s.send(fmt.Sprintf("CONNECTION_START 1 DEAF#%d", n+2))
			}
			go func() {
				defer func() { done <- struct{}{} }()
				for n := range 21 {
					s.fill(fmt.Sprintf("DEAF#%d", n+1), 300<<10)
				}
				s.send("DATA 1 ECHO#1 through")
			}()
		}
		for left := len(all); left > 0; {
			select {
			case <-done:
				left--
			case <-time.After(stall / 10):
			}
			if queued, sending := memory.inUse(); queued > limit || queued+sending > limit+len(all)*frame.MaxWebsocketMessage {
				t.Errorf("%d and %d bytes are in use", queued, sending)
			}
		}
		time.Sleep(holdFactor * stall)
		survivors := 0
		for i, s := range all {
			if got := s.received(); !slices.Contains(got, "DATA 1 ECHO#1 through") {
				t.Errorf("tunnel %d: after %d messages the echo is missing", i, len(got))
			}
			survivors += 21 - s.judge.resets()
		}
		if survivors < limit/(400<<10) {
			t.Errorf("memory is for more than the %d connections that were not reset", survivors)
		}
		for _, s := range all {
			_ = s.end()
		}
		checkUnused(t, memory)
	})
}

// A target that takes what comes needs no memory: it does not wait for those who have it all.
func TestTargetsThatKeepUpNeedNoMemory(t *testing.T) {
	memory := NewBudget(BudgetConfig{Memory: 1 << 20})
	near, to := networks["tcp"](t)
	w := wiredWith(t, memory, near)
	memory.force(&w.d.backlog, 1<<20)
	w.send("STREAM_START 1 X#1")
	waitFor(t, func() bool { return w.d.attached(1) })
	w.send("DATA 1 X#1 key", "DATA 1 X#1 "+full)
	got := make([]byte, 3+len(full))
	_ = to.SetDeadline(time.Now().Add(stall - time.Second))
	for n := 0; n < len(got); {
		k, err := to.Read(got[n:])
		if err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
		n += k
	}
	if string(got) != "key"+full {
		t.Error("bytes arrived changed")
	}
	_ = to.Close()
}

// An idle connection is one goroutine, and neither side of it has a buffer.
func TestAnIdleConnectionHoldsNoBuffer(t *testing.T) {
	if raced {
		t.Skip("the race detector needs memory of its own")
	}
	const count, limit = 1000, 8 << 10
	var others [count]net.Conn
	var next atomic.Int32
	link, far := newPair()
	d := NewDestination(DestinationConfig{Config: Config{Transport: link}, Dial: func(context.Context, string) (net.Conn, error) {
		a, b := networks["tcp"](t)
		others[next.Add(1)-1] = b
		go func() {
			var p [100]byte
			n, _ := b.Read(p[:])
			_, _ = b.Write(p[:n])
		}()
		return a, nil
	}})
	served := make(chan struct{})
	go func() { defer close(served); _ = d.Serve() }()
	var before, after runtime.MemStats
	debug.FreeOSMemory()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	var b strings.Builder
	for i := range count {
		start := "CONNECTION_START"
		if i == 0 {
			start = "STREAM_START"
		}
		b.Reset()
		fmt.Fprintf(&b, "%s 1 X#%d", start, i+1)
		_, _ = far.Write(frames(b.String(), fmt.Sprintf("DATA 1 X#%d hello", i+1)))
	}
	in := frame.NewReader(far)
	for range count {
		if err := in.Next(&frame.Message{}); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, func() bool { return runtime.NumGoroutine() <= goroutines+count })
	runtime.GC()
	runtime.GC() // pools keep what they hold over the first
	runtime.ReadMemStats(&after)
	// Both ends of each socket are here; the other one is a net.Conn without a goroutine, some 1 KB.
	each := (int(after.HeapInuse+after.StackInuse) - int(before.HeapInuse+before.StackInuse)) / count
	t.Logf("%d bytes each, %d of them stack, with the socket's other end", each, int(after.StackInuse-before.StackInuse)/count)
	if each > limit {
		t.Errorf("an idle connection takes %d bytes, more than %d", each, limit)
	}
	_ = far.Close(closeNormal, "")
	for _, c := range others {
		_ = c.Close()
	}
	<-served
}
