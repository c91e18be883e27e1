package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/sandbox/relay"
)

// direction is which way bulk flows, and the byte that asks a target for it.
type direction byte

const (
	toDevice   direction = 'u' // from the operator's client to the device's application
	fromDevice direction = 'd'
)

func (d direction) String() string {
	if d == toDevice {
		return "to the device"
	}
	return "from the device"
}

// record notes one figure.
type record func(metric, unit string, value float64)

// work is something that is measured.
type work struct {
	name  string
	what  string
	paths []string
	plain bool // plain TLS is measured, too
	do    func(context.Context, *scene, *contender, record) error
}

var shapedPaths = []string{"20ms", "80ms", "200ms", "lossy"}

var works = []work{
	{"bulk", "one connection, without a limit", []string{"loopback"}, true, measureBulk},
	{"echo", "64 bytes there and back, nothing else", []string{"loopback"}, true, measureEcho},
	{"request", "100 bytes there, 10 kB back, a new connection each", []string{"loopback"}, false, measureRequests},
	{"page", "40 such requests at once, 20 times; failed is what took 3 s", []string{"loopback"}, false, measurePages},
	{"stall-1", "the tunnel stalls, an application writes without end", []string{"loopback"}, false, stalled(1)},
	{"stall-100", "the same, 100 applications", []string{"loopback"}, false, stalled(100)},
	{"idle", "one tunnel, then 100 connections that do nothing", []string{"loopback"}, false, measureIdle},
	{"typing-1", "single bytes there and back every 20 ms, beside one bulk connection", shapedPaths, false, typingBeside(1)},
	{"typing-8", "the same, beside 8", shapedPaths, false, typingBeside(8)},
	{"goodput", "a lone bulk connection, its share of the limit", shapedPaths, false, measureGoodput},
}

func workNames() (names []string) {
	for _, w := range works {
		names = append(names, w.name)
	}
	return names
}

// both directions, in turn.
var directions = []direction{toDevice, fromDevice}

const (
	bulkSize = 256 << 20
	warmUp   = 32 << 20
	// bulkLimit is when bulk counts as stuck.
	bulkLimit = 30 * time.Second
)

func measureBulk(ctx context.Context, _ *scene, c *contender, note record) error {
	conn, err := dial(ctx, c, "BULK")
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, d := range directions {
		if _, err := bulk(conn, d, warmUp); err != nil { // buffers and windows grow to their size
			return err
		}
		device, source := c.device.cpu(), c.source.cpu()
		took, err := bulk(conn, d, bulkSize)
		if err != nil {
			return err
		}
		note(d.String(), "MB/s", bulkSize/1e6/took.Seconds())
		note("device's CPU "+d.String(), "s/GB", (c.device.cpu()-device)/(bulkSize/1e9))
		note("operator's CPU "+d.String(), "s/GB", (c.source.cpu()-source)/(bulkSize/1e9))
	}
	return noteMemory(c, "peak RSS of the device's", "status", "VmHWM", note)
}

// bulk moves size bytes and returns how long it took, to the last byte's arrival.
func bulk(c net.Conn, d direction, size int64) (time.Duration, error) {
	_ = c.SetDeadline(time.Now().Add(bulkLimit))
	start := time.Now()
	if err := askFor(c, d, size); err != nil {
		return 0, err
	}
	buf := make([]byte, 256<<10)
	if d == toDevice {
		for left := size; left > 0; {
			n, err := c.Write(buf[:min(left, int64(len(buf)))])
			if left -= int64(n); err != nil {
				return 0, err
			}
		}
		size = 1
	}
	for left := size; left > 0; {
		n, err := c.Read(buf)
		if left -= int64(n); err != nil {
			return 0, fmt.Errorf("%d bytes %v are missing: %w", left, d, err)
		}
	}
	return time.Since(start), nil
}

// askFor tells a bulk target what comes.
func askFor(c net.Conn, d direction, size int64) error {
	head := binary.BigEndian.AppendUint64([]byte{byte(d)}, uint64(size)) //nolint:gosec // lengths are ours
	_, err := c.Write(head)
	return err
}

