package check

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// The offsets from which a clock is doubted and wrong. Tunnels bear minutes; certificates and logs do not bear more.
const (
	clockDoubt = time.Minute
	clockWrong = time.Hour
)

// clockReading is what a server said of the time, and what the device's clock said meanwhile.
type clockReading struct {
	host         string
	date, device time.Time
}

// clock compares the device's with that of the tunnel service. Nothing but an HTTP date is at hand, in whole seconds.
func (c *checkup) clock() *Result {
	const id = "clock"
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.clockReadings) == 0 {
		return skipped(id, "no server told its own; this device says %s", c.Now().UTC().Format(time.DateTime+" UTC"))
	}
	s := c.clockReadings[0]
	off := s.device.Sub(s.date.Add(time.Second / 2)) // the date was cut to its second
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

// span shows how far off a clock is, in one unit.
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

// bare drops what wsconn puts before a TLS error; the text says it anyway.
func bare(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		if _, ok := inner.(*tls.CertificateVerificationError); ok { //nolint:errorlint // it looks for the innermost text
			return inner
		}
	}
	return err
}
