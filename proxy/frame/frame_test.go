package frame

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestWireValues pins what the protocol fixes: changing any of these breaks every peer.
func TestWireValues(t *testing.T) {
	want := map[Type]string{
		0: "UNKNOWN", 1: "DATA", 2: "STREAM_START", 3: "STREAM_RESET", 4: "SESSION_RESET",
		5: "SERVICE_IDS", 6: "CONNECTION_START", 7: "CONNECTION_RESET", 8: "TYPE_8", -1: "TYPE_-1",
	}
	for value, name := range want {
		if value.String() != name {
			t.Errorf("type %d is called %s, want %s", int32(value), value, name)
		}
	}
	if MaxPayload != 64512 || MaxWebsocketMessage != 131076 || MaxFrame != 65537 {
		t.Error("a limit of the protocol has changed")
	}
}

// random returns a message whose fields are at their borders as often as not.
func random(r *rand.Rand) Message {
	number := func() int32 {
		return []int32{0, 1, 2, 127, 128, 65535, 1<<31 - 1, -1, -1 << 31, r.Int32()}[r.IntN(10)]
	}
	text := func() string {
		n := []int{0, 1, 3, 127, 128, r.IntN(128)}[r.IntN(6)]
		return strings.Repeat(string("aZ9:_-"[r.IntN(6)]), n)
	}
	m := Message{Type: Type(number()), StreamID: number(), Ignorable: r.IntN(2) == 0, ServiceID: text(), ConnectionID: uint32(number())}
	for range r.IntN(4) {
		m.AvailableServiceIDs = append(m.AvailableServiceIDs, text())
	}
	m.Payload = make([]byte, []int{0, 1, 127, 128, 16383, 16384, MaxPayload - 1, MaxPayload, r.IntN(MaxPayload)}[r.IntN(9)])
	for i := range m.Payload {
		m.Payload[i] = byte(r.Uint32())
	}
	return m
}

func TestFramesSurviveAnyCutOfTheStream(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var want []Message
	var stream []byte
	for range 300 {
		m := random(r)
		var err error
		if stream, err = m.AppendFrame(stream); err != nil {
			t.Fatal(err)
		}
		want = append(want, m)
	}
	sources := map[string]io.Reader{
		"whole":           bytes.NewReader(stream),
		"byte by byte":    iotest.OneByteReader(bytes.NewReader(stream)),
		"halves":          iotest.HalfReader(bytes.NewReader(stream)),
		"EOF with data":   iotest.DataErrReader(bytes.NewReader(stream)),
		"random pieces":   &pieces{r: r, b: stream, max: 131076},
		"pieces of few":   &pieces{r: r, b: stream, max: 70},
		"with no-op read": &pieces{r: r, b: stream, max: 5000, zero: true},
	}
	for name, src := range sources {
		t.Run(name, func(t *testing.T) {
			in := NewReader(src)
			var m Message
			for i := range want {
				if err := in.Next(&m); err != nil {
					t.Fatalf("message %d: %v", i, err)
				}
				if !bytes.Equal(want[i].Payload, m.Payload) {
					t.Fatalf("message %d: its payload of %d bytes arrived as other %d bytes", i, len(want[i].Payload), len(m.Payload))
				}
				if diff := cmp.Diff(want[i], m, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Message{}, "Payload")); diff != "" {
					t.Fatalf("message %d (-want +got):\n%s", i, diff)
				}
			}
			if err := in.Next(&m); !errors.Is(err, io.EOF) {
				t.Errorf("after the last frame: %v, want io.EOF", err)
			}
		})
	}
}

// pieces hands its bytes out in pieces of random size.
type pieces struct {
	r    *rand.Rand
	b    []byte
	max  int
	zero bool
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	if p.zero && p.r.IntN(3) == 0 {
		return 0, nil
	}
	n := copy(b, p.b[:min(len(p.b), 1+p.r.IntN(p.max))])
	p.b = p.b[n:]
	return n, nil
}

