package holder

import (
	"io"
	"net"
	"testing"
)

// said is a connection whose reads are scripted: what they return, and whether the other end is known for a Culvert then.
type said struct {
	net.Conn

	reads []struct {
		text    string
		culvert bool
	}
	culvert bool
}

func (s *said) Read(p []byte) (int, error) {
	if len(s.reads) == 0 {
		return 0, io.EOF
	}
	next := s.reads[0]
	s.reads, s.culvert = s.reads[1:], next.culvert
	if next.text == "" {
		return 0, io.EOF
	}
	return copy(p, next.text), nil
}

func (s *said) IsCulvert() bool { return s.culvert }

// A service is learned once it has answered through a Culvert. The service may be faster than the word that it is one.
func TestAServiceIsLearnedWhenACulvertShows(t *testing.T) {
	type reads = []struct {
		text    string
		culvert bool
	}
	for name, tt := range map[string]struct {
		reads reads
		want  int
	}{
		"at once":           {reads{{"a", true}, {"b", true}, {"", true}}, 1},
		"after a byte":      {reads{{"a", false}, {"b", true}, {"", true}}, 1},
		"at the end":        {reads{{"a", false}, {"", true}}, 1},
		"never":             {reads{{"a", false}, {"", false}}, 0},
		"without an answer": {reads{{"", true}}, 0},
	} {
		learned := 0
		if _, err := io.Copy(io.Discard, &learning{Conn: &said{reads: tt.reads}, first: func() { learned++ }}); err != nil || learned != tt.want {
			t.Errorf("%s: learned %d times, %v; want %d", name, learned, err, tt.want)
		}
	}
}
