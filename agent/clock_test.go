package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/internal/settings"
)

// floorOf is the floor of a daemon that starts now.
func floorOf(stateDir string, built time.Time) *clockFloor {
	return newClockFloor(stateDir, built, ReadStamp, slog.New(slog.DiscardHandler))
}

// TestTheClockFloorHoldsWhereTheClockStartsInThePast plays a device without a battery clock: the bubble's clock
// starts at 2000, long before the build.
func TestTheClockFloorHoldsWhereTheClockStartsInThePast(t *testing.T) {
	built := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	stamp := time.Date(2027, 3, 4, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		file string
		want time.Time
	}{
		"no stamp":                   {"", built},
		"a stamp":                    {strconv.FormatInt(stamp.Unix(), 10), stamp},
		"a stamp before the build":   {"1000000000", built},
		"a stamp in the far future":  {"99999999999", built},
		"a damaged file":             {"\x00\xff garbage", built},
		"a number that is too large": {"99999999999999999999999", built},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				if c.file != "" {
					if err := os.WriteFile(filepath.Join(dir, clockName), []byte(c.file), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				floor := floorOf(dir, built)
				if got := floor.now(); !got.Equal(c.want) {
					t.Errorf("now is %v, want %v", got, c.want)
				}
				floor.raise() // by a clock that is wrong
				if again := floorOf(dir, built).now(); !again.Equal(c.want) {
					t.Errorf("a wrong clock moved the floor to %v", again)
				}
			})
		})
	}
}

func TestTheClockFloorIsWrittenOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		built := time.Now().Add(-time.Hour)
		floor := floorOf(dir, built)
		writes, last := 0, ""
		for range 100 {
			floor.raise()
			data, err := os.ReadFile(filepath.Join(dir, clockName))
			if err != nil {
				t.Fatal(err)
			}
			if string(data) != last {
				writes, last = writes+1, string(data)
			}
			time.Sleep(time.Hour)
		}
		if writes != 5 {
			t.Errorf("%d writes in 100 hours", writes)
		}
		if got := floor.now(); !got.Equal(time.Now()) {
			t.Errorf("now is %v, though the clock is right", got)
		}
		if last := floorOf(dir, built).floor; time.Since(last) > 25*time.Hour {
			t.Errorf("the floor is of %v", last)
		}
	})
}

func TestBothConnectionsAreJudgedByTheFloor(t *testing.T) {
	dir := t.TempDir()
	stamp := time.Now().Add(1000 * time.Hour).Truncate(time.Second)
	if err := os.WriteFile(filepath.Join(dir, clockName), strconv.AppendInt(nil, stamp.Unix(), 10), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{Tunnel: config.Tunnel{Sessions: settings.Sessions{StateDir: dir}}}
	now := ReadClock(cfg, ReadStamp).Now
	broker, err := BrokerTLS(cfg, now)
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err := TunnelTLS(cfg, now)
	if err != nil {
		t.Fatal(err)
	}
	if !broker.Time().Equal(stamp) || !tunnel.Time().Equal(stamp) {
		t.Errorf("broker %v, tunnel %v, want %v", broker.Time(), tunnel.Time(), stamp)
	}
}
