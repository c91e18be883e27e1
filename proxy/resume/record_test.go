package resume

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A vector is a file of testdata/vectors: the record in hex, and what it must be taken for.
type vector struct {
	name   string
	record []byte
	expect string
}

func vectors(tb testing.TB) []vector {
	tb.Helper()
	files, err := filepath.Glob("testdata/vectors/*.txt")
	if err != nil || len(files) < 20 {
		tb.Fatalf("%d vectors: %v", len(files), err)
	}
	var all []vector
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		v := vector{name: strings.TrimSuffix(filepath.Base(file), ".txt")}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if after, ok := strings.CutPrefix(line, "expect: "); ok {
				v.expect = after
			} else if !strings.Contains(line, ":") {
				b, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
				if err != nil {
					tb.Fatalf("%s: %v", file, err)
				}
				v.record = append(v.record, b...)
			}
		}
		if v.expect == "" {
			tb.Fatalf("%s: no expect", file)
		}
		all = append(all, v)
	}
	return all
}

func describe(r *Record) string {
	switch r.Type {
	case Hello:
		return fmt.Sprintf("hello version=%d capabilities=%d id=%x at=%x/%d limit=%d", r.Version, r.Capabilities, r.ID, r.At.Instance, r.At.Accepted, r.Limit)
	case Open:
		return fmt.Sprintf("open id=%x at=%x/%d limit=%d", r.ID, r.At.Instance, r.At.Accepted, r.Limit)
	case Resume:
		return fmt.Sprintf("resume id=%x received=%d sum=%08x limit=%d", r.ID, r.Received, r.Sum, r.Limit)
	case Attached:
		return fmt.Sprintf("attached received=%d sum=%08x limit=%d at=%x/%d", r.Received, r.Sum, r.Limit, r.At.Instance, r.At.Accepted)
	case Unopened:
		return fmt.Sprintf("unopened at=%x/%d", r.At.Instance, r.At.Accepted)
	case Gone:
		return fmt.Sprintf("gone reason=%d", byte(r.Reason))
	case Bytes:
		return fmt.Sprintf("bytes data=%x", r.Data)
	case BytesFull:
		return fmt.Sprintf("bytes-full data=%x", r.Data)
	case Credit:
		return fmt.Sprintf("credit received=%d limit=%d", r.Received, r.Limit)
	case End:
		return fmt.Sprintf("end total=%d sum=%08x", r.Total, r.Sum)
	case Close:
		return fmt.Sprintf("close reason=%d", byte(r.Reason))
	case Ping:
		return "ping"
	default:
		return fmt.Sprintf("skippable type=%d", byte(r.Type))
	}
}

func TestRecordVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.name, func(t *testing.T) {
			var r Record
			err := r.Parse(v.record)
			if v.expect == "malformed" {
				if !errors.Is(err, ErrMalformed) {
					t.Fatalf("Parse: %v, want malformed", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(&r); got != v.expect {
				t.Fatalf("parsed %s, want %s", got, v.expect)
			}
			if again := r.Append(nil); !bytes.Equal(again, v.record) {
				t.Fatalf("appended %x, want %x", again, v.record)
			}
		})
	}
}

func TestRecordTypesOnTheWire(t *testing.T) {
	for want, got := range []Type{0, Hello, Open, Resume, Attached, Gone, Bytes, BytesFull, Credit, End, Close, Ping, Unopened} {
		if int(got) != want {
			t.Errorf("type %d is %d on the wire", want, got)
		}
	}
	for want, got := range []Reason{Done, Reset, Refused, LimitHit, Stopped, Unknown, Protocol, OutOfMemory} {
		if int(got) != want {
			t.Errorf("reason %d is %d on the wire", want, got)
		}
	}
}

func TestRecordsAllocateNothing(t *testing.T) {
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		r := Record{Type: Resume, Received: 1 << 40, Limit: 1 << 41}
		b := r.Append(buf)
		if r.Parse(b) != nil {
			t.Error("does not parse")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRecord(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.record)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var r Record
		if r.Parse(p) != nil {
			return
		}
		if again := r.Append(nil); !bytes.Equal(again, p) {
			t.Fatalf("parsed %x, appended %x", p, again)
		}
		if r.Data == nil && len(p) > MaxOverhead {
			t.Fatalf("record of %d bytes", len(p))
		}
	})
}

