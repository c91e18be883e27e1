package stream

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// The charge is what the inbox holds of memory, the chunk that is being written included, and growth tells
// it beforehand. Bytes come out as they went in.
func TestInbox(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 9))
	for _, most := range []int{3, 600, 5000, frame.MaxPayload, frame.MaxMessage} {
		t.Run(fmt.Sprintf("pieces up to %d bytes", most), func(t *testing.T) {
			var q inbox
			var waits [][]byte // what went in and has not come out
			in, out := 0, 0
			compare := func(b []byte) {
				out += len(b)
				for len(b) > 0 && len(waits) > 0 {
					n := min(len(b), len(waits[0]))
					if !bytes.Equal(b[:n], waits[0][:n]) {
						t.Fatalf("other bytes came out than went in, among the %d before byte %d", n, out)
					}
					if b, waits[0] = b[n:], waits[0][n:]; len(waits[0]) == 0 {
						waits = waits[1:]
					}
				}
			}
			var taken *chunk
			held := func() (n int) {
				for _, c := range q.chunks {
					n += cap(c.b)
				}
				if taken != nil {
					n += cap(taken.b)
				}
				return n
			}
			all := noise(most+1000, 5)
			for range 2000 {
				from := r.IntN(1000)
				if p := all[from : from+1+r.IntN(most)]; r.IntN(3) > 0 && in-out < inboxLimit {
					grow, before := q.growth(len(p)), q.charged
					q.put(p)
					in, waits = in+len(p), append(waits, p)
					if q.charged-before != grow {
						t.Fatalf("grown by %d bytes, foretold %d", q.charged-before, grow)
					}
				}
				if r.IntN(2) == 0 && taken == nil && !q.empty() {
					taken = q.take()
				}
				if r.IntN(2) == 0 && taken != nil {
					compare(taken.b)
					q.release(taken)
					taken = nil
				}
				if n := held(); n != q.charged {
					t.Fatalf("%d bytes are held and %d charged", n, q.charged)
				}
			}
			if taken != nil {
				compare(taken.b)
				q.release(taken)
				taken = nil
			}
			for !q.empty() {
				c := q.take()
				compare(c.b)
				q.release(c)
			}
			if in != out || q.charged != 0 {
				t.Errorf("%d bytes went in, %d came out, %d remain charged", in, out, q.charged)
			}
		})
	}
}

// A byte in an idle inbox costs a small chunk, a flood of single bytes no more than their sum.
func TestTheCostOfSmallFrames(t *testing.T) {
	var q inbox
	q.put([]byte{1})
	if q.charged != smallChunk {
		t.Errorf("%d bytes are charged for one", q.charged)
	}
	for range 200_000 {
		q.put([]byte{1})
	}
	if q.charged > 200_000+smallChunk+largeChunk {
		t.Errorf("%d bytes are charged for 200,001", q.charged)
	}
	q.clear()
	if q.charged != 0 || !q.empty() {
		t.Errorf("%d bytes are charged for nothing", q.charged)
	}
}

func TestFormsAreNamed(t *testing.T) {
	for form, want := range map[Form]string{V1: "V1", V2: "V2", V3: "V3", {Connection: true}: "V3 without services"} {
		if form.String() != want {
			t.Errorf("%+v is called %s, want %s", form, form, want)
		}
	}
}
