package wsconn

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCloseSaysWhyAndUnblocksEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := open(t, nil)
		end := readUntilEnd(c)
		synctest.Wait()
		frames := p.frames()
		if err := c.Close(1000, "done"); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(frame{opClose, true, closePayload(1000, "done")}, <-frames); diff != "" {
			t.Error(diff)
		}
		if e := <-end; !errors.Is(e.err, ErrClosed) || e.after != 0 {
			t.Errorf("Read ended after %v: %v", e.after, e.err)
		}
		if err := c.WriteBuffers([]byte("x")); !errors.Is(err, ErrClosed) {
			t.Errorf("WriteBuffers = %v", err)
		}
		c.RequirePong() // too late to matter
		if err := c.Close(1001, "again"); err != nil {
			t.Error(err)
		}
		if f, open := <-frames; open {
			t.Errorf("another frame: %v", f)
		}
	})
}

func TestCloseTakesASecondAtMost(t *testing.T) {
	for name, busy := range map[string]func(c *Conn){
		"while the peer takes no close frame": func(*Conn) {},
		"while a message is stuck":            func(c *Conn) { go func() { _ = c.WriteBuffers([]byte("x")) }() },
		"while a pong is stuck": func(c *Conn) {
			c.answers <- "x"
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := open(t, nil) // the service's end never reads
				busy(c)
				synctest.Wait()
				start := time.Now()
				_ = c.Close(1000, "")
				if d := time.Since(start); d != time.Second {
					t.Errorf("Close took %v", d)
				}
			})
		})
	}
}

func TestCutEndsACloseThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := open(t, nil) // the service's end never reads
		wrote, end := make(chan error, 1), readUntilEnd(c)
		go func() { wrote <- c.WriteBuffers([]byte("x")) }()
		synctest.Wait()
		start := time.Now()
		time.AfterFunc(time.Second/4, c.Cut)
		_ = c.Close(1000, "")
		if d := time.Since(start); d != time.Second/4 {
			t.Errorf("Close took %v", d)
		}
		if err := <-wrote; !errors.Is(err, ErrClosed) {
			t.Errorf("WriteBuffers = %v", err)
		}
		if e := <-end; !errors.Is(e.err, ErrClosed) {
			t.Errorf("Read = %v", e.err)
		}
		c.Cut() // once more
	})
}

func TestAConnectionThatIsCutIsClosedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := open(t, nil)
		frames, end := p.frames(), readUntilEnd(c)
		c.Cut()
		if e := <-end; !errors.Is(e.err, ErrClosed) {
			t.Errorf("Read = %v", e.err)
		}
		start := time.Now()
		if err := c.Close(1000, ""); err != nil || time.Since(start) != 0 {
			t.Errorf("Close: %v after %v", err, time.Since(start))
		}
		if f, open := <-frames; open {
			t.Errorf("the service got %v", f)
		}
	})
}

func TestAMessageInProgressEndsWithClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := open(t, nil)
		result := make(chan error)
		go func() { result <- c.WriteBuffers([]byte("x")) }()
		synctest.Wait()
		go func() { _ = c.Close(1000, "") }()
		if err := <-result; !errors.Is(err, ErrClosed) {
			t.Errorf("WriteBuffers = %v", err)
		}
	})
}

func TestCloseReasonsFitTheFrame(t *testing.T) {
	for _, tt := range []struct {
		name         string
		code         int
		reason, want string
	}{
		{"long", 1011, strings.Repeat("x", 200), closePayload(1011, strings.Repeat("x", 123))},
		{"cut within a letter", 1011, strings.Repeat("é", 100), closePayload(1011, strings.Repeat("é", 61))},
		{"no code", 1005, "ignored", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, p := open(t, nil)
			frames := p.frames()
			_ = c.Close(tt.code, tt.reason)
			if diff := cmp.Diff(frame{opClose, true, tt.want}, <-frames); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCloseFromEverywhereAtOnce(t *testing.T) {
	for range 50 {
		c, p := open(t, nil)
		frames := p.frames()
		c.RequirePong()
		end := readUntilEnd(c)
		var wg sync.WaitGroup
		wg.Go(func() {
			for c.WriteBuffers([]byte("x")) == nil {
			}
		})
		wg.Go(func() { _ = p.send(opClose, closePayload(1001, "")) })
		for range 4 {
			wg.Go(func() { _ = c.Close(1000, "") })
			wg.Go(c.RequirePong)
		}
		wg.Wait()
		<-end
		for f := range frames {
			_ = f
		}
	}
}
