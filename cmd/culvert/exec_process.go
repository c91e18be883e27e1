package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// lingerTime bounds how long more output is waited for once ssh has ended, and how long an interrupted ssh may take to
// end.
const lingerTime = 5 * time.Second

// runPiped runs cmd to its end, and hands what it prints to stdout and stderr, which must take everything.
//
// It does not leave that to os/exec: with a WaitDelay, that drops output and fails when a reader is slow, and without one
// it waits for all that ssh has left running.
func runPiped(cmd *exec.Cmd, stdout, stderr io.Writer) error {
	outR, outW, err := os.Pipe()
	if err != nil {
		return err
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		_, _ = outR.Close(), outW.Close()
		return err
	}
	cmd.Stdout, cmd.Stderr = outW, errW
	err = cmd.Start()
	_, _ = outW.Close(), errW.Close() // the process has its own
	if err != nil {
		_, _ = outR.Close(), errR.Close()
		return err
	}
	ended := make(chan struct{})
	var copying sync.WaitGroup
	copying.Go(func() { drain(stdout, outR, ended) })
	copying.Go(func() { drain(stderr, errR, ended) })
	err = cmd.Wait()
	close(ended)
	copying.Wait()
	return err
}

// drain copies what a process prints from src to dst, until each process that could print has closed its end. Once the
// process itself has ended, what it left running may keep the other end open for hours: then drain waits [lingerTime]
// for more, all in all. The time that dst takes does not count, however slow its reader is.
func drain(dst io.Writer, src io.ReadCloser, ended <-chan struct{}) {
	chunks, done := make(chan []byte), make(chan struct{})
	go func() {
		defer close(chunks)
		var buffers [2][32 << 10]byte // one is read into while the other is written
		for i := 0; ; i++ {
			n, err := src.Read(buffers[i%2][:])
			if n > 0 {
				select {
				case chunks <- buffers[i%2][:n]:
				case <-done:
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	defer src.Close()
	defer close(done)
	left, hasEnded := lingerTime, false
	for {
		began := time.Now()
		var limit <-chan time.Time
		if hasEnded {
			limit = time.After(left)
		}
		select {
		case b, more := <-chunks:
			if !more {
				return
			}
			if hasEnded {
				left -= time.Since(began)
			}
			_, _ = dst.Write(b)
		case <-ended:
			ended, hasEnded = nil, true
		case <-limit:
			return
		}
	}
}

// killedBy says which signal has ended ssh; "" if none has.
func killedBy(exit *exec.ExitError) string {
	status, ok := exit.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return ""
	}
	return fmt.Sprintf("ssh was killed by signal %d (%v)", int(status.Signal()), status.Signal())
}
