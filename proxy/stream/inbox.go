package stream

import (
	"slices"
	"sync"
	"time"
)

// inbox holds what arrived for one target and is not yet written. Memory is charged by whole chunks,
// so that a flood of tiny frames costs what it takes.
type inbox struct {
	chunks   []*chunk
	charged  int // bytes of all chunks, the one being written included
	conn     *connection
	progress time.Time // when the target last took something, or the dial began
}

type chunk struct {
	b    []byte // what is used of the backing array
	done int    // how much of it is written
	pool *sync.Pool
}

var smallChunks, largeChunks sync.Pool

func newChunk(size int) *chunk {
	pool := &largeChunks
	if size <= smallChunk {
		size, pool = smallChunk, &smallChunks
	} else {
		size = largeChunk
	}
	if c, ok := pool.Get().(*chunk); ok {
		return c
	}
	return &chunk{b: make([]byte, 0, size), pool: pool}
}

func (q *inbox) empty() bool { return len(q.chunks) == 0 }

// growth is how many more bytes are charged when n more bytes are put in.
func (q *inbox) growth(n int) int {
	if len(q.chunks) > 0 {
		last := q.chunks[len(q.chunks)-1]
		n -= cap(last.b) - len(last.b)
	}
	switch {
	case n <= 0:
		return 0
	case n <= smallChunk && len(q.chunks) == 0:
		return smallChunk
	}
	return largeChunk
}

// put copies p to the end. p is one frame's payload, less than a large chunk.
func (q *inbox) put(p []byte) {
	if len(q.chunks) > 0 {
		last := q.chunks[len(q.chunks)-1]
		n := min(len(p), cap(last.b)-len(last.b))
		last.b = append(last.b, p[:n]...)
		p = p[n:]
	}
	if len(p) == 0 {
		return
	}
	size := largeChunk
	if len(q.chunks) == 0 {
		size = len(p)
	}
	c := newChunk(size)
	c.b = append(c.b[:0], p...)
	q.chunks = append(q.chunks, c)
	q.charged += cap(c.b)
}

// putFirst copies p to the front.
func (q *inbox) putFirst(p []byte) {
	c := newChunk(len(p))
	c.b = append(c.b[:0], p...)
	q.chunks = slices.Insert(q.chunks, 0, c)
	q.charged += cap(c.b)
}

// take removes the first chunk; it stays charged until release.
func (q *inbox) take() *chunk {
	c := q.chunks[0]
	n := copy(q.chunks, q.chunks[1:])
	q.chunks[n] = nil
	q.chunks = q.chunks[:n]
	return c
}

// untake puts a chunk back that was taken and not written to its end.
func (q *inbox) untake(c *chunk) { q.chunks = slices.Insert(q.chunks, 0, c) }

// release gives a taken chunk back.
func (q *inbox) release(c *chunk) {
	q.charged -= cap(c.b)
	c.free()
}

func (c *chunk) free() {
	c.b, c.done = c.b[:0], 0
	c.pool.Put(c)
}

// clear drops all that waits.
func (q *inbox) clear() {
	for !q.empty() {
		q.release(q.take())
	}
}
