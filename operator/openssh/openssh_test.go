package openssh

import "testing"

func TestQuote(t *testing.T) {
	for path, want := range map[string]string{"/a/b-1.toml": "/a/b-1.toml", "/a b": "'/a b'", "/it's": `'/it'\''s'`, "/$x": "'/$x'", "": "''"} {
		if got := Quote(path); got != want {
			t.Errorf("Quote(%s) = %s, want %s", path, got, want)
		}
	}
}
