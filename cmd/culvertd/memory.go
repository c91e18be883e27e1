package main

import (
	"math"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/culvert-iot/culvert/internal/memlimit"
)

const (
	// gcPercent lets the heap grow by half between two collections, not by as much again, and lets the first one come
	// at 2 MB instead of 4. What a tunnel carries allocates next to nothing, so that it costs nothing either.
	gcPercent = 50
	// trimDelay is how long after a handshake its memory is given back: others may follow at once.
	trimDelay = 2 * time.Second
	// trimAfter connections opened or closed have used pages and left garbage worth giving back.
	trimAfter = 256
)

// What the limit on memory is divided into. The sum of all holds it, whatever peers and targets do.
const (
	// baseMemory is what the daemon needs without connections: program, certificates, handshakes, the data
	// that waits in all tunnels, and the collector's garbage of that.
	baseMemory = 48 << 20
	// connectionMemory is a connection's part of the process: its goroutines and their first buffers.
	connectionMemory = 16 << 10
	// socketMemory is its part of the kernel, whose buffers count against the unit's limit.
	socketMemory = 64 << 10
	// leastConnections serve a device that has next to no memory, most as many as eight full tunnels have.
	leastConnections, mostConnections = 128, 8 * 2048
)

// memoryPlan is how much of the memory goes where.
type memoryPlan struct {
	connections int   // of all tunnels
	heap        int64 // the Go runtime's soft limit in bytes; 0: unlimited
}

// planMemory divides limit, in bytes, so that no number of connections exceeds it. 0 means that there is no
// limit.
func planMemory(limit uint64) memoryPlan {
	if limit == 0 {
		return memoryPlan{connections: mostConnections}
	}
	room := (max(limit, baseMemory) - baseMemory) / (connectionMemory + socketMemory)
	n := min(max(room, leastConnections), mostConnections)
	// Below half of the limit the collector would work all the time, for a kernel that seldom needs the rest.
	heap := max(limit-min(limit, n*socketMemory), limit/2)
	return memoryPlan{connections: int(n), heap: int64(min(heap, math.MaxInt64))}
}

// limitMemory applies the plan for the memory that this process may use, unless the environment has a limit for the Go
// runtime. It returns how many connections there may be.
func limitMemory() int {
	limit := memlimit.Find()
	if set := debug.SetMemoryLimit(-1); os.Getenv("GOMEMLIMIT") != "" && set < math.MaxInt64 {
		return planMemory(min(limit, uint64(set))).connections //nolint:gosec // never negative
	}
	plan := planMemory(limit)
	if plan.heap > 0 {
		debug.SetMemoryLimit(plan.heap)
	}
	return plan.connections
}

// trimmer gives the memory of handshakes and of many connections back to the system, once they are over. A handshake needs
// some megabytes, most of it for the system's certificates, which are parsed and then hardly used; Go would keep them for
// the next need.
type trimmer struct {
	timer       *time.Timer
	connections atomic.Int64 // opened or closed since the last time
}

// newTrimmer also tunes the garbage collector, unless the environment does.
func newTrimmer(trim func()) *trimmer {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	t := new(trimmer)
	t.timer = time.AfterFunc(time.Hour, func() {
		t.connections.Store(0)
		trim()
	})
	t.timer.Stop()
	return t
}

// settled is called when a handshake is over.
func (t *trimmer) settled() { t.timer.Reset(trimDelay) }

// connection is called when one opens or closes. While they keep coming, the timer starts anew each time.
func (t *trimmer) connection() {
	if t.connections.Add(1) >= trimAfter {
		t.timer.Reset(trimDelay)
	}
}
