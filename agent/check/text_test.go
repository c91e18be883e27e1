package check

import (
	"strings"
	"testing"
)

// A result and its remedy may quote a file, a server or a certificate.
func TestAResultCannotSteerATerminal(t *testing.T) {
	const nasty, want = "a\x1b[2Jb\nerror: forged\u202e", "a [2Jb error: forged"
	var r Report
	r.add(&Result{ID: "mqtt.tls", Subject: nasty, Status: Failed, Text: nasty, Remedy: nasty})
	if c := r.Checks[0]; c.Subject != want || c.Text != want || c.Remedy != want {
		t.Errorf("%+v", c)
	}
	var b strings.Builder
	if err := r.Checks[0].Write(&b); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\u202e") || strings.Contains(b.String(), "\nerror") {
		t.Errorf("%q", b.String())
	}
}
