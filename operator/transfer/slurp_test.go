package transfer

import (
	"os"
	"path/filepath"
	"testing"
)

// TestFilesWithoutASize copies files that the kernel generates when they are read.
func TestFilesWithoutASize(t *testing.T) {
	for _, name := range []string{"/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"} {
		t.Run(name, func(t *testing.T) {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Skip(err)
			}
			b := newBed(t)
			b.copy(t, Options{}, "pi:"+name, "down")
			b.noErrors(t)
			sameContent(t, filepath.Join(b.here, "down"), want)
			b.copy(t, Options{}, name, "pi:up")
			b.noErrors(t)
			sameContent(t, filepath.Join(b.there, "up"), want)
			if r := b.results[0]; r.Size != int64(len(want)) || r.Check != CheckSHA256 {
				t.Errorf("%+v", r)
			}
		})
	}
	b := newBed(t)
	write(t, filepath.Join(b.here, "page"), noise(4<<10), 0o644)
	b.copy(t, Options{}, "page", "pi:")
	b.noErrors(t)
	sameContent(t, filepath.Join(b.there, "page"), noise(4<<10))
}
