package agent

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/trust"
	"github.com/culvert-iot/culvert/internal/version"
)

const (
	// clockName is the file in state_dir that holds the floor, in Unix seconds.
	clockName = "clock"
	// clockEvery is how often it is written at most, because flash wears. A server's new certificate, which comes every
	// few months, is noted at once, but not more often than once in clockRest.
	clockEvery = 24 * time.Hour
	clockRest  = time.Hour
	// clockSpan is how far after the build a floor may lie. A damaged file must not lead beyond the life of
	// all certificates.
	clockSpan = 20 * 365 * 24 * time.Hour
	// clockAhead is how far a floor may be ahead of the clock before it is doubted.
	clockAhead = 24 * time.Hour
	// clockFirst is before any build, in Unix seconds: January 1st, 2026.
	clockFirst = 1767225600
	// clockPatience is how long the start, and the task that writes, wait for the disk: as long as a tunnel does.
	clockPatience = time.Second
)

// clockFloor is a time that has certainly passed. A device without a battery clock starts in 1970, where no certificate
// is valid yet; it connects by the floor, before NTP has set its clock.
//
// The floor must not rest on the clock: one that once ran ahead by months would leave a stamp after whose date other
// servers' certificates have expired, long after the clock was set right. It is the latest of what is proven without it:
// when this program was built, when the certificates that servers have shown became valid, the stamp of an
// earlier run, and the time that has passed since one of these was known. That is enough for a restart: the servers'
// certificates are the same, and valid from the floor on. It never is later than now, so no certificate that is
// valid now has expired by it.
type clockFloor struct {
	file  string // "" keeps nothing
	built time.Time
	log   *slog.Logger

	mu      sync.Mutex // guards what follows; never held while the disk works: each handshake and each status need it
	floor   time.Time
	proven  time.Time // had passed at since
	since   time.Time
	fresh   bool      // a certificate has proven more than the file says
	written time.Time // what the file says; zero: there is none
	saved   time.Time // when it was written
	busy    time.Time // since when the disk works, or zero: a disk that hangs must not hold more than one thread
	again   bool      // there was something to write meanwhile
}

// newClockFloor reads the floor. Nothing is wrong with a file that is missing or damaged. What a disk that hangs says
// late counts from then on.
func newClockFloor(stateDir string, built time.Time, read func(string) ([]byte, error), log *slog.Logger) *clockFloor {
	c := &clockFloor{floor: built, built: built, log: log, proven: built, since: time.Now()}
	if stateDir == "" {
		return c
	}
	c.file, c.busy = filepath.Join(stateDir, clockName), c.since
	c.useDisk(func() {
		if data, err := read(c.file); err == nil {
			c.take(data)
		}
	})
	return c
}

// take makes a stamp count.
func (c *clockFloor) take(data []byte) {
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	at := time.Unix(seconds, 0)
	if err != nil || !c.built.IsZero() && !at.Before(c.built.Add(clockSpan)) {
		return
	}
	c.mu.Lock()
	if at.After(c.floor) {
		c.floor, c.written = at, at
	}
	if at.After(c.passed()) {
		c.proven, c.since, c.fresh = at, time.Now(), false
	}
	c.mu.Unlock()
}

// useDisk does the work for which its caller has set busy. It waits for it, but not longer than clockPatience.
func (c *clockFloor) useDisk(work func()) {
	waited := make(chan struct{})
	late := time.AfterFunc(clockPatience, func() {
		c.log.Warn("state directory does not answer, the stamp of the time is read or written later", "target", c.file)
		close(waited)
	})
	go func() {
		work()
		c.mu.Lock()
		began, again := c.busy, c.again
		c.busy, c.again = time.Time{}, false
		c.mu.Unlock()
		if late.Stop() {
			close(waited)
		} else {
			c.log.Info("state directory answers again", "target", c.file, "duration", time.Since(began).Round(time.Millisecond))
		}
		if again {
			c.raise()
		}
	}()
	<-waited
}

