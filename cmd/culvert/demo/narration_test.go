package demo

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFiguresAreShownWithTheDigitsThatMatter(t *testing.T) {
	tests := []struct{ name, got, want string }{
		{"a time below a millisecond", duration(250 * time.Microsecond), "0.2 ms"},
		{"a few milliseconds", duration(9_940 * time.Microsecond), "9.9 ms"},
		{"milliseconds", duration(412*time.Millisecond + 900*time.Microsecond), "412 ms"},
		{"seconds", duration(6_234 * time.Millisecond), "6.23 s"},
		{"no byte", size(0), "0 bytes"},
		{"one byte", size(1), "1 byte"},
		{"bytes", size(1023), "1023 bytes"},
		{"a whole number of units", size(64 << 20), "64 MiB"},
		{"a broken number of units", size(21<<20 + 400<<10), "21.4 MiB"},
		{"the largest unit", size(3 << 30), "3 GiB"},
		{"a slow rate", rate(900, time.Second), "900 B/s"},
		{"a rate of kilobytes", rate(250_000, time.Second), "250 kB/s"},
		{"a rate below ten megabytes", rate(9_340_000, time.Second), "9.3 MB/s"},
		{"a fast rate", rate(64<<20, 200*time.Millisecond), "336 MB/s"},
		{"a rate over no time is no division by zero", rate(1, 0), "1000 MB/s"},
		{"a small count", count(999), "999"},
		{"thousands", count(1000), "1,000"},
		{"millions", count(134_217_728), "134,217,728"},
		{"no name", list(nil), ""},
		{"one name", list([]string{"SSH"}), "SSH"},
		{"two names", list([]string{"SSH", "HTTP"}), "SSH and HTTP"},
		{"three names", list(services), "SSH, HTTP and APP"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, tt.got, tt.want)
		}
	}
}

// steps drives an narration through what every run does: a step with progress, a step without, a failure.
func steps(a *narration) {
	a.begin("open a tunnel")
	a.progress("12 MB/s", "3 MiB of 64 MiB")
	a.done("412 MB/s", "64 MiB")
	a.begin("close it")
	a.done("8.1 ms", "in order")
	a.begin("stop")
	a.stopped("failed")
}

func TestNarrationInAPipeIsOneLineAStep(t *testing.T) {
	var b strings.Builder
	steps(&narration{out: &b})
	want := strings.Join([]string{
		" 1  open a tunnel        412 MB/s   64 MiB",
		" 2  close it               8.1 ms   in order",
		" 3  stop                   failed",
		"",
	}, "\n")
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestNarrationOnATerminalShowsTheStepUnderWay(t *testing.T) {
	var b strings.Builder
	steps(&narration{out: &b, terminal: true})
	var shown []string
	for l := range strings.Lines(b.String()) {
		shown = append(shown, strings.Split(strings.TrimSuffix(l, "\n"), "\r")[1:]...)
	}
	want := []string{
		" 1  open a tunnel               …\x1b[K",
		" 1  open a tunnel         12 MB/s   3 MiB of 64 MiB\x1b[K",
		" 1  open a tunnel        412 MB/s   64 MiB\x1b[K",
		" 2  close it                    …\x1b[K",
		" 2  close it               8.1 ms   in order\x1b[K",
		" 3  stop                        …\x1b[K",
		" 3  stop                   failed\x1b[K",
	}
	if d := cmp.Diff(want, shown); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestColourIsOnlyWhereItWasAskedFor(t *testing.T) {
	for _, color := range []bool{false, true} {
		var b strings.Builder
		steps(&narration{out: &b, color: color})
		if got := strings.Contains(b.String(), "\x1b["); got != color {
			t.Errorf("colour %v: escape sequences %v", color, got)
		}
		plain := strings.NewReplacer("\x1b[2m", "", "\x1b[32m", "", "\x1b[31m", "", "\x1b[0m", "").Replace(b.String())
		var want strings.Builder
		steps(&narration{out: &want})
		if d := cmp.Diff(want.String(), plain); d != "" {
			t.Errorf("colour %v changes more than colours (-want +got):\n%s", color, d)
		}
	}
}
