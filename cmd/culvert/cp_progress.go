package main

import (
	"fmt"
	"path"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/units"
	"github.com/culvert-iot/culvert/operator/transfer"
)

// cpProgress is the progress event of --json.
type cpProgress struct {
	Event      string  `json:"event"`
	Files      int     `json:"files"`
	TotalFiles int     `json:"total_files"`
	Bytes      int64   `json:"bytes"`
	TotalBytes int64   `json:"total_bytes"`
	Sent       int64   `json:"sent"`
	Rate       float64 `json:"bytes_per_second"`
}

// watch shows a copier's progress until stop is called.
func (r *cpRun) watch(c *transfer.Copier) (stop func()) {
	if r.noProgress {
		return func() {}
	}
	rate := &rateMeter{}
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(progressTick)
		defer tick.Stop()
		for i := 1; ; i++ {
			p := c.Progress()
			rate.add(time.Now(), p.Sent)
			r.show.setBar(func(width int) string { return barText(p, rate.perSecond(), width) })
			if r.json && i%int(time.Second/progressTick) == 0 && p.TotalFiles > 0 {
				r.show.aside(func() {
					r.print(cpProgress{"progress", p.Files, p.TotalFiles, p.Bytes, p.TotalBytes, p.Sent, rate.perSecond()})
				})
			}
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
		r.show.settle()
	}
}

// progressTick is how often the bar moves.
const progressTick = 250 * time.Millisecond

// rateSpan is the time over which the rate is averaged: short enough to follow the link, long enough to read.
const rateSpan = 8 * time.Second

// rateMeter measures bytes in a second over [rateSpan].
type rateMeter struct {
	at    []time.Time
	bytes []int64
}

func (m *rateMeter) add(at time.Time, bytes int64) {
	m.at, m.bytes = append(m.at, at), append(m.bytes, bytes)
	for len(m.at) > 2 && at.Sub(m.at[1]) >= rateSpan {
		m.at, m.bytes = m.at[1:], m.bytes[1:]
	}
}

func (m *rateMeter) perSecond() float64 {
	last := len(m.at) - 1
	if last < 1 {
		return 0
	}
	seconds := m.at[last].Sub(m.at[0]).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(m.bytes[last]-m.bytes[0]) / seconds
}

// barText shows the progress in one line of at most width characters.
func barText(p transfer.Progress, rate float64, width int) string {
	if p.TotalFiles == 0 {
		return "culvert: listing the files to copy ..."
	}
	percent := 100
	if p.TotalBytes > 0 {
		percent = int(min(100, 100*p.Bytes/p.TotalBytes))
	}
	right := fmt.Sprintf(" %3d%%  %s of %s", percent, units.Bytes(p.Bytes), units.Bytes(p.TotalBytes))
	switch left := p.TotalBytes - p.Bytes; {
	case p.Verifying:
		right += "  verifying"
	case left > 0:
		right += "  " + units.Bytes(int64(rate)) + "/s"
		if rate >= 1 {
			right += "  " + clock(time.Duration(float64(left)/rate*float64(time.Second)))
		}
	}
	left := "culvert: "
	if p.TotalFiles > 1 {
		left += fmt.Sprintf("%d/%d ", min(p.Files+1, p.TotalFiles), p.TotalFiles)
	}
	room := width - len(left) - len(right)
	bar, name := "", clean.Line(path.Base(strings.ReplaceAll(p.Current, `\`, "/")), 0)
	if brackets := len(" []"); room >= barLength+brackets+min(columns(name), 12) {
		room -= barLength + brackets
		full := percent * barLength / 100
		bar = " [" + strings.Repeat("#", full) + strings.Repeat("-", barLength-full) + "]"
	}
	return left + shortened(name, max(room, 0)) + bar + right
}

// barLength is the number of characters in the bar itself.
const barLength = 12

// columns is the largest number of columns that s can take: a character beyond ASCII may take two.
func columns(s string) (n int) {
	for _, r := range s {
		if n++; r >= utf8.RuneSelf {
			n++
		}
	}
	return n
}

// shortened cuts the middle out of s so that it takes at most width columns.
func shortened(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	if width < 5 {
		return ""
	}
	head, tail := []rune(s), []rune(s)
	for columns(string(head)) > (width-2)/2 {
		head = head[:len(head)-1]
	}
	for columns(string(tail)) > (width-2)/2 {
		tail = tail[1:]
	}
	return string(head) + ".." + string(tail)
}

// clock formats a duration as a clock shows it.
func clock(d time.Duration) string {
	s := int64(d.Round(time.Second).Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
