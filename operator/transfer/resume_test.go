package transfer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAPartialFileIsContinued(t *testing.T) {
	content := noise(5 << 20)
	damaged := append([]byte{}, content[:3<<20]...)
	damaged[1000] ^= 1
	holed := append([]byte{}, content[:3<<20]...)
	clear(holed[2<<20+1000:])
	const inFlight = window * packetSize
	for _, tt := range []struct {
		name    string
		partial []byte
		want    int64 // where it continues
	}{
		{"a beginning", content[:3<<20], 3<<20 - inFlight},
		{"a beginning with holes where pieces were under way", holed, 3<<20 - inFlight},
		{"a damaged beginning", damaged, 0},
		{"less than what may be under way", content[:1<<20], 0},
		{"everything", content, 5 << 20},
		{"more than everything", append(append([]byte{}, content...), "tail"...), 5 << 20},
	} {
		for _, direction := range []string{"up", "down"} {
			t.Run(tt.name+" "+direction, func(t *testing.T) {
				b := newBed(t)
				from, to, args := b.here, b.there, []string{"f", "pi:"}
				if direction == "down" {
					from, to, args = b.there, b.here, []string{"pi:f", "."}
				}
				write(t, filepath.Join(from, "f"), content, 0o644)
				write(t, filepath.Join(to, PartialName("f")), tt.partial, 0o600)
				c := b.copy(t, Options{}, args...)
				b.noErrors(t)
				if r := b.results[0]; r.Resumed != tt.want || r.Sent != int64(len(content))-tt.want || c.Progress().Bytes != int64(len(content)) {
					t.Errorf("it continued at %d and sent %d, progress %+v; want %d", r.Resumed, r.Sent, c.Progress(), tt.want)
				}
				sameContent(t, filepath.Join(to, "f"), content)
				if info, err := os.Stat(filepath.Join(to, "f")); err != nil || info.Mode().Perm() != 0o666&^currentUmask(t) {
					t.Errorf("its mode is %v, %v", info.Mode(), err)
				}
				if left, _ := filepath.Glob(filepath.Join(to, ".*")); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			})
		}
	}
}

// TestACutConnection copies a tree over connections that end in the middle.
func TestACutConnection(t *testing.T) {
	b := newBed(t)
	content := noise(6 << 20)
	write(t, filepath.Join(b.here, "d/large"), content, 0o644)
	for name := range strings.FieldsSeq("a b c sub/d sub/e") {
		write(t, filepath.Join(b.here, "d", name), []byte(name), 0o644)
	}
	c := b.copier(t, Options{Recursive: true}, "d", "pi:")
	runs, before := 0, int64(-1)
	for {
		if runs++; runs > 20 {
			t.Fatalf("no end in sight: %+v", c.Progress())
		}
		b.cutAfter.Store(3 << 20)
		err := b.run(t, c)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrLost) {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(b.there, "d/large")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("an incomplete file has the name of the whole: %v", err)
		}
		if sent := c.Progress().Sent; sent == before {
			t.Errorf("run %d sent nothing", runs)
		} else {
			before = sent
		}
	}
	b.noErrors(t)
	if runs < 3 {
		t.Errorf("%d runs: nothing was cut", runs)
	}
	sameContent(t, filepath.Join(b.there, "d/large"), content)
	p := c.Progress()
	// Each cut may lose what was under way.
	if most := int64(len(content)) + int64(runs)*2*window*packetSize; p.Sent > most || p.Bytes != p.TotalBytes || p.Files != 6 {
		t.Errorf("%d runs sent %d, want at most %d; %+v", runs, p.Sent, most, p)
	}
	if len(b.results) != 8 { // two of them directories
		t.Errorf("%d results: %+v", len(b.results), b.results)
	}
}
