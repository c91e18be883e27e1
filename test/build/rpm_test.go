package build

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Before its files are unpacked the package makes a user, which the smallest rpm systems have no program for.
func TestTheRPMOfTheDaemonRequiresWhatMakesItsUser(t *testing.T) {
	t.Parallel()
	required := rpmStrings(t, packed(t, "rpm"), 1049) // RPMTAG_REQUIRENAME
	if !slices.Contains(required, "/usr/sbin/useradd") {
		t.Errorf("it requires only %q", required)
	}
}

// rpmStrings returns a list of strings from a package's header.
func rpmStrings(t *testing.T, file string, tag uint32) (all []string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// After 96 bytes of lead come two headers, that of signatures first. Each has a magic number, the number of its
	// entries, the size of its data, the entries and the data; the first is filled up to a multiple of eight.
	header := func(at int) (entries, store []byte) {
		if at+16 > len(data) || !bytes.HasPrefix(data[at:], []byte("\x8e\xad\xe8\x01")) {
			t.Fatalf("%s has no header at %d", file, at)
		}
		n, size := int(binary.BigEndian.Uint32(data[at+8:])), int(binary.BigEndian.Uint32(data[at+12:]))
		entries = data[at+16 : at+16+16*n]
		return entries, data[at+16+16*n : at+16+16*n+size]
	}
	entries, store := header(96)
	entries, store = header(96 + (16+len(entries)+len(store)+7)/8*8)
	for ; len(entries) > 0; entries = entries[16:] {
		if binary.BigEndian.Uint32(entries) == tag {
			from, count := binary.BigEndian.Uint32(entries[8:]), binary.BigEndian.Uint32(entries[12:])
			return strings.SplitN(string(store[from:]), "\x00", int(count)+1)[:count]
		}
	}
	return nil
}

// packed makes a package of the daemon with empty files in it.
func packed(t *testing.T, kind string) (file string) {
	t.Helper()
	nfpm, err := filepath.Abs("../../bin/nfpm")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(nfpm); err != nil {
		t.Skip("there is no bin/nfpm: make bin/nfpm")
	}
	dir := t.TempDir()
	for _, name := range []string{"culvertd", "culvertd.8.gz", "culvertd.toml.5.gz", "NOTICES-culvertd.txt", "culvertd.cdx.json"} {
		write(t, filepath.Join(dir, name), "")
	}
	file = filepath.Join(dir, "culvertd."+kind)
	run(t, []string{"BIN=" + dir, "SHARE=" + dir, "ARCH=amd64", "VERSION=1.2.3", "SOURCE_DATE_EPOCH=0"}, nfpm,
		"package", "--config", "configs/packaging/culvertd.yaml", "--packager", kind, "--target", file)
	return file
}
