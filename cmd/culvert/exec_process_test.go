package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// slowly is a reader of output that takes its time for each write.
type slowly struct {
	bytes.Buffer

	each time.Duration
}

func (s *slowly) Write(b []byte) (int, error) {
	time.Sleep(s.each)
	return s.Buffer.Write(b)
}

// TestOutputIsWaitedFor drains the output of an ssh that has ended already.
func TestOutputIsWaitedFor(t *testing.T) {
	const text = "a line\n"
	for name, c := range map[string]struct {
		lines int
		pause time.Duration // between what a process prints
		open  bool          // the process does not end
		each  time.Duration // that the reader takes

		want int // lines
		took time.Duration
	}{
		"a slow reader":                        {lines: 4, each: time.Hour, want: 4, took: 4 * time.Hour},
		"a background process":                 {lines: 2, open: true, want: 2, took: lingerTime},
		"both":                                 {lines: 3, open: true, each: time.Hour, want: 3, took: 3*time.Hour + lingerTime},
		"a background process that prints on":  {lines: 100, pause: 2 * time.Second, want: 3, took: lingerTime},
		"a process that prints after a moment": {lines: 2, pause: 3 * time.Second, want: 2, took: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src, in := io.Pipe()
				ended := make(chan struct{})
				close(ended)
				var printing sync.WaitGroup
				defer printing.Wait()
				printing.Go(func() {
					for i := range c.lines {
						if i > 0 {
							time.Sleep(c.pause)
						}
						if _, err := io.WriteString(in, text); err != nil {
							return // as SIGPIPE ends it
						}
					}
					if !c.open {
						_ = in.Close()
					}
				})
				dst, began := &slowly{each: c.each}, time.Now()
				drain(dst, src, ended)
				if took := time.Since(began); dst.String() != strings.Repeat(text, c.want) || took != c.took {
					t.Errorf("%q in %v, want %d lines in %v", dst.String(), took, c.want, c.took)
				}
			})
		})
	}
}

// TestARunningProcessMayBeSilent: only what comes after the end of ssh has a limit.
func TestARunningProcessMayBeSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, in := io.Pipe()
		ended := make(chan struct{})
		go func() {
			time.Sleep(time.Hour)
			_, _ = io.WriteString(in, "at last\n")
			_ = in.Close()
			close(ended)
		}()
		var dst bytes.Buffer
		drain(&dst, src, ended)
		if dst.String() != "at last\n" {
			t.Errorf("%q", dst.String())
		}
	})
}

// stalled is a reader that takes nothing.
type stalled chan struct{}

func (s stalled) Write(b []byte) (int, error) { <-s; return len(b), nil }

func TestOnlyAnInterruptEndsTheWaitForAReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, interrupted := make(stalled), make(chan struct{})
		out, _ := newOutlets(reader, io.Discard, nil, interrupted)
		failed := make(chan error, 1)
		go func() {
			_, err := out.Write([]byte("text"))
			failed <- err
		}()
		time.Sleep(24 * time.Hour)
		select {
		case err := <-failed:
			t.Fatalf("it was given up: %v", err)
		default:
		}
		close(interrupted)
		began := time.Now()
		if err := <-failed; !errors.Is(err, errNotRead) || time.Since(began) != lingerTime {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if _, err := out.Write([]byte("more")); !errors.Is(err, errNotRead) || time.Since(began) != lingerTime {
			t.Errorf("the next write: %v after %v", err, time.Since(began))
		}
		close(reader)
	})
}

func TestAReaderOfBothStreamsIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, interrupted := make(stalled), make(chan struct{})
		out, errs := newOutlets(reader, reader, nil, interrupted)
		close(interrupted)
		began := time.Now()
		for _, o := range []*outlet{out, errs, out} {
			if _, err := o.Write([]byte("text")); !errors.Is(err, errNotRead) || time.Since(began) != lingerTime {
				t.Errorf("%v after %v", err, time.Since(began))
			}
		}
		close(reader)
	})
}

// torn notices two writes at a time.
type torn struct {
	busy sync.Mutex
	t    *testing.T
	n    int
}

func (w *torn) Write(b []byte) (int, error) {
	if !w.busy.TryLock() {
		w.t.Error("two writes at a time")
		return len(b), nil
	}
	defer w.busy.Unlock()
	runtime.Gosched() // to the other writers
	w.n++
	return len(b), nil
}

func TestStreamsToTheSamePlaceTakeTurns(t *testing.T) {
	w := &torn{t: t}
	out, errs := newOutlets(w, w, nil, nil)
	var writers sync.WaitGroup
	for range 8 {
		for _, o := range []*outlet{out, errs} {
			writers.Go(func() {
				for range 100 {
					_, _ = o.Write([]byte("line\n"))
				}
			})
		}
	}
	writers.Wait()
	if w.n != 1600 {
		t.Errorf("%d writes", w.n)
	}
}

func TestFilesThatAreTheSame(t *testing.T) {
	dir := t.TempDir()
	open := func(name string) *os.File {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	out := open("out")
	if !sameStream(out, open("out")) || sameStream(out, open("errors")) || sameStream(out, io.Discard) {
		t.Error("one file, two files, or a file and none are confused")
	}
}
