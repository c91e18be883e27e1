package stream

import (
	"net"
	"sync"
	"time"
)

const (
	// wideBuffer is what the fastest targets get in place of socketBuffer, in bytes. With it a daemon needs a third less
	// processor time for bulk, because it waits less often. BenchmarkResumption measures it.
	wideBuffer = 256 << 10
	// widePlaces is how many targets have it at a time. In all, that is 4 MiB of the kernel's memory at most.
	widePlaces = 4
	// fastBytes within fastTime make a target fast.
	fastBytes = 1 << 20
	fastTime  = time.Second
	// fastKept is for how long it may be silent before another one gets its place.
	fastKept = 10 * time.Second
	// fastLeast is the least read or write that is looked at, in bytes.
	fastLeast = 8 << 10
)

// widths gives the fastest targets of a process larger socket buffers. It looks at a few at a time, so that a connection
// needs no memory for it.
type widths struct {
	mu    sync.Mutex
	seen  [2 * widePlaces]width
	count int // wide ones
}

// width is a target that is looked at.
type width struct {
	target *net.TCPConn // nil: free
	wide   bool
	since  time.Time
	moved  int // bytes since then
}

var fastest widths

// moved notes that a read or a write moved n bytes.
func (w *widths) moved(target net.Conn, n int, now time.Time) {
	tcp, ok := beneath(target).(*net.TCPConn)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.find(tcp, now)
	if p == nil {
		return
	}
	if now.Sub(p.since) > fastTime {
		p.since, p.moved = now, 0
	}
	if p.moved += n; p.moved < fastBytes {
		return
	}
	p.since, p.moved = now, 0
	if !p.wide && w.count < widePlaces {
		p.wide = true
		w.count++
		setBuffers(tcp, wideBuffer)
	}
}

// find returns the place of target. A new one gets that of a target that is gone, or was not fast lately, if there is
// one.
func (w *widths) find(target *net.TCPConn, now time.Time) *width {
	var free *width
	for i := range w.seen {
		p := &w.seen[i]
		if p.target == target {
			return p
		}
		kept := fastTime
		if p.wide {
			kept = fastKept
		}
		if free == nil && (p.target == nil || now.Sub(p.since) > kept) {
			free = p
		}
	}
	if free != nil {
		w.clear(free, socketBuffer)
		*free = width{target: target, since: now}
	}
	return free
}

// forget is called when target is closed.
func (w *widths) forget(target net.Conn) {
	tcp, ok := beneath(target).(*net.TCPConn)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.seen {
		if w.seen[i].target == tcp {
			w.clear(&w.seen[i], 0)
		}
	}
}

// clear frees a place. Its target gets buffers of size, unless that is 0.
func (w *widths) clear(p *width, size int) {
	if p.wide {
		w.count--
		if size > 0 {
			setBuffers(p.target, size)
		}
	}
	*p = width{}
}

func setBuffers(tcp *net.TCPConn, size int) {
	_ = tcp.SetWriteBuffer(size)
	_ = tcp.SetReadBuffer(size)
}
