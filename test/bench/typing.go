package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// keystrokes leave at this interval, however slow their echo is.
	keystrokes = 20 * time.Millisecond
	// offered is what all bulk connections together have to move: eighty seconds at the limit, more than a measurement lasts,
	// and little enough for a program that takes all of it into memory.
	offered = 64 << 20
	// stragglers are waited for so long; what has not come back then counts with the time that it was missing.
	stragglers = 10 * time.Second
)

// typingBeside measures how long single bytes take there and back while bulk flows one way, then, with fresh processes, the
// other way.
func typingBeside(count int) func(context.Context, *scene, *contender, record) error {
	return func(ctx context.Context, s *scene, c *contender, note record) error {
		if err := typeBeside(ctx, c, count, toDevice, note); err != nil {
			return err
		}
		again, err := s.start(ctx, c.name)
		if err != nil {
			return err
		}
		defer s.stop(again)
		return typeBeside(ctx, again, count, fromDevice, note)
	}
}

func typeBeside(ctx context.Context, c *contender, count int, d direction, note record) error {
	conn, err := dial(ctx, c, "ECHO")
	if err != nil {
		return err
	}
	defer conn.Close()
	idle, err := typing(conn, 50)
	if err != nil {
		return err
	}
	for range count {
		beside, err := dial(ctx, c, "BULK")
		if err != nil {
			return err
		}
		defer beside.Close()
		go occupy(beside, d, offered/int64(count))
	}
	// The first two seconds are the start of the bulk, which is not what a user lives with; they count as well in max.
	took, err := typing(conn, 400)
	if err != nil {
		return err
	}
	base := percentile(idle, 50)
	settled := took[100:]
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	note("idle p50", "ms", ms(base))
	note(fmt.Sprintf("over idle, p50, bulk %v", d), "ms", ms(percentile(settled, 50)-base))
	note(fmt.Sprintf("over idle, p99, bulk %v", d), "ms", ms(percentile(settled, 99)-base))
	note(fmt.Sprintf("over idle, max from the start, bulk %v", d), "ms", ms(percentile(took, 100)-base))
	return nil
}

// occupy moves bulk until all of it is moved or the connection ends.
func occupy(c net.Conn, d direction, size int64) {
	if askFor(c, d, size) != nil {
		return
	}
	if d == fromDevice {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	for buf := make([]byte, 64<<10); size > 0; size -= int64(len(buf)) {
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}

// typing sends n bytes to an echo server, each at its time, and returns how long after that time each was back: an open
// loop, so that a slow moment counts for every byte that it meets.
func typing(c net.Conn, n int) ([]time.Duration, error) {
	start := time.Now().Add(keystrokes)
	at := func(i int) time.Time { return start.Add(time.Duration(i) * keystrokes) }
	_ = c.SetDeadline(at(n).Add(stragglers))
	var writer sync.WaitGroup
	defer writer.Wait()
	writer.Go(func() {
		for i := range n {
			<-time.After(time.Until(at(i)))
			if _, err := c.Write([]byte{byte(i)}); err != nil {
				return
			}
		}
	})
	took := make([]time.Duration, n)
	var back [1]byte
	var failed error
	for i := range n {
		if failed == nil {
			if _, failed = io.ReadFull(c, back[:]); failed == nil && back[0] != byte(i) {
				return nil, fmt.Errorf("byte %d came back as %d", i, back[0])
			}
			if late, ok := failed.(net.Error); failed != nil && (!ok || !late.Timeout()) { //nolint:errorlint // io.ReadFull wraps nothing
				return nil, failed
			}
		}
		took[i] = time.Since(at(i)) // or so long it was missing
	}
	return took, nil
}
