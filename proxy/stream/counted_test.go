package stream

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

// Each connection is counted once, refused ones included, and what turns out to be no connection of its own is never
// counted, not even until that is known: the total of a service is a counter, which must not go back.
func TestEachConnectionIsCountedOnce(t *testing.T) {
	known := resume.ID{1, 1} // of the connection that waits to be resumed
	plain := int32(7)
	for name, c := range map[string]struct {
		stream  int32                          // 0: one whose connections begin with a record
		full    bool                           // the process has no place left
		first   func(at resume.Address) []byte // the payload of the first message
		silent  bool                           // none comes
		reset   bool                           // a reset comes instead
		asked   uint64                         // connections that are counted
		refused uint64
	}{
		"a resumed one":        {first: a(resume.Record{Type: resume.Resume, ID: known, Limit: resume.InitialCredit})},
		"one that is unknown":  {first: a(resume.Record{Type: resume.Resume, ID: resume.ID{9}, Limit: resume.InitialCredit})},
		"of another process":   {first: a(resume.Record{Type: resume.Open, ID: resume.ID{9}, Limit: resume.InitialCredit})},
		"a new one":            {first: opening, asked: 1},
		"a new one, refused":   {first: opening, full: true, asked: 1, refused: 1},
		"before HELLO":         {first: func(resume.Address) []byte { return nil }, asked: 1},
		"of another program":   {first: func(resume.Address) []byte { return []byte("GET") }, asked: 1},
		"without a record":     {silent: true},
		"reset at once":        {reset: true},
		"plain":                {stream: plain, silent: true, asked: 1},
		"plain and refused":    {stream: plain, silent: true, full: true, asked: 1, refused: 1},
		"plain, and it offers": {stream: offeringID(false), first: func(resume.Address) []byte { return nil }, asked: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRaws(t, connectionReserve+1)
				before, _, cut := r.tunnel()
				r.open(before, 1, 1, 0)
				cut()
				h, m, cut := r.tunnel()
				if c.stream != 0 {
					h.stream = c.stream
				}
				switch {
				case c.full && c.stream == plain:
					for range connectionReserve {
						h.start()
					}
				case c.full:
					r.open(h, 2, connectionReserve, 0)
				}
				count := func() (v ServiceStats) {
					synctest.Wait()
					for _, v = range m.Stats() {
					}
					return v
				}
				was, began := count(), count()
				check := func() {
					t.Helper()
					now := count()
					if now.Total < was.Total {
						t.Errorf("the total went from %d to %d", was.Total, now.Total)
					}
					was = now
				}
				conn := h.start()
				check()
				switch {
				case c.reset:
					h.write(&frame.Message{Type: frame.ConnectionReset, StreamID: h.stream, ServiceID: "X", ConnectionID: conn})
				case !c.silent:
					r.registry.Lock()
					at := r.registry.Address()
					r.registry.Unlock()
					h.send(conn, c.first(at))
				}
				check()
				time.Sleep(vacantTimeout + time.Second)
				check()
				if asked, refused := was.Total-began.Total, was.Refused-began.Refused; asked != c.asked || refused != c.refused {
					t.Errorf("%d are counted, %d of them as refused; want %d and %d", asked, refused, c.asked, c.refused)
				}
				cut()
				check()
				r.end()
			})
		})
	}
}

// a is a first message that holds one record.
func a(r resume.Record) func(resume.Address) []byte {
	return func(resume.Address) []byte { return record(r) }
}

// opening opens a connection that the registry does not know.
func opening(at resume.Address) []byte {
	return record(resume.Record{Type: resume.Open, At: at, ID: resume.ID{8}, Limit: resume.InitialCredit})
}

// What a tunnel has no room for was requested, too.
func TestWhatATunnelHasNoRoomForIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRaws(t, 0)
		h, m, cut := r.tunnel()
		h.stream = 7
		for range maxConnections + 2 {
			h.start()
		}
		synctest.Wait()
		if v := m.Stats()[0]; v.Total != maxConnections+2 || v.Refused != 2 {
			t.Errorf("%d are counted, %d of them as refused; want %d and 2", v.Total, v.Refused, maxConnections+2)
		}
		cut()
		r.end()
	})
}

// A source counts a connection on the websocket where it was opened, and not where it is resumed.
func TestASourceCountsWhatIsOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := echoing(t)
		s := r.linkThrough()
		s.comes()
		c := r.talk("hello")
		c.mustHear(t, "hello")
		time.Sleep(2 * time.Second)
		s.goes()
		s.comes()
		if _, err := io.WriteString(c.says, "again"); err != nil {
			t.Fatal(err)
		}
		c.mustHear(t, "again")
		if v := r.source.Stats()[0]; v.Total != 1 || v.Connections != 1 {
			t.Errorf("the source counts %d, %d of them open", v.Total, v.Connections)
		}
		if list := r.destination.Stats(); len(list) != 1 || list[0].Total != 0 || list[0].Connections != 1 {
			t.Errorf("the destination counts %+v", list)
		}
	})
}
