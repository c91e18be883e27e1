package frame

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A vector is a file of testdata/vectors: a header of "key: value" lines, the bytes in hex, and what
// they must be taken for. In the hex, "#" starts a comment and "5a*3" stands for 5a 5a 5a.
type vector struct {
	file      string
	name, why string
	stream    bool // kind "stream": frames with their lengths; otherwise one message without
	canonical string
	body      []byte
	expect    []string
}

func vectors(tb testing.TB) []vector {
	tb.Helper()
	files, err := filepath.Glob("testdata/vectors/*.txt")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no vectors: %v", err)
	}
	var all []vector
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		v, err := parseVector(string(text))
		if err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		v.file = strings.TrimSuffix(filepath.Base(file), ".txt")
		all = append(all, v)
	}
	return all
}

func parseVector(text string) (v vector, err error) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
		key, value, header := strings.Cut(line, ": ")
		switch {
		case line == "" || line == "why:":
		case !header:
			if err := v.hex(line); err != nil {
				return v, err
			}
		case key == "name":
			v.name = value
		case key == "why":
			v.why = value
		case key == "kind":
			v.stream = value == "stream"
		case key == "canonical":
			v.canonical = value
		case key == "expect":
			v.expect = append(v.expect, value)
		default:
			return v, fmt.Errorf("unknown key %q", key)
		}
	}
	if v.name == "" || len(v.expect) == 0 {
		return v, errors.New("name or expect is missing")
	}
	return v, nil
}

func (v *vector) hex(line string) error {
	for word := range strings.FieldsSeq(line) {
		digits, count, repeated := strings.Cut(word, "*")
		n := 1
		if repeated {
			var err error
			if n, err = strconv.Atoi(count); err != nil {
				return err
			}
		}
		b, err := hex.DecodeString(digits)
		if err != nil {
			return fmt.Errorf("%q: %w", word, err)
		}
		v.body = append(v.body, bytes.Repeat(b, n)...)
	}
	return nil
}

// words is a message as the vectors write it.
func words(m *Message) string {
	w := []string{m.Type.String()}
	add := func(there bool, format string, args ...any) {
		if there {
			w = append(w, fmt.Sprintf(format, args...))
		}
	}
	add(m.StreamID != 0, "stream=%d", m.StreamID)
	add(m.Ignorable, "ignorable")
	add(len(m.Payload) > 0, "payload=%s", short(m.Payload, hex.EncodeToString))
	add(m.ServiceID != "", `service="%s"`, short([]byte(m.ServiceID), func(b []byte) string { return string(b) }))
	add(len(m.AvailableServiceIDs) > 0, "available=%q", m.AvailableServiceIDs)
	add(m.ConnectionID != 0, "connection=%d", m.ConnectionID)
	return strings.Join(w, " ")
}

// short writes a long run of one byte as that byte and the length.
func short(b []byte, text func([]byte) string) string {
	if len(b) > 16 && bytes.Count(b, b[:1]) == len(b) {
		return fmt.Sprintf("%s*%d", text(b[:1]), len(b))
	}
	return text(b)
}

// alike compares messages: absent and empty are the same. A payload is compared in one go, since cmp goes
// byte by byte.
var alike = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.FilterValues(func(a, b []byte) bool { return len(a)+len(b) > 0 }, cmp.Comparer(bytes.Equal)),
}

func endInWords(err error) string {
	switch {
	case errors.Is(err, ErrMalformed):
		return "malformed: " + strings.TrimPrefix(err.Error(), ErrMalformed.Error()+": ")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "unexpected end of stream"
	case errors.Is(err, io.EOF):
		return "end of stream"
	}
	return err.Error()
}

// readAll takes a stream apart; the last element is how it ended.
func readAll(src io.Reader) []string {
	in := NewReader(src)
	var all []string
	var m Message
	for {
		if err := in.Next(&m); err != nil {
			return append(all, endInWords(err))
		}
		all = append(all, words(&m))
	}
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.file, func(t *testing.T) {
			if v.stream {
				v.checkStream(t)
			} else {
				v.checkMessage(t)
			}
		})
	}
}

func (v *vector) checkStream(t *testing.T) {
	t.Helper()
	for name, src := range map[string]io.Reader{
		"whole":        bytes.NewReader(v.body),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(v.body)),
	} {
		if diff := cmp.Diff(v.expect, readAll(src)); diff != "" {
			t.Errorf("%s, %s (-want +got):\n%s", v.name, name, diff)
		}
	}
}

func (v *vector) checkMessage(t *testing.T) {
	t.Helper()
	// What a used Message held before must not show through.
	used := Message{Type: 9, StreamID: 9, Ignorable: true, Payload: []byte("x"), ServiceID: "x", AvailableServiceIDs: []string{"x"}, ConnectionID: 9}
	for name, m := range map[string]*Message{"a new message": {}, "a used message": &used} {
		err := m.Unmarshal(v.body)
		got := words(m)
		if err != nil {
			got = endInWords(err)
		}
		if diff := cmp.Diff(v.expect, []string{got}); diff != "" {
			t.Errorf("%s, into %s (-want +got):\n%s", v.name, name, diff)
		}
	}
	if v.canonical == "" {
		return
	}
	var m Message
	if err := m.Unmarshal(v.body); err != nil {
		t.Fatal(err)
	}
	if same := bytes.Equal(m.Append(nil), v.body); same != (v.canonical == "yes") {
		t.Errorf("encoded again the bytes are the same: %v, want %v", same, v.canonical == "yes")
	}
}
