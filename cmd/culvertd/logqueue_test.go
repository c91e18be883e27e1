package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAStuckReaderOfTheLogHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		q := newLogQueue(w)
		var told []int
		q.lost = func(lines int) {
			told = append(told, lines)
			_, _ = fmt.Fprintf(q, "%d lines lost\n", lines)
		}
		const lines = 2000
		start := time.Now()
		for i := range lines {
			_, _ = fmt.Fprintf(q, "line %4d %s\n", i, strings.Repeat("x", 90)) // 101 bytes
			if i == 0 {
				synctest.Wait() // the writer has taken it, and hangs
			}
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("writing took %v", d)
		}
		var got bytes.Buffer
		go func() { _, _ = io.Copy(&got, r) }()
		synctest.Wait()
		q.close()
		_ = w.Close()
		synctest.Wait()
		const kept = 1 + logQueueSize/101
		if len(told) != 1 || told[0] != lines-kept {
			t.Errorf("told of %v lost lines, want %d", told, lines-kept)
		}
		all := strings.Split(strings.TrimSuffix(got.String(), "\n"), "\n")
		if len(all) != kept+1 || !strings.HasPrefix(all[kept-1], fmt.Sprintf("line %4d ", kept-1)) || all[kept] != fmt.Sprintf("%d lines lost", lines-kept) {
			t.Errorf("%d lines came through, the last are %q", len(all), all[max(0, len(all)-2):])
		}
	})
}

type failing struct{ writes int }

func (f *failing) Write([]byte) (int, error) {
	f.writes++
	return 0, errors.New("no space left on device")
}

func TestTheEndOfTheLogIsQuickAndAFullDiskIsNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := &failing{}
		q := newLogQueue(full)
		for range 3 {
			_, _ = q.Write([]byte("x\n"))
			synctest.Wait()
		}
		q.close()
		if full.writes != 3 {
			t.Errorf("%d writes after the first had failed, want 3", full.writes)
		}
		r, w := io.Pipe()
		q = newLogQueue(w)
		_, _ = q.Write([]byte("without a reader\n"))
		start := time.Now()
		q.close()
		if d := time.Since(start); d != logFlushLimit {
			t.Errorf("the end waited %v", d)
		}
		_ = r.Close()
	})
}
