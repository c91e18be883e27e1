package session

import (
	"io/fs"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/trust"
)

// stuckDisk is a disk that does not list its files, nor read them if it hangs, until it is released.
type stuckDisk struct {
	osFiles

	hangs    bool
	released chan struct{}
	reading  atomic.Int32
	most     atomic.Int32 // reads at a time
}

func (d *stuckDisk) ReadDir(path string) ([]fs.DirEntry, error) {
	<-d.released
	return d.osFiles.ReadDir(path)
}

func (d *stuckDisk) Read(path string, limit int64) (trust.Private, error) {
	if n := d.reading.Add(1); n > d.most.Load() {
		d.most.Store(n)
	}
	defer d.reading.Add(-1)
	if d.hangs {
		<-d.released
	}
	return d.osFiles.Read(path, limit)
}

func TestARepeatedNotificationOfAnUnreadPairUsesItsClientToken(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager()
		accept(t, m, "a", Accepted)
		w.close(m)
		disk := &stuckDisk{released: make(chan struct{})}
		m = w.manager(func(c *Config) { c.files = disk })
		if n, err := m.Resume(); n != 0 || err != nil {
			t.Fatalf("%d resumed, %v", n, err)
		}
		began := time.Now()
		accept(t, m, "a", Accepted)
		d := w.attempts("TOKEN-a")
		if len(d) != 2 || d[0].client != d[1].client || d[1].at != began {
			t.Errorf("attempts %+v, want two with one client token, the second one at %v", d, began)
		}
		close(disk.released)
		pass(time.Minute)
		if n := len(w.attempts("TOKEN-a")); n != 2 || find(t, m, "a").State != Connected {
			t.Errorf("%d attempts, and it is %s when the disk answers", n, find(t, m, "a").State)
		}
		accept(t, m, "a", Known)
	})
}

// A disk that hangs for good delays a token by a second in all, and holds one thread.
func TestADiskThatHangsForGoodDelaysATokenByASecond(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		disk := &stuckDisk{hangs: true, released: make(chan struct{})}
		defer close(disk.released)
		m := w.manager(func(c *Config) { c.files = disk })
		_, _ = m.Resume()
		pass(time.Minute)
		for _, name := range []string{"a", "b", "c"} {
			began := time.Now()
			accept(t, m, name, Accepted)
			if took := time.Since(began); took != diskPatience {
				t.Errorf("%s: Accept took %v", name, took)
			}
			if d := w.attempts("TOKEN-" + name); len(d) != 1 || d[0].at.Sub(began) != diskPatience {
				t.Errorf("%s: attempts %+v, want one, a second after %v", name, d, began)
			}
		}
		if n := disk.most.Load(); n != 1 {
			t.Errorf("%d files were read at a time", n)
		}
	})
}
