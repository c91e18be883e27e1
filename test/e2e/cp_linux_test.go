package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCpToAFullDisk: a file that does not fit must not stay and fill a device's disk.
func TestCpToAFullDisk(t *testing.T) {
	t.Parallel()
	full := tmpfs(t, "size=2m")
	o, ssh := startSharingSite(t)
	dir := shortDir(t)
	writeRandom(t, filepath.Join(dir, "large"), 8<<20)
	var small []string
	for i := range 3 {
		name := filepath.Join(dir, fmt.Sprint("small", i))
		writeRandom(t, name, 900_000)
		small = append(small, name)
	}
	_, errs, code := runSSH(o.culvert(t, ssh.cpArguments(filepath.Join(dir, "large"), ssh.at(full))...))
	if code != 1 || !strings.Contains(errs, "large: no room: 2.1 MB are free and 8.4 MB are needed") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
	_, errs, code = runSSH(o.culvert(t, ssh.cpArguments(append(small, ssh.at(full))...)...))
	if code != 1 || !strings.Contains(errs, "the disk is full; the partial file was removed") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
	entries, err := os.ReadDir(full)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("left behind: %s", e.Name())
		}
	}
	// The same towards this machine.
	_, errs, code = runSSH(o.culvert(t, ssh.cpArguments(ssh.at(filepath.Join(dir, "large")), full)...))
	if code != 1 || !strings.Contains(errs, "large: no room: ") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
}
