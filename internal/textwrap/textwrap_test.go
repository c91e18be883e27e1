package textwrap

import "testing"

func TestHanging(t *testing.T) {
	for name, c := range map[string]struct {
		first, text string
		width       int
		want        string
	}{
		"fits":             {"  ", "one two", 20, "  one two\n"},
		"breaks at width":  {"  ", "one two three", 9, "  one two\n  three\n"},
		"hangs a label":    {"note: ", "one two three", 13, "note: one two\n      three\n"},
		"folds spaces":     {"", "one \n\t two", 20, "one two\n"},
		"cuts a long word": {"- ", "abcdefgh ij", 6, "- abcd\n  efgh\n  ij\n"},
		"counts runes":     {"", "ééé ééé", 7, "ééé ééé\n"},
		"empty":            {"label ", "", 20, "label\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Hanging(c.first, c.text, c.width); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
