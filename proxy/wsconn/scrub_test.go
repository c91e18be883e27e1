package wsconn

import (
	"strings"
	"testing"
)

func TestNothingOfATokenIsRepeated(t *testing.T) {
	const token = "AQGAAXhcHvUJ5x0q3kZ9mB7sT2wL8dN4yR6fV1gC"
	s := scrubber{token, "5f2d8c3e-6a1b-4c7d-9e0f-123456789abc", ""}
	for in, want := range map[string]string{
		"Invalid token " + token + ".":          "Invalid token [token].",
		token + token:                           "[token][token]",
		token + " and " + token:                 "[token] and [token]",
		"cut at its end: " + token[:20]:         "cut at its end: [token]",
		"its end: " + token[15:]:                "its end: [token]",
		"its middle: …" + token[5:30] + "…":     "its middle: …[token]…",
		"twelve: " + token[:12] + "!":           "twelve: [token]!",
		"eleven may be chance: " + token[:11]:   "eleven may be chance: " + token[:11],
		"client 5f2d8c3e-6a1b-4c7d-9e0f-1234 x": "client [token] x",
		"nothing of it":                         "nothing of it",
		"":                                      "",
	} {
		if got := s.text(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if got := (scrubber{"short"}).text("a short one"); got != "a [token] one" {
		t.Errorf("a short token: %q", got)
	}
	if got := s.text(strings.Repeat(token[:13]+"x", 1000)); strings.Contains(got, token[:12]) {
		t.Error("many parts")
	}
}

func TestACloseFrameThatRepeatsATokenIsScrubbed(t *testing.T) {
	const token = "AQGAAXhcHvUJ5x0q3kZ9mB7sT2wL8dN4yR6fV1gC"
	in := &input{secrets: scrubber{token}}
	if err := in.closed([]byte("\x03\xe8token " + token)); err.(*CloseError).Reason != "token [token]" {
		t.Error(err)
	}
}
