package harness

import (
	"slices"
	"testing"
)

func TestAScreenShowsWhatATerminalWould(t *testing.T) {
	for name, c := range map[string]struct {
		written string
		want    []string
		wrapped int
	}{
		"lines":                {"one\r\ntwo\r\n", []string{"one", "two"}, 0},
		"a line taken back":    {"\rwaiting\r       \rdone\r\n", []string{"done"}, 0},
		"a line feed alone":    {"one\ntwo", []string{"one", "   two"}, 0},
		"colours":              {"\x1b[32m✓\x1b[0m fine", []string{"✓ fine"}, 0},
		"erased to the end":    {"long\r\x1b[Kab", []string{"ab"}, 0},
		"a new picture":        {"old\x1b[2J\x1b[Hnew", []string{"new"}, 0},
		"as wide as it is":     {"0123456789\r\nx", []string{"0123456789", "x"}, 0},
		"wider":                {"0123456789a", []string{"0123456789", "a"}, 1},
		"nothing at the end":   {"a\r\n\r\n  \r\n", []string{"a"}, 0},
		"a sequence cut short": {"a\x1b[3", []string{"a"}, 0},
	} {
		s := Screen{Columns: 10}
		s.Write(c.written)
		if got := s.Lines(); !slices.Equal(got, c.want) || s.Wrapped != c.wrapped {
			t.Errorf("%s: %q, %d wrapped; want %q, %d", name, got, s.Wrapped, c.want, c.wrapped)
		}
	}
}
