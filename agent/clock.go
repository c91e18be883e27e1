package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/trust"
	"github.com/culvert-iot/culvert/internal/version"
)

const (
	// clockName is the file in state_dir that holds the floor, in Unix seconds.
	clockName = "clock"
	// clockEvery is how often it is written at most: flash wears.
	clockEvery = 24 * time.Hour
	// clockSpan is how far after the build a floor may lie. A damaged file must not lead beyond the life of
	// all certificates.
	clockSpan = 20 * 365 * 24 * time.Hour
)

// clockFloor is a time that has certainly passed: when this program was built, and when a connection to AWS
// last stood, whose certificate was then valid. A device without a battery clock starts in 1970, where
// no certificate is valid yet; it connects by the floor, before NTP has set its clock.
type clockFloor struct {
	file string // "" keeps nothing

	mu      sync.Mutex
	floor   time.Time
	written time.Time
}

// newClockFloor reads the floor. Nothing is wrong with a file that is missing or damaged.
func newClockFloor(stateDir string, built time.Time) *clockFloor {
	c := &clockFloor{floor: built}
	if stateDir == "" {
		return c
	}
	c.file = filepath.Join(stateDir, clockName)
	p, err := trust.ReadPrivate(c.file, 32)
	if err != nil {
		return c
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(p.Data)), 10, 64)
	if at := time.Unix(seconds, 0); err == nil && at.After(c.floor) && (built.IsZero() || at.Before(built.Add(clockSpan))) {
		c.floor, c.written = at, at
	}
	return c
}

// now is the clock's time, but never less than the floor.
func (c *clockFloor) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.After(c.floor) {
		return now
	}
	return c.floor
}

// raise notes that a connection stood at the clock's time, unless that is below the floor.
func (c *clockFloor) raise() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.file == "" || now.Before(c.floor) || now.Sub(c.written) < clockEvery {
		return
	}
	c.written = now
	temp := c.file + ".tmp"
	if os.WriteFile(temp, strconv.AppendInt(nil, now.Unix(), 10), 0o600) != nil || os.Rename(temp, c.file) != nil {
		_ = os.Remove(temp) // it only helps the next start
	}
}

// built is when the program was made, as far as it knows.
func built() time.Time { return version.Built() }
