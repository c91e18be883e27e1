package main

import (
	"os"
	"runtime/debug"
	"time"
)

const (
	// gcPercent lets the heap grow by half between two collections, not by as much again, and lets the first one come
	// at 2 MB instead of 4. What a tunnel carries allocates next to nothing, so that it costs nothing either.
	gcPercent = 50
	// trimDelay is how long after a handshake its memory is given back: others may follow at once.
	trimDelay = 2 * time.Second
)

// trimmer gives the memory of handshakes back to the system. They need some megabytes, most of it for the system's
// certificates, which are parsed and then hardly used; Go would keep them for the next need.
type trimmer struct{ timer *time.Timer }

// newTrimmer also tunes the garbage collector, unless the environment does.
func newTrimmer() *trimmer {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	t := &trimmer{timer: time.AfterFunc(time.Hour, trim)}
	t.timer.Stop()
	return t
}

// settled is called when a handshake is over.
func (t *trimmer) settled() { t.timer.Reset(trimDelay) }

// trim collects twice, since what is in a pool survives once, and stacks shrink by half at a time.
func trim() {
	unmapText()
	debug.FreeOSMemory()
	debug.FreeOSMemory()
}
