package demo

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"math/rand/v2"
)

// errWrong is a byte that is not the one that was sent.
var errWrong = errors.New("a wrong byte arrived")

// pattern is the content of one flow: pseudo-random bytes that only this flow has, so that a byte that is lost,
// repeated, late or another flow's is noticed where it stands. Each end generates it; it is never sent twice.
type pattern struct {
	source *rand.ChaCha8
	sum    hash.Hash // of everything so far
	buf    []byte
}

func newPattern(flow uint64) *pattern {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], flow)
	return &pattern{source: rand.NewChaCha8(seed), sum: sha256.New()}
}

// next returns the next n bytes; they are good until the next call.
func (p *pattern) next(n int) []byte {
	if cap(p.buf) < n {
		p.buf = make([]byte, n)
	}
	b := p.buf[:n]
	_, _ = p.source.Read(b) // never fails
	_, _ = p.sum.Write(b)   // never fails
	return b
}

// check returns how many of the bytes that arrived are the expected ones, and errWrong unless all are. It adds all
// that arrived to the checksum.
func (p *pattern) check(arrived []byte) (int, error) {
	if cap(p.buf) < len(arrived) {
		p.buf = make([]byte, len(arrived))
	}
	want := p.buf[:len(arrived)]
	_, _ = p.source.Read(want)
	_, _ = p.sum.Write(arrived)
	if bytes.Equal(want, arrived) {
		return len(arrived), nil
	}
	n := 0
	for want[n] == arrived[n] {
		n++
	}
	return n, errWrong
}

// digest is the SHA-256 of everything so far.
func (p *pattern) digest() []byte { return p.sum.Sum(nil) }
