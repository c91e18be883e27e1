package main

import (
	"io"
	"sync"
	"time"
)

const (
	// logQueueSize is how much may wait for the log's reader, in bytes: some 400 lines.
	logQueueSize = 64 << 10
	// logFlushLimit is how long the end of the daemon waits for them.
	logFlushLimit = 500 * time.Millisecond
)

// logQueue keeps the log from holding up the daemon: each tunnel and connection writes to it, and a journal or a
// pipe's reader that hangs would hang them all. What does not fit is dropped and counted. Errors of the writer
// beneath, such as a full disk, are dropped too: there is nowhere to report them.
type logQueue struct {
	w io.Writer
	// lost is called with the number of dropped lines, once there is room again. It may write to the queue.
	lost func(lines int)

	mu      sync.Mutex
	wake    sync.Cond
	waiting []byte
	dropped int
	closed  bool
	done    chan struct{} // closed when everything is written after close
}

func newLogQueue(w io.Writer) *logQueue {
	q := &logQueue{w: w, done: make(chan struct{})}
	q.wake.L = &q.mu
	go q.run()
	return q
}

// Write takes one line. It never waits and never fails.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting)+len(line) > logQueueSize {
		q.dropped++
		return len(line), nil
	}
	q.waiting = append(q.waiting, line...)
	q.wake.Signal()
	return len(line), nil
}

func (q *logQueue) run() {
	defer close(q.done)
	var lines []byte
	for {
		q.mu.Lock()
		for len(q.waiting) == 0 && !q.closed {
			q.wake.Wait()
		}
		lines, q.waiting = q.waiting, lines[:0]
		dropped := q.dropped
		q.dropped = 0
		q.mu.Unlock()
		if len(lines) == 0 && dropped == 0 {
			return
		}
		_, _ = q.w.Write(lines)
		if dropped > 0 && q.lost != nil {
			q.lost(dropped)
		}
	}
}

// close writes out what waits, as far as that is possible within logFlushLimit. What is written later may be lost.
func (q *logQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.wake.Signal()
	q.mu.Unlock()
	limit := time.NewTimer(logFlushLimit)
	defer limit.Stop()
	select {
	case <-q.done:
	case <-limit.C:
	}
}