func TestAStreamThatEndsWithinAFrameIsNoCleanEnd(t *testing.T) {
	m := Message{Type: Data, StreamID: 1, Payload: []byte("hello")}
	whole, err := m.AppendFrame(nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < len(whole); n++ {
		if err := NewReader(bytes.NewReader(whole[:n])).Next(&m); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d bytes: %v, want io.ErrUnexpectedEOF", n, err)
		}
	}
}

func TestLargestLengthsDoNotWrap(t *testing.T) {
	for _, n := range []int{0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF} {
		// An unknown bytes field fills the message to exactly n bytes.
		body := append([]byte{0x7a}, byte(n-4)|0x80, byte((n-4)>>7)|0x80, byte((n-4)>>14))
		body = append(body, make([]byte, n-4)...)
		stream := append([]byte{byte(n >> 8), byte(n)}, body...)
		next := Message{Type: SessionReset}
		stream, err := next.AppendFrame(stream)
		if err != nil {
			t.Fatal(err)
		}
		in := NewReader(bytes.NewReader(stream))
		var m Message
		if err := in.Next(&m); err != nil {
			t.Errorf("length %#x: %v", n, err)
			continue
		}
		if err := in.Next(&m); err != nil || m.Type != SessionReset {
			t.Errorf("length %#x: the frame behind it is %v, %v", n, m.Type, err)
		}
	}
}

func TestWhatDoesNotFitIsRefusedAndLeavesTheBufferAlone(t *testing.T) {
	for name, m := range map[string]Message{
		"payload": {Type: Data, StreamID: 1, Payload: make([]byte, MaxPayload+1)},
		"message": {Type: ServiceIDs, AvailableServiceIDs: []string{strings.Repeat("a", MaxMessage-2-4+1)}},
	} {
		got, err := m.AppendFrame([]byte("before"))
		if !errors.Is(err, ErrTooLong) || string(got) != "before" {
			t.Errorf("%s: %q, %v", name, got[:min(len(got), 20)], err)
		}
	}
}

func TestTheLargestMessageThatFits(t *testing.T) {
	m := Message{Type: ServiceIDs, AvailableServiceIDs: []string{strings.Repeat("a", MaxMessage-2-4)}}
	whole, err := m.AppendFrame(nil)
	if err != nil || len(whole) != MaxFrame {
		t.Errorf("%d bytes, %v", len(whole), err)
	}
}

// A frame may end anywhere in the buffer, at its very end too.
func TestFramesAtTheBuffersEnd(t *testing.T) {
	for _, size := range []int{smallBuffer, largeBuffer} {
		for _, first := range []int{10, 1000, 3000} {
			for off := -3; off <= 3; off++ {
				var stream []byte
				add := func(size int) { // a frame of so many bytes
					size -= LengthSize
					m := Message{Payload: make([]byte, size)}
					for ; len(m.Append(nil)) > size; m.Payload = m.Payload[1:] {
					}
					stream, _ = m.AppendFrame(stream)
				}
				first := first
				if size == largeBuffer {
					first += 20_000
				}
				add(first)
				add(size - first + off)
				add(100)
				in := NewReader(&noRoom{t: t, src: bytes.NewReader(stream)})
				if size == largeBuffer {
					in.buf = make([]byte, largeBuffer)
				}
				var m Message
				for i := range 3 {
					if err := in.Next(&m); err != nil {
						t.Fatalf("buffer %d, first frame %d, end %+d: frame %d: %v", size, first, off, i, err)
					}
				}
			}
		}
	}
}

// noRoom fails when it is read into nothing: a reader that does so never gets on.
type noRoom struct {
	t   *testing.T
	src io.Reader
}

func (r *noRoom) Read(p []byte) (int, error) {
	if len(p) == 0 {
		r.t.Fatal("read without room")
	}
	return r.src.Read(p)
}