func measureEcho(ctx context.Context, _ *scene, c *contender, note record) error {
	conn, err := dial(ctx, c, "ECHO")
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	var took []time.Duration
	for b := make([]byte, 64); len(took) < 2000; {
		start := time.Now()
		if _, err := conn.Write(b); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, b); err != nil {
			return err
		}
		took = append(took, time.Since(start))
	}
	noteTimes(note, "", took)
	return nil
}

// slow is when a request counts as failed.
const slow = 3 * time.Second

// request is one short request on a connection of its own.
func request(ctx context.Context, c *contender) (time.Duration, error) {
	start := time.Now()
	conn, err := dial(ctx, c, "WEB")
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(slow))
	if _, err := conn.Write(make([]byte, requestSize)); err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, conn)
	if err == nil && n != answerSize {
		err = fmt.Errorf("%d bytes came back, not %d", n, answerSize)
	}
	return time.Since(start), err
}

func measureRequests(ctx context.Context, _ *scene, c *contender, note record) error {
	var took []time.Duration
	failed := 0
	for range 300 {
		if t, err := request(ctx, c); err != nil {
			failed++
		} else {
			took = append(took, t)
		}
	}
	noteTimes(note, "", took)
	note("failed", "", float64(failed))
	return nil
}

func measurePages(ctx context.Context, _ *scene, c *contender, note record) error {
	var took []time.Duration
	failed := 0
	for range 20 {
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 40 {
			all.Go(func() {
				t, err := request(ctx, c)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failed++
				} else {
					took = append(took, t)
				}
			})
		}
		all.Wait()
	}
	noteTimes(note, "", took)
	note("failed", "", float64(failed))
	return nil
}

// stalled lets applications of the device write without end while the relay lets nothing pass.
func stalled(count int) func(context.Context, *scene, *contender, record) error {
	return func(ctx context.Context, s *scene, c *contender, note record) error {
		var conns []net.Conn
		for range count {
			conn, err := dial(ctx, c, "BULK")
			if err != nil {
				return err
			}
			defer conn.Close()
			conns = append(conns, conn)
		}
		// All are there before the first one writes: beside it others might wait for long.
		for _, conn := range conns {
			if err := askFor(conn, fromDevice, 1<<50); err != nil {
				return err
			}
			// On, or it would be the operator's side whose clients take nothing.
			go func() { _, _ = io.Copy(io.Discard, conn) }()
		}
		if err := backoff.Sleep(ctx, 300*time.Millisecond); err != nil {
			return err
		}
		s.box.Relay.Faults().Set(relay.Target{Tunnel: c.tunnel}, relay.Conditions{BlackHole: true})
		if err := backoff.Sleep(ctx, 3*time.Second); err != nil {
			return err
		}
		return noteMemory(c, "peak RSS of the device's", "status", "VmHWM", note)
	}
}

func measureIdle(ctx context.Context, _ *scene, c *contender, note record) error {
	const settle, count = 5 * time.Second, 100
	if err := backoff.Sleep(ctx, settle); err != nil {
		return err
	}
	if err := errors.Join(
		noteMemory(c, "Pss of the device's", "smaps_rollup", "Pss", note),
		noteMemory(c, "RSS of the device's", "status", "VmRSS", note),
	); err != nil {
		return err
	}
	for range count {
		conn, err := dial(ctx, c, "ECHO")
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		b := []byte{1}
		if _, err := conn.Write(b); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, b); err != nil {
			return err
		}
	}
	if err := backoff.Sleep(ctx, settle); err != nil {
		return err
	}
	return noteMemory(c, fmt.Sprintf("RSS with %d connections", count), "status", "VmRSS", note)
}

func noteMemory(c *contender, metric, file, field string, note record) error {
	mb, err := c.device.memory(file, field)
	if err == nil {
		note(metric, "MB", mb)
	}
	return err
}

func measureGoodput(ctx context.Context, _ *scene, c *contender, note record) error {
	conn, err := dial(ctx, c, "BULK")
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, d := range directions {
		if _, err := bulk(conn, d, 2*limit); err != nil {
			return err
		}
		const seconds = 8
		took, err := bulk(conn, d, seconds*limit)
		if err != nil {
			return err
		}
		note(d.String(), "% of the limit", 100*seconds/took.Seconds())
	}
	return nil
}
