package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheUnitIsFencedIn holds the unit to the score that systemd gives to what a service may still do, 0 to 10, and to
// systemd's own opinion of its form.
func TestTheUnitIsFencedIn(t *testing.T) {
	t.Parallel()
	program := requireProgram(t, "systemd-analyze")
	unit, err := os.ReadFile("../../configs/culvertd.service")
	if err != nil {
		t.Fatal(err)
	}
	// A system of its own, in which the unit's program is there.
	root := t.TempDir()
	path := filepath.Join(root, "usr/lib/systemd/system/culvertd.service")
	for name, file := range map[string]struct {
		data string
		mode os.FileMode
	}{path: {string(unit), 0o644}, filepath.Join(root, "usr/bin/culvertd"): {"#!/bin/sh\n", 0o755}, filepath.Join(root, "bin/sh"): {"\n", 0o755}} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(file.data), file.mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("verify", func(t *testing.T) {
		out, err := exec.Command(program, "verify", "--man=no", "--recursive-errors=no", "--root="+root, "culvertd.service").CombinedOutput()
		if text := strings.TrimSpace(string(out)); err != nil || text != "" {
			t.Errorf("%v: %s", err, text)
		}
	})
	t.Run("security", func(t *testing.T) {
		// The threshold is in tenths.
		out, err := exec.Command(program, "security", "--offline=yes", "--no-pager", "--threshold=12", "../../configs/culvertd.service").CombinedOutput()
		if err != nil || !regexp.MustCompile(`Overall exposure level for culvertd.service: [01]\.\d OK`).Match(out) {
			t.Errorf("%v:\n%s", err, out)
		}
	})
}
