package main

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/terminal"
)

// errNotRead is the end of a write to a reader that took nothing after an interrupt.
var errNotRead = errors.New("the reader takes nothing")

// outlet is one of this program's own streams, which all devices share. It takes one write at a time. A slow reader makes
// the writers wait: without a limit, until the user interrupts.
type outlet struct {
	*outletReader

	w           io.Writer
	isTerminal  bool
	show        *progress
	interrupted <-chan struct{} // after that, a write may take lingerTime
}

// outletReader reads what outlets that lead to the same file write.
type outletReader struct {
	turn  chan struct{} // holds the write that is under way
	stuck chan struct{} // closed when a write took too long after an interrupt
	once  sync.Once
}

func newOutletReader() *outletReader {
	return &outletReader{turn: make(chan struct{}, 1), stuck: make(chan struct{})}
}

// newOutlets returns standard output and standard error.
func newOutlets(out, err io.Writer, show *progress, interrupted <-chan struct{}) (stdout, stderr *outlet) {
	open := func(w io.Writer, reader *outletReader) *outlet {
		return &outlet{outletReader: reader, w: w, isTerminal: terminal.Is(w), show: show, interrupted: interrupted}
	}
	stdout = open(out, newOutletReader())
	if sameStream(out, err) {
		return stdout, open(err, stdout.outletReader)
	}
	return stdout, open(err, newOutletReader())
}

func sameStream(a, b io.Writer) bool {
	first, ok := a.(*os.File)
	second, also := b.(*os.File)
	if !ok || !also {
		return a == b
	}
	one, err := first.Stat()
	if err != nil {
		return false
	}
	other, err := second.Stat()
	return err == nil && os.SameFile(one, other)
}

// line writes a line of this program's own. What is lost of it shows elsewhere.
func (o *outlet) line(text string) { _, _ = o.Write([]byte("culvert: " + text + "\n")) }

// Write writes b, which must not change afterwards: a write that was given up may still be under way.
func (o *outlet) Write(b []byte) (int, error) {
	var err error
	if o.isTerminal {
		o.show.aside(func() { err = o.write(b) })
	} else {
		err = o.write(b)
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

func (o *outlet) write(b []byte) error {
	done := make(chan error, 1)
	go func() {
		o.turn <- struct{}{}
		defer func() { <-o.turn }()
		_, err := o.w.Write(b)
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-o.interrupted:
	}
	limit := time.NewTimer(lingerTime)
	defer limit.Stop()
	select {
	case err := <-done:
		return err
	case <-limit.C:
		o.once.Do(func() { close(o.stuck) }) // the others need not wait as well
	case <-o.stuck:
	}
	return errNotRead
}
