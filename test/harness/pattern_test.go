package harness

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestAStreamIsTheSameInAnyPieces(t *testing.T) {
	p := NewPattern(7, 1)
	whole := make([]byte, 10_000)
	p.Fill(whole, 0)
	r := rand.New(rand.NewPCG(1, 1))
	var pieces []byte
	for len(pieces) < len(whole) {
		b := make([]byte, min(r.IntN(40), len(whole)-len(pieces)))
		p.Fill(b, int64(len(pieces)))
		pieces = append(pieces, b...)
	}
	if !bytes.Equal(whole, pieces) {
		t.Error("cut into pieces it is another")
	}
	other := make([]byte, len(whole))
	for _, q := range []Pattern{NewPattern(7, 0), NewPattern(8, 1)} {
		if q.Fill(other, 0); bytes.Equal(whole[:8], other[:8]) {
			t.Error("two streams begin alike")
		}
	}
}

func TestAWrongByteIsNamed(t *testing.T) {
	p := NewPattern(7, 1)
	const at = 1003 // in the middle of a word
	tests := []struct {
		name   string
		damage func(b []byte) []byte
		want   string
	}{
		{"nothing is wrong", func(b []byte) []byte { return b }, ""},
		{"a bit", func(b []byte) []byte { b[at] ^= 4; return b }, "byte 1003 is"},
		{"bytes lost", func(b []byte) []byte { return append(b[:at], b[at+77:]...) }, "77 bytes are missing"},
		{"bytes twice", func(b []byte) []byte { return append(b[:at:at], b[at-64:]...) }, "64 bytes came twice"},
		{"another connection's", func(b []byte) []byte {
			NewPattern(8, 1).Fill(b[at:], at)
			return b
		}, "it is of no position of this stream"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := make([]byte, 4000)
			p.Fill(b, 0)
			b = tt.damage(b)
			err := p.Check(b, make([]byte, len(b)), 0)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var wrong *WrongByte
			if !errors.As(err, &wrong) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
