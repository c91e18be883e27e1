package wsconn

import (
	"errors"
	"io"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// readUntilEnd reads in a goroutine. The channel gives the error and when it came.
func readUntilEnd(c *Conn) <-chan ended {
	out := make(chan ended, 1)
	start := time.Now()
	go func() {
		_, err := io.Copy(io.Discard, onlyReader{c})
		out <- ended{err, time.Since(start)}
	}()
	return out
}

type ended struct {
	err   error
	after time.Duration
}

func TestPingsLeaveAtTheirInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := open(t, nil)
		start := time.Now()
		for i := 1; i <= 5; i++ {
			f, err := p.readFrame()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(frame{opPing, true, strconv.Itoa(i)}, f); diff != "" {
				t.Error(diff)
			}
			if d := time.Since(start); d != time.Duration(i)*20*time.Second {
				t.Errorf("ping %d after %v", i, d)
			}
		}
	})
}

func TestMissingPongsMeanNothingUntilTheyAreRequired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := open(t, nil)
		end := readUntilEnd(c)
		frames := p.frames()
		time.Sleep(24*time.Hour + time.Second)
		select {
		case e := <-end:
			t.Fatalf("ended after %v: %v", e.after, e.err)
		default:
		}
		if n := len(frames); n != 24*60*3 {
			t.Errorf("%d pings in a day", n)
		}
	})
}

func TestSilenceIsDeathOnceAPongIsRequired(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration // of the websocket's opening, RequirePong is called
		play  func(p *peer)
		want  time.Duration
	}{
		{"from the start", 0, func(*peer) {}, 35 * time.Second},
		{"counted from when it was required", 17 * time.Minute, func(*peer) {}, 17*time.Minute + 35*time.Second},
		{"counted from the last byte", 0, func(p *peer) {
			time.Sleep(31 * time.Second)
			_ = p.send(opBinary, "x")
		}, 66 * time.Second},
		{"an empty pong is life", 0, func(p *peer) {
			time.Sleep(31 * time.Second)
			_ = p.send(opPong, "")
		}, 66 * time.Second},
		{"a pong that is no number is life", 0, func(p *peer) {
			time.Sleep(31 * time.Second)
			_ = p.send(opPong, "not a number \xff")
		}, 66 * time.Second},
		{"unrequested pongs are life", 0, func(p *peer) {
			for range 10 {
				time.Sleep(30 * time.Second)
				_ = p.send(opPong, "unsolicited")
			}
		}, 335 * time.Second},
		{"a server's pings are life", 0, func(p *peer) {
			for range 10 {
				time.Sleep(30 * time.Second)
				_ = p.send(opPing, "")
			}
		}, 335 * time.Second},
		{"half a frame is life, once", 0, func(p *peer) {
			time.Sleep(30 * time.Second)
			_, _ = p.Write([]byte{0x8a})
		}, 65 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := open(t, func(cfg *Config) { cfg.PingInterval, cfg.PongTimeout = 20*time.Second, 15*time.Second })
				p.frames() // taken and not answered
				end := readUntilEnd(c)
				time.AfterFunc(tt.after, c.RequirePong)
				go tt.play(p)
				e := <-end
				if !errors.Is(e.err, ErrDead) || e.after != tt.want {
					t.Errorf("ended after %v with %v, want %v", e.after, e.err, tt.want)
				}
				if err := c.WriteBuffers([]byte("x")); !errors.Is(err, ErrDead) {
					t.Errorf("WriteBuffers = %v", err)
				}
			})
		})
	}
}

func TestAnsweredPingsKeepTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := open(t, nil)
		c.RequirePong()
		c.RequirePong() // again is nothing
		end := readUntilEnd(c)
		var answers sync.WaitGroup
		answers.Go(func() {
			for f := range p.frames() {
				time.Sleep(19 * time.Second) // a slow line
				if f.Op == opPing {
					_ = p.send(opPong, f.Payload)
				}
			}
		})
		time.Sleep(24 * time.Hour)
		select {
		case e := <-end:
			t.Errorf("ended after %v: %v", e.after, e.err)
		default:
		}
		_ = c.Close(1000, "")
		answers.Wait()
	})
}

func TestAReaderThatIsBusyIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := open(t, nil)
		p.frames()
		c.RequirePong()
		start := time.Now()
		time.Sleep(10 * time.Minute) // the caller is elsewhere
		if err := c.WriteBuffers([]byte("x")); err != nil {
			t.Fatalf("died while the owner did not read: %v", err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, ErrDead) {
			t.Errorf("Read = %v", err)
		}
		if d := time.Since(start); d != 10*time.Minute+40*time.Second {
			t.Errorf("dead after %v", d)
		}
	})
}

func TestAPingHeldUpByAMessageGetsItsFullTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := open(t, func(cfg *Config) { cfg.WriteTimeout = time.Minute })
		c.RequirePong()
		end := readUntilEnd(c)
		go func() { _ = c.WriteBuffers([]byte("slow")) }() // fills the line until the service reads
		time.Sleep(50 * time.Second)
		// The ping of 0:20 waits behind the message. It leaves now, and its answer may take 20 s.
		frames := p.frames()
		for f := range frames {
			if f.Op == opPing {
				break
			}
		}
		time.Sleep(19 * time.Second)
		if err := p.send(opPong, "1"); err != nil {
			t.Fatal(err)
		}
		if e := <-end; !errors.Is(e.err, ErrDead) || e.after != (69+40)*time.Second {
			t.Errorf("ended after %v: %v", e.after, e.err)
		}
	})
}

func TestAPingThatCannotLeaveEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := open(t, nil)
		e := <-readUntilEnd(c)
		if want := (DefaultPingInterval + DefaultWriteTimeout + closeTimeout); e.after != want || !isTimeout(e.err) {
			t.Errorf("ended after %v: %v", e.after, e.err)
		}
	})
}

func TestTheServicesPingsAreAnsweredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := open(t, nil)
		readUntilEnd(c)
		frames := p.frames()
		for _, payload := range []string{"", "one", "\x00\xff"} {
			if err := p.send(opPing, payload); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := len(frames); n != 1 {
				t.Fatalf("%d frames in answer to one ping", n)
			}
			if diff := cmp.Diff(frame{opPong, true, payload}, <-frames); diff != "" {
				t.Error(diff)
			}
		}
	})
}

func TestAPingFloodFromAServiceThatReadsNothingNeitherBlocksNorGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := open(t, nil)
		readUntilEnd(c)
		for i := range 10_000 {
			if err := p.send(opPing, strconv.Itoa(i)); err != nil {
				t.Fatalf("ping %d: %v", i, err)
			}
			if i == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		frames := p.frames()
		synctest.Wait()
		// The first was on its way; of those that waited, the latest is enough.
		if diff := cmp.Diff([]frame{{opPong, true, "0"}, {opPong, true, "9999"}}, []frame{<-frames, <-frames}); diff != "" {
			t.Error(diff)
		}
		if n := len(frames); n != 0 {
			t.Errorf("%d more pongs", n)
		}
	})
}
