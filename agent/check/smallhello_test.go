package check

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// narrow forwards to address what begins with 1,400 bytes at most, and swallows the rest. It calls passed before it
// forwards.
func narrow(t *testing.T, address string, passed func()) string {
	t.Helper()
	return listen(t, func(c net.Conn) {
		defer c.Close()
		first := make([]byte, 4096)
		n, err := c.Read(first)
		if err != nil || n > 1400 {
			_, _ = io.Copy(io.Discard, c)
			return
		}
		far, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		defer far.Close()
		passed()
		_, _ = far.Write(first[:n])
		go func() { _, _ = io.Copy(far, c) }()
		_, _ = io.Copy(c, far)
	})
}

func TestAMiddleboxThatDropsLargeClientHellos(t *testing.T) {
	b := newBed(t)
	b.edit(b.box.MQTT, narrow(t, b.box.MQTT, func() {}))
	relay := strings.TrimPrefix(b.box.RelayURL, "wss://")
	var second atomic.Bool // a first try that takes 20 s is over
	b.edit(relay, narrow(t, relay, func() { second.Store(true) }))
	b.opts.Now = func() time.Time {
		if second.Load() {
			return time.Now()
		}
		return time.Now().Add(-20 * time.Second)
	}
	b.opts.Timeout = 6 * time.Second // half of what is left of it goes to the first try
	r := b.examine()
	for _, id := range []string{"mqtt.tls", "tunnel.tls"} {
		c := one(t, r, id)
		if c.Status != Warning || !has(c.Text, "only without post-quantum key exchange…drops ClientHellos above 1,400 bytes") || c.Remedy == "" {
			t.Errorf("%s: %+v", id, c)
		}
	}
	for _, id := range []string{"mqtt.subscribe", "tunnel.answer"} {
		if c := one(t, r, id); c.Status != OK {
			t.Errorf("%s: %+v", id, c)
		}
	}
	if c := one(t, r, "clock"); !strings.HasPrefix(c.Text, "within a second") {
		t.Errorf("the time that the first try took counts as the clock's: %+v", c)
	}
	fits(t, r)
}
