package session

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// counted counts the files that are made.
type counted struct {
	osFiles
	made *atomic.Int32
}

func (c counted) Create(path string) (file, error) {
	c.made.Add(1)
	return c.osFiles.Create(path)
}

// A flash memory has so many writes in its life, and a publisher of made-up tokens could use them up. Of a token
// that comes in a flood nothing is written before it has worked.
func TestAFloodOfTokensDoesNotWearTheDiskOut(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		var made atomic.Int32
		m := w.manager(func(c *Config) { c.files = counted{made: &made} })
		const flood, every = 1000, 20 * time.Millisecond
		for i := range flood {
			name := fmt.Sprint("bogus", i)
			w.script("TOKEN-"+name, step{err: refusal(400, "no")})
			m.Accept(token(name))
			pass(every)
		}
		// A pair and the list of those that ended, for each that has lines in the log.
		if n, most := int(made.Load()), 2*(lineBurst+tunnelPace*int(flood*every/time.Second)); n > most || n < lineBurst {
			t.Errorf("%d files were written for %d tokens, %d at most are enough", n, flood, most)
		}
		accept(t, m, fmt.Sprint("bogus", flood-1), Known)

		// One that is good, in the middle of it: it is persisted from the moment that it works.
		w.script("TOKEN-good", step{err: errNetwork}, step{stands: time.Hour, err: errClosed})
		w.script("TOKEN-late", slices.Repeat([]step{{err: errNetwork}}, 20)...)
		accept(t, m, "good", Accepted)
		accept(t, m, "late", Accepted)
		if slices.Contains(w.files(), fileOf("good")) {
			t.Error("it is written before it has worked")
		}
		pass(30 * time.Second)
		if find(t, m, "good").State != Connected || !slices.Contains(w.files(), fileOf("good")) {
			t.Errorf("it works and is not persisted: %q", w.files())
		}
		// What has not worked yet is persisted when the daemon ends in order.
		w.close(m)
		m = w.manager()
		if n, err := m.Resume(); err != nil || n != 2 {
			t.Errorf("%d sessions resumed, want the one that works and the one that may", n)
		}
	})
}