// The far end may send any records in any order. Whatever it does, what is kept stays bounded and is given back, and
// what the application gets is what the counters say.
func FuzzRecordOrder(f *testing.F) {
	add := func(mode byte, records ...Record) {
		script := []byte{mode}
		for _, r := range records {
			b := r.Append(nil)
			script = append(append(script, byte(len(b))), b...)
		}
		f.Add(script)
	}
	data := Record{Type: Bytes, Data: []byte("hello")}
	add(0, Record{Type: Open, ID: ID{1}, Limit: InitialCredit}, data, Record{Type: Credit, Limit: InitialCredit})
	add(1, Record{Type: Hello, Version: 1, ID: ID{1}, Limit: InitialCredit}, data, Record{Type: Close})
	add(2, Record{Type: Attached, Limit: InitialCredit}, data, Record{Type: End, Total: 5})
	add(2, Record{Type: Attached, Received: 100, Limit: InitialCredit})
	add(3, Record{Type: Resume, ID: ID{1}, Limit: InitialCredit}, Record{Type: Resume, ID: ID{1}})
	add(2, Record{Type: Gone, Reason: Unknown}, data)
	add(2, Record{Type: Unopened, At: Address{Accepted: 3}}, data)
	add(4, Record{Type: Attached, Received: 10, Limit: InitialCredit}, data)
	add(4, Record{Type: Unopened}, data)
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) == 0 {
			return
		}
		memory := NewMemory(1 << 20)
		s := New(memory)
		accepted := true
		switch script[0] % 5 {
		case 0:
			accepted = false
		case 1:
			s.Negotiate()
		case 2:
			s.Open(ID{1}, somewhere)
			s.Fill(make([]byte, 1), []byte("some bytes"), s.Sum([]byte("some bytes")))
			s.Resume()
		case 3:
			s.Open(ID{1}, somewhere)
			s.Fill(make([]byte, 1), []byte("some bytes"), s.Sum([]byte("some bytes")))
			s.Detach()
			accepted = false
		}
		if script[0]%5 == 4 {
			s.Open(ID{1}, somewhere)
			s.Next(make([]byte, 0, MaxOverhead))
			s.Fill(make([]byte, 1), []byte("some bytes"), s.Sum([]byte("some bytes")))
		}
		heard := 0
		script = script[1:]
		for len(script) > 0 {
			n := min(int(script[0]), len(script)-1)
			p := script[1 : 1+n]
			script = script[1+n:]
			if s.in == plain && s.id == (ID{}) {
				if !s.Answer(p) {
					break
				}
				continue
			}
			if !accepted {
				var r Record
				if r.Parse(p) != nil || r.Type != Open && r.Type != Resume || (r.Type == Resume || s.Speaks()) && s.id != r.ID || s.Accept(&r, Address{}) != nil {
					break
				}
				accepted = true
				continue
			}
			data, err := s.Receive(p)
			if err != nil {
				break
			}
			heard += len(data)
			s.Took(len(data) / 2)
			for range 4 {
				if _, ok := s.Next(make([]byte, 0, 64)); !ok {
					break
				}
			}
			if room := min(s.Room(), 10); room > 0 {
				s.Fill(make([]byte, s.Head()), make([]byte, room), s.Sum(make([]byte, room)))
			}
			if s.limit > maxOffset || s.acked > s.sent || s.kept > s.sent || s.next > s.sent || s.taken > s.received {
				t.Fatalf("counters: %+v", s)
			}
		}
		if uint64(heard) != s.received {
			t.Fatalf("%d bytes for the application, %d counted", heard, s.received)
		}
		s.Release()
		if memory.Used() != 0 || memory.promised != 0 {
			t.Fatalf("memory: %+v", memory)
		}
	})
}
