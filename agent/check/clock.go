package check

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
)

// Offsets at which a clock is suspect and wrong. Tunnels tolerate minutes; certificates and logs
// tolerate little more.
const (
	clockDoubt = time.Minute
	clockWrong = time.Hour
)

// clockReading is a server's time and the device's at the same moment.
type clockReading struct {
	host         string
	date, device time.Time
}

// clock compares the device's clock with the tunnel service's, and with the stamp of the time in the state directory.
func (c *checkup) clock() *Result {
	r := c.compareClock()
	if r.Status == Failed || r.Status == Warning {
		return r // the clock comes first
	}
	if err := c.stamp(); err != nil {
		return warning(r.ID, hint.Of(err), "%v", err)
	}
	return r
}

// compareClock knows the tunnel service's time from an HTTP date in whole seconds.
func (c *checkup) compareClock() *Result {
	const id = "clock"
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.clockReadings) == 0 {
		return skipped(id, "no server sent its time; this device says %s", c.Now().UTC().Format(time.DateTime+" UTC"))
	}
	s := c.clockReadings[0]
	off := s.device.Sub(s.date.Add(time.Second / 2)) // the date is truncated to seconds
	size := off.Abs()
	text := fmt.Sprintf("within a second of %s", s.host)
	if size > 1500*time.Millisecond {
		side := "ahead of"
		if off < 0 {
			side = "behind"
		}
		text = fmt.Sprintf("%s %s %s: this device says %s", span(size), side, s.host, s.device.UTC().Format(time.DateTime+" UTC"))
	}
	switch {
	case size >= clockWrong:
		return failed(id, setClock, "%s", text)
	case size >= clockDoubt:
		return warning(id, setClock, "%s", text)
	}
	return well(id, "%s", text)
}

// span formats a clock's error in one unit.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*365*day:
		return fmt.Sprintf("%d years", d/(365*day))
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	}
	return fmt.Sprintf("%d seconds", d/time.Second)
}

func isRecordHeader(err error) bool {
	var header tls.RecordHeaderError
	return errors.As(err, &header)
}

// bare drops what wsconn adds before a TLS error: the result's text says it.
func bare(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		if _, ok := inner.(*tls.CertificateVerificationError); ok { //nolint:errorlint // it wants the innermost
			return inner
		}
	}
	return err
}
