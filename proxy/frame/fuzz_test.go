package frame

import (
	"bytes"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seed adds every vector's bytes, those of streams and those of messages.
func seed(f *testing.F, add func(v vector)) {
	f.Helper()
	for _, v := range vectors(f) {
		if len(v.body) < 4096 { // the mutator gets nowhere with the long ones
			add(v)
		}
	}
}

// FuzzMessage: decoding never panics, decode -> encode -> decode is the identity, and what an encoder
// wrote is encoded to the same bytes again.
func FuzzMessage(f *testing.F) {
	seed(f, func(v vector) { f.Add(v.body) })
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again Message
		input := bytes.Clone(b)
		err := m.Unmarshal(b)
		if !bytes.Equal(input, b) {
			t.Fatal("decoding changed its input")
		}
		if err != nil {
			return
		}
		encoded := m.Append(nil)
		if len(encoded) > len(b) && m.StreamID >= 0 && m.Type >= 0 { // negative numbers may have come in five bytes
			t.Errorf("%d bytes are encoded as %d", len(b), len(encoded))
		}
		if err := again.Unmarshal(encoded); err != nil {
			t.Fatalf("decode what was encoded: %v", err)
		}
		if diff := cmp.Diff(m, again, alike); diff != "" {
			t.Errorf("decode, encode, decode (-first +second):\n%s", diff)
		}
		if twice := again.Append(nil); !bytes.Equal(encoded, twice) {
			t.Errorf("canonical bytes changed:\n%x\n%x", encoded, twice)
		}
		framed, err := m.AppendFrame([]byte{1})
		if err != nil {
			if len(encoded) <= MaxMessage && len(m.Payload) <= MaxPayload {
				t.Errorf("frame of %d bytes: %v", len(encoded), err)
			}
			return
		}
		if n := int(framed[1])<<8 | int(framed[2]); n != len(encoded) || !bytes.Equal(framed[3:], encoded) {
			t.Errorf("framed with length %d: %x, encoded %x", n, framed, encoded)
		}
	})
}

// FuzzReader: a stream of any bytes, in any cuts, gives the same messages and the same end as in one piece.
func FuzzReader(f *testing.F) {
	seed(f, func(v vector) {
		b := v.body
		if !v.stream {
			b = append([]byte{byte(len(b) >> 8), byte(len(b))}, b...)
		}
		f.Add(b, []byte{0, 1, 2, 200})
	})
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		whole := readAll(bytes.NewReader(stream))
		if diff := cmp.Diff(whole, readAll(&cut{b: stream, cuts: cuts})); diff != "" {
			t.Errorf("in one piece and in pieces (-one +pieces):\n%s", diff)
		}
	})
}

// cut hands its bytes out in pieces of the given sizes, over and over. A piece may be empty; the last one
// comes together with the end.
type cut struct {
	b    []byte
	cuts []byte
	next int
}

func (c *cut) Read(p []byte) (int, error) {
	n := len(c.b)
	if len(c.cuts) > 0 {
		n = int(c.cuts[c.next%len(c.cuts)])
		if c.next++; c.next%64 == 0 {
			n++ // all zeros would never end
		}
	}
	n = copy(p, c.b[:min(n, len(c.b))])
	c.b = c.b[n:]
	if len(c.b) == 0 {
		return n, io.EOF
	}
	return n, nil
}