// diskHangs says that the disk works for longer than it should.
func (c *clockFloor) diskHangs() bool {
	c.mu.Lock()
	since := c.busy
	c.mu.Unlock()
	return !since.IsZero() && time.Since(since) >= clockPatience
}

// ReadStamp reads the file of this process's user, or of the daemon's, which a check by root must find, too.
func ReadStamp(path string) ([]byte, error) {
	const limit = 32
	p, err := trust.ReadPrivate(path, limit)
	if err == nil {
		return p.Data, nil
	}
	if info, e := os.Lstat(path); e != nil || !info.Mode().IsRegular() || info.Size() > limit || trust.Planted(path, info) != nil {
		return nil, err
	}
	return os.ReadFile(path)
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

// watch makes each server's certificate that config has verified count. Its arguments are a maker's results.
func (c *clockFloor) watch(config *tls.Config, err error) (*tls.Config, error) {
	if config != nil {
		config.VerifyConnection = func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) > 0 {
				c.seen(s.PeerCertificates[0].NotBefore)
			}
			return nil
		}
	}
	return config, err
}

// seen notes that a verified certificate is valid from this time on: its authority issued it then or later.
func (c *clockFloor) seen(from time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if from.After(c.passed()) {
		c.proven, c.since, c.fresh = from, time.Now(), true
	}
}

// passed is the latest time that has certainly passed. That the clock is set does not change it.
func (c *clockFloor) passed() time.Time { return c.proven.Add(time.Since(c.since)) }

// raise takes the floor to what is proven, unless the clock is below the floor: either of the two may be wrong then, and
// a floor that is wrong must not keep its lead. It writes a stamp if one is due.
func (c *clockFloor) raise() {
	at := c.due()
	if at.IsZero() {
		return
	}
	c.useDisk(func() {
		temp := c.file + ".tmp"
		if os.WriteFile(temp, strconv.AppendInt(nil, at.Unix(), 10), 0o600) != nil || os.Rename(temp, c.file) != nil {
			_ = os.Remove(temp) // it only helps the next start
		}
	})
}

// due raises the floor, and returns the stamp that its caller must write, or zero.
func (c *clockFloor) due() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, at := time.Now(), c.passed()
	if c.file == "" || now.Before(c.floor) || c.proven.IsZero() {
		return time.Time{}
	}
	if at.After(now) {
		at = now
	}
	c.floor = at
	news := c.fresh && time.Since(c.saved) >= clockRest
	if !c.written.IsZero() && at.Sub(c.written) < clockEvery && !news {
		return time.Time{}
	}
	if !c.busy.IsZero() {
		c.again = true
		return time.Time{}
	}
	c.written, c.saved, c.fresh, c.busy = at, now, false, now
	return at
}

// trouble says that the floor is more than a day ahead of a clock that may well be right, as the stamp of a version
// before may be that took the clock's word.
func (c *clockFloor) trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	ahead := c.floor.Sub(now)
	if ahead <= clockAhead || now.Before(c.built) || now.Unix() < clockFirst {
		return nil
	}
	return hint.Wrap(fmt.Errorf("by the stamp in %s it is %s, which is %d days ahead of this device's clock, and certificates are judged by the later of the two",
		c.file, c.floor.UTC().Format(time.DateOnly), ahead/(24*time.Hour)), "if the clock is right, remove "+c.file+" and restart culvertd")
}

// explain adds the trouble to the error of a handshake, if the server's certificate is valid by the clock.
func (c *clockFloor) explain(err error) error {
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) || invalid.Reason != x509.Expired || invalid.Cert == nil {
		return err
	}
	if now := time.Now(); now.Before(invalid.Cert.NotBefore) || now.After(invalid.Cert.NotAfter) {
		return err
	}
	if trouble := c.trouble(); trouble != nil {
		return fmt.Errorf("%w; %w", err, trouble)
	}
	return err
}

// built is when the program was made, as far as it knows.
func built() time.Time { return version.Built() }
