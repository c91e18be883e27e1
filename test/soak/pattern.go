package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Every byte of a direction of a connection says where it belongs: the stream is made of 8-byte words, each of
// them a function of the stream's key and of its own position. A word that is seen tells which position it was made
// for, so that a wrong byte can be told from bytes that are missing, that came twice or that are another's.
const (
	wordSize = 8
	step     = 0x9E3779B97F4A7C15 // odd: each position has a word of its own
)

// inverse of step modulo 2^64, by Newton's iteration.
var inverse = func() uint64 {
	x := uint64(step)
	for range 6 {
		x *= 2 - step*x
	}
	return x
}()

// pattern is one direction's stream.
type pattern uint64

// newPattern returns the stream of a connection's direction: 0 from the client, 1 from the target.
func newPattern(connection uint64, direction uint64) pattern {
	return pattern(mix(connection<<1 | direction))
}

// mix scatters similar numbers (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x += step
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// fill writes the stream's bytes from an offset on.
func (p pattern) fill(b []byte, offset int64) {
	word := uint64(offset) / wordSize //nolint:gosec // offsets are not negative
	value := uint64(p) + word*step
	if skip := int(offset % wordSize); skip > 0 {
		var w [wordSize]byte
		binary.LittleEndian.PutUint64(w[:], value)
		b = b[copy(b, w[skip:]):]
		value += step
	}
	for ; len(b) >= wordSize; b = b[wordSize:] {
		binary.LittleEndian.PutUint64(b, value)
		value += step
	}
	if len(b) > 0 {
		var w [wordSize]byte
		binary.LittleEndian.PutUint64(w[:], value)
		copy(b, w[:])
	}
}

// check compares what arrived at an offset with the stream. want is room for as many bytes.
func (p pattern) check(got, want []byte, offset int64) error {
	want = want[:len(got)]
	p.fill(want, offset)
	if bytes.Equal(got, want) {
		return nil
	}
	i := 0
	for got[i] == want[i] {
		i++
	}
	return &wrongByte{at: offset + int64(i), got: got[i], want: want[i], belongs: p.locate(got[i:])}
}

// locate finds where in the stream b's first byte belongs; -1 if nowhere near.
func (p pattern) locate(b []byte) int64 {
	for skip := 0; skip < wordSize && skip+wordSize <= len(b); skip++ {
		word := (binary.LittleEndian.Uint64(b[skip:]) - uint64(p)) * inverse
		if word < 1<<40 {
			return int64(word)*wordSize - int64(skip)
		}
	}
	return -1
}

// wrongByte is the first byte of a stream that is not what was sent.
type wrongByte struct { //nolint:errname // it names the finding
	at        int64
	got, want byte
	belongs   int64 // the position that it was sent at, -1 if unknown
}

func (w *wrongByte) Error() string {
	text := fmt.Sprintf("byte %d is %#02x and must be %#02x", w.at, w.got, w.want)
	switch {
	case w.belongs > w.at:
		return fmt.Sprintf("%s: %d bytes are missing", text, w.belongs-w.at)
	case w.belongs >= 0:
		return fmt.Sprintf("%s: %d bytes came twice", text, w.at-w.belongs)
	}
	return text + ": it is of no position of this stream"
}
