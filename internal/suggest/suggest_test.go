package suggest

import "testing"

func TestNearest(t *testing.T) {
	candidates := []string{"status", "check", "init", "cert_file", "mqtt"}
	for word, want := range map[string]string{
		"statsu": "status", "chekc": "check", "CHECK": "check", "cert-file": "cert_file", "cert": "cert_file", "x": "", "serve": "",
	} {
		if got := Nearest(word, candidates); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
