package main

import "testing"

// TestAdviceOnOpenWrtHasNoSudo: a command that is copied from it must be there.
func TestAdviceOnOpenWrtHasNoSudo(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"procd": "", "systemd": "sudo ", "OpenRC": "sudo ", "": "sudo "} {
		if got := (serviceManager{name: name}).sudo(); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
