package agent

import (
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/test/capture"
)

// The start goes on without the stamp, which counts when it comes. What is to be written waits for it.
func TestAStampThatIsReadLateCountsFromThenOn(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		stamp, proven, want time.Duration // before now
	}{
		"it says more than what was proven meanwhile": {5 * day, 8 * day, 5 * day},
		"it says less":       {8 * day, 5 * day, 5 * day},
		"nothing was proven": {5 * day, 200 * day, 5 * day},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logs capture.Buffer
				dir, began := t.TempDir(), time.Now()
				file := filepath.Join(dir, clockName)
				write(t, file, strconv.AppendInt(nil, began.Add(-c.stamp).Unix(), 10))
				answers := make(chan struct{})
				floor := newClockFloor(dir, began.Add(-100*day), func(path string) ([]byte, error) {
					<-answers
					return ReadStamp(path)
				}, slog.New(slog.NewTextHandler(&logs, nil)))
				if took := time.Since(began); took != clockPatience {
					t.Errorf("the start waited for %v", took)
				}
				if !floor.diskHangs() || !strings.Contains(logs.String(), "state directory does not answer") {
					t.Errorf("a disk that hangs is not told: log %q", &logs)
				}
				floor.seen(began.Add(-c.proven))
				for range 10 {
					floor.raise()
				}
				if took := time.Since(began); took != clockPatience {
					t.Errorf("after ten writes that cannot be made yet, %v have passed", took)
				}
				close(answers)
				synctest.Wait()
				if floor.diskHangs() || !strings.Contains(logs.String(), "state directory answers again") {
					t.Errorf("that the disk answers is not told: log %q", &logs)
				}
				want := began.Add(-c.want).Add(clockPatience)
				if got := floor.passed(); got.After(want) || want.Sub(got) > clockPatience {
					t.Errorf("%v has passed, want %v", got, want)
				}
				if got := floorOf(dir, time.Time{}).floor; got.After(want) || want.Sub(got) > clockPatience {
					t.Errorf("the file says %v, want %v", got, want)
				}
			})
		})
	}
}
