package resume

import (
	"slices"
	"sync"
)

// Chunks of a buffer, in bytes: keystrokes, the beginning of something, bulk.
const (
	smallChunk  = 2 << 10
	mediumChunk = 16 << 10
	largeChunk  = 64 << 10
)

// Block is memory that bytes are kept in. New bytes are read straight into one and sent from there, so that keeping them
// for replay costs no copy. The Stream that keeps it and the sender each hold it; the last one to let go of it gives
// it back. It is guarded as the Stream is.
type Block struct {
	memory []byte
	b      []byte // what is used of it; more may follow within its capacity
	holds  int
	pool   *sync.Pool
}

var smallChunks, mediumChunks, largeChunks sync.Pool

func newBlock(size int) *Block {
	pool := &largeChunks
	switch size {
	case smallChunk:
		pool = &smallChunks
	case mediumChunk:
		pool = &mediumChunks
	}
	c, ok := pool.Get().(*Block)
	if !ok {
		c = &Block{memory: make([]byte, size), pool: pool}
	}
	c.b, c.holds = c.memory[:0], 1
	return c
}

// NewBlock returns a Block for up to n new bytes with so many before and behind them, and nil where they would leave too
// much of it unused. The caller holds it.
func NewBlock(n, overhead int) *Block {
	size := largeChunk
	if n+overhead <= mediumChunk {
		size = mediumChunk
	}
	if n+overhead > size || !fills(n, size) {
		return nil
	}
	return newBlock(size)
}

// fills reports whether n bytes are enough of a block to keep it for them.
func fills(n, size int) bool { return 2*n >= size }

// Memory is all of it.
func (c *Block) Memory() []byte { return c.memory }

// Release lets go of it.
func (c *Block) Release() {
	if c.holds--; c.holds == 0 {
		c.b = nil
		c.pool.Put(c)
	}
}

// buffer is a queue of bytes in pooled chunks. An empty one holds none.
type buffer struct {
	mem    *Memory
	chunks []*Block
	done   int // bytes of the first chunk that are dropped
	size   int
}

// put copies p to the end. Without force it takes nothing where the memory does not allow it.
func (q *buffer) put(p []byte, force bool) bool {
	free, before := 0, len(q.chunks)
	if before > 0 {
		last := q.chunks[before-1]
		free = cap(last.b) - len(last.b)
	}
	more := len(p) - free
	var size int
	switch {
	case more <= 0:
	case q.size == 0 && more <= smallChunk:
		size = smallChunk
	case q.size+more <= 2*mediumChunk:
		size = mediumChunk
	default:
		size = largeChunk
	}
	if more > 0 {
		n := (more + size - 1) / size
		if !q.mem.Take(n*size, force) {
			return false
		}
		for range n {
			q.chunks = append(q.chunks, newBlock(size))
		}
	}
	q.size += len(p)
	for i := max(before-1, 0); len(p) > 0; i++ {
		c := q.chunks[i]
		n := min(len(p), cap(c.b)-len(c.b))
		c.b = append(c.b, p[:n]...)
		p = p[n:]
	}
	return true
}

// keep puts p, which is in c, at the end without copying it. It reports whether it is enough of c.
func (q *buffer) keep(c *Block, p []byte) bool {
	if !fills(len(p), len(c.memory)) {
		return false
	}
	q.mem.Take(len(c.memory), true)
	c.b = slices.Clip(p)
	c.holds++
	q.chunks = append(q.chunks, c)
	q.size += len(p)
	return true
}

// drop forgets n bytes at the front.
func (q *buffer) drop(n int) {
	q.size -= n
	q.done += n
	k := 0
	for k < len(q.chunks) && q.done >= len(q.chunks[k].b) {
		c := q.chunks[k]
		q.done -= len(c.b)
		q.mem.Give(len(c.memory))
		c.Release()
		k++
	}
	if k > 0 {
		m := copy(q.chunks, q.chunks[k:])
		clear(q.chunks[m:])
		q.chunks = q.chunks[:m]
	}
}

func (q *buffer) clear() { q.drop(q.size) }

// each calls f with the bytes from offset from to the end, piece by piece, until f returns false.
func (q *buffer) each(from int, f func([]byte) bool) {
	from += q.done
	for _, c := range q.chunks {
		if from >= len(c.b) {
			from -= len(c.b)
			continue
		}
		if !f(c.b[from:]) {
			return
		}
		from = 0
	}
}

// copyAt copies bytes from offset from to dst and returns how many.
func (q *buffer) copyAt(from int, dst []byte) int {
	from += q.done
	n := 0
	for _, c := range q.chunks {
		if from >= len(c.b) {
			from -= len(c.b)
			continue
		}
		n += copy(dst[n:], c.b[from:])
		if n == len(dst) {
			break
		}
		from = 0
	}
	return n
}