func TestEnclosedDataIsTheSameFrame(t *testing.T) {
	for _, n := range []int{1, 2, 127, 128, 16383, 16384, MaxPayload} {
		for _, stream := range []int32{1, 127, 128, 1<<31 - 1, -1, -1 << 31} {
			for _, service := range []string{"", "SSH", strings.Repeat("x", 128)} {
				for _, connection := range []uint32{0, 1, 127, 128, 1<<32 - 1} {
					payload := bytes.Repeat([]byte{0xa5}, n)
					want, err := (&Message{Type: Data, StreamID: stream, Payload: payload, ServiceID: service, ConnectionID: connection}).AppendFrame(nil)
					if err != nil {
						t.Fatal(err)
					}
					buf := make([]byte, HeaderRoom+n+TrailerRoom(service, connection))
					copy(buf[HeaderRoom:], payload)
					got := EncloseData(buf, n, stream, service, connection)
					if !bytes.Equal(want, got) {
						t.Fatalf("n=%d stream=%d service=%d bytes connection=%d: frames differ", n, stream, len(service), connection)
					}
				}
			}
		}
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	var stream []byte
	for i := range 4 {
		m := Message{Type: Data, StreamID: 7, Payload: make([]byte, 60000), ServiceID: []string{"SSH", "HTTP"}[i%2], ConnectionID: 3}
		stream, _ = m.AppendFrame(stream)
	}
	src := bytes.NewReader(stream)
	in := NewReader(src)
	var m Message
	read := func() {
		src.Reset(stream)
		for range 4 {
			if err := in.Next(&m); err != nil {
				t.Fatal(err)
			}
		}
	}
	read()
	if n := testing.AllocsPerRun(100, read); n != 0 {
		t.Errorf("reading 4 frames: %v allocations, want 0", n)
	}
	buf := make([]byte, HeaderRoom+MaxPayload+TrailerRoom("SSH", 3))
	if n := testing.AllocsPerRun(100, func() { EncloseData(buf, MaxPayload, 7, "SSH", 3) }); n != 0 {
		t.Errorf("enclosing a payload: %v allocations, want 0", n)
	}
	out := make([]byte, 0, MaxFrame)
	if n := testing.AllocsPerRun(100, func() { out, _ = m.AppendFrame(out[:0]) }); n != 0 {
		t.Errorf("encoding a frame: %v allocations, want 0", n)
	}
}

func TestAnIdleReaderGivesItsLargeBufferBack(t *testing.T) {
	var stream []byte
	big := Message{Type: Data, StreamID: 1, Payload: make([]byte, MaxPayload)}
	stream, _ = big.AppendFrame(stream)
	key := Message{Type: Data, StreamID: 1, Payload: []byte("k")}
	one, _ := key.AppendFrame(nil)
	in := NewReader(io.MultiReader(bytes.NewReader(stream), iotest.HalfReader(bytes.NewReader(bytes.Repeat(one, 5)))))
	var m Message
	if err := in.Next(&m); err != nil || len(in.buf) != largeBuffer {
		t.Fatalf("buffer of %d bytes after a full frame, %v", len(in.buf), err)
	}
	in.src = &single{b: one}
	for range 3 * shrinkAfter {
		if err := in.Next(&m); err != nil {
			t.Fatal(err)
		}
	}
	if len(in.buf) != smallBuffer {
		t.Errorf("buffer of %d bytes after many keystrokes, want %d", len(in.buf), smallBuffer)
	}
}

// single returns the same frame again and again, never two in one read.
type single struct {
	b    []byte
	next int
}

func (s *single) Read(p []byte) (int, error) {
	n := copy(p, s.b[s.next:])
	s.next = (s.next + n) % len(s.b)
	return n, nil
}

func BenchmarkReader(b *testing.B) {
	for name, size := range map[string]int{"63KiB": MaxPayload, "1KiB": 1024, "32B": 32} {
		b.Run(name, func(b *testing.B) {
			m := Message{Type: Data, StreamID: 7, Payload: make([]byte, size), ServiceID: "SSH", ConnectionID: 3}
			one, _ := m.AppendFrame(nil)
			in := NewReader(&single{b: one})
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := in.Next(&m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncloseData(b *testing.B) {
	buf := make([]byte, HeaderRoom+MaxPayload+TrailerRoom("SSH", 3))
	b.SetBytes(MaxPayload)
	b.ReportAllocs()
	for b.Loop() {
		EncloseData(buf, MaxPayload, 7, "SSH", 3)
	}
}
