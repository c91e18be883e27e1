package harness

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

// Pattern is one direction's stream.
type Pattern uint64

// NewPattern returns the stream of a connection's direction: 0 from the client, 1 from the target.
func NewPattern(connection uint64, direction uint64) Pattern {
	return Pattern(Mix(connection<<1 | direction))
}

// Mix scatters similar numbers (the finalizer of splitmix64).
func Mix(x uint64) uint64 {
	x += step
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// Fill writes the stream's bytes from an offset on.
func (p Pattern) Fill(b []byte, offset int64) {
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

// Check compares what arrived at an offset with the stream. want is room for as many bytes.
func (p Pattern) Check(got, want []byte, offset int64) error {
	want = want[:len(got)]
	p.Fill(want, offset)
	if bytes.Equal(got, want) {
		return nil
	}
	i := 0
	for got[i] == want[i] {
		i++
	}
	return &WrongByte{At: offset + int64(i), Got: got[i], Want: want[i], Belongs: p.locate(got[i:])}
}

// locate finds where in the stream b's first byte belongs; -1 if nowhere near.
func (p Pattern) locate(b []byte) int64 {
	for skip := 0; skip < wordSize && skip+wordSize <= len(b); skip++ {
		word := (binary.LittleEndian.Uint64(b[skip:]) - uint64(p)) * inverse
		if word < 1<<40 {
			return int64(word)*wordSize - int64(skip)
		}
	}
	return -1
}

// WrongByte is the first byte of a stream that is not what was sent.
type WrongByte struct { //nolint:errname // it names the finding
	At        int64
	Got, Want byte
	Belongs   int64 // the position that it was sent at, -1 if unknown
}

func (w *WrongByte) Error() string {
	text := fmt.Sprintf("byte %d is %#02x and must be %#02x", w.At, w.Got, w.Want)
	switch {
	case w.Belongs > w.At:
		return fmt.Sprintf("%s: %d bytes are missing", text, w.Belongs-w.At)
	case w.Belongs >= 0:
		return fmt.Sprintf("%s: %d bytes came twice", text, w.At-w.Belongs)
	}
	return text + ": it is of no position of this stream"
}
