package session

import (
	"bytes"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy"
)

// TestConnectionsOfADayLeaveABoundedLog makes 20 connections a second, whose lines were 270 MB a day.
func TestConnectionsOfADayLeaveABoundedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		log := slog.New(slog.NewTextHandler(&b, nil))
		j := newJournal(log, nil)
		a := &attempt{s: &session{log: log}}
		const hours = 6
		for range hours * 60 * 60 * 20 {
			j.connection(a, proxy.Opened{Service: "SSH", Stream: 1, Connection: 1})(proxy.Closed{})
			<-time.After(time.Second / 20)
		}
		j.close()
		opened, closed := bytes.Count(b.Bytes(), []byte("connection opened")), bytes.Count(b.Bytes(), []byte("connection closed"))
		t.Logf("%d bytes in %d hours, %d connections of %d", b.Len(), hours, opened, hours*60*60*20)
		if opened != closed {
			t.Errorf("%d opened, %d closed", opened, closed)
		}
		if opened > 2000+20_000*hours/24+1 || b.Len() > 6<<20 {
			t.Errorf("%d connections have lines, %d bytes", opened, b.Len())
		}
		if opened < 5000 {
			t.Errorf("only %d connections have lines", opened)
		}
	})
}
