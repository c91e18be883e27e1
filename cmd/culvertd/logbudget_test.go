package main

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/test/capture"
)

// budgeted returns a logger like the daemon's, and what it writes to.
func budgeted(level slog.Level) (*slog.Logger, *capture.Buffer) {
	var b capture.Buffer
	l := new(slog.LevelVar)
	l.Set(level)
	return newLogger(&b, "text", l, true), &b
}

func TestTheLogOfADayIsBounded(t *testing.T) {
	for name, flood := range map[string]struct {
		lasts time.Duration
		most  int // bytes
		run   func(log *slog.Logger)
	}{
		// 1,310 lines in 6 s without the budget.
		"a broker sends what is no notification": {time.Hour, 3 << 20, func(log *slog.Logger) {
			for i := range 60 * 60 * 20 {
				log.Info("tunnel accepted", "session", fmt.Sprintf("%08x", i), "region", "eu-west-1", "services", []string{"SSH"})
				time.Sleep(time.Second / 20)
			}
		}},
		// 0.7 GB a day without it: each tunnel has a line in 30 s for each service.
		"33 unknown services in 8 tunnels": {24 * time.Hour, 10 << 20, func(log *slog.Logger) {
			for range 2 * 60 * 24 {
				for tunnel := range 8 {
					for service := range 33 {
						log.Warn("connection refused", "session", fmt.Sprintf("%08x", tunnel), "service", fmt.Sprint("S", service),
							"error", "service is not configured: add it to the services, or leave it out of the tunnel", "suppressed", 12345)
					}
				}
				time.Sleep(30 * time.Second)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, b := budgeted(slog.LevelInfo)
				began := time.Now()
				flood.run(log)
				synctest.Wait()
				if d := time.Since(began); d != flood.lasts {
					t.Fatalf("the flood took %v", d)
				}
				written := len(b.String())
				t.Logf("%d bytes in %v", written, flood.lasts)
				if written > flood.most {
					t.Errorf("%d bytes, want at most %d", written, flood.most)
				}
				if !strings.Contains(b.String(), "log lines left out") {
					t.Error("nothing tells that lines are missing")
				}
			})
		})
	}
}

func TestAFloodHidesNeitherTheTrailNorWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, b := budgeted(slog.LevelInfo)
		log = log.With("session", "ab")
		const trailLines = 1000
		for i := range trailLines {
			for range 20 {
				log.Warn("connection refused", "error", strings.Repeat("x", 200))
			}
			log.Info("connection opened", "connection", i)
			log.Info("connection closed", "connection", i)
		}
		log.Warn("mqtt connection lost, reconnecting")
		log.Error("culvertd failed")
		log.Error("culvertd failed")
		for message, want := range map[string]int{
			"connection opened": trailLines, "connection closed": trailLines, "mqtt connection lost": 1, "culvertd failed": 2,
		} {
			if n := strings.Count(b.String(), message); n != want {
				t.Errorf("%q: %d lines, want %d", message, n, want)
			}
		}
		refused := strings.Count(b.String(), "connection refused")
		if refused < 100 || refused > 200 {
			t.Errorf("%d of the flood's lines", refused)
		}
		b.Reset()
		time.Sleep(logSummary)
		synctest.Wait()
		if want := fmt.Sprintf("suppressed=%d\n", 20*trailLines-refused); !strings.HasSuffix(b.String(), want) {
			t.Errorf("got %q, want %q", b.String(), want)
		}
		log.Warn("connection refused")
		if n := strings.Count(b.String(), "\n"); n != 2 {
			t.Errorf("a minute later the budget is still spent:\n%s", b.String())
		}
	})
}

func TestLevelDebugHasNoBudget(t *testing.T) {
	log, b := budgeted(slog.LevelDebug)
	for range 10_000 {
		log.Debug("connection refused")
	}
	if n := strings.Count(b.String(), "\n"); n != 10_000 {
		t.Errorf("%d lines", n)
	}
}
