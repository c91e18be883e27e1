package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// drawing is one group of bars: a figure of each contender that has it.
type drawing struct {
	title, better      string
	path, work, metric string
	unit               string
}

// drawings are the figures that a reader of docs/performance.md should take away.
var drawings = []drawing{
	{"How much later a keystroke's echo comes beside a transfer (p99)", "less", "20ms", "typing-1", "over idle, p99, bulk to the device", "ms"},
	{"40 short requests at once (p99)", "less", "loopback", "page", "p99", "ms"},
	{"Peak memory on the device while the tunnel stalls", "less", "loopback", "stall-1", "peak RSS of the device's", "MB"},
	{"Processor time on the device, per GB sent from it", "less", "loopback", "bulk", "device's CPU from the device", "s"},
	{"Throughput to the device, no limit", "more", "loopback", "bulk", "to the device", "MB/s"},
}

// bars are the contenders that are drawn, and what they are called.
var bars = []struct{ contender, label, class string }{
	{both, "Culvert", "own"}, {other, "localproxy", "other"}, {plain, "plain TLS", "plain"},
}

// draw writes results as SVG: the median of each figure as a labelled horizontal bar, on no background
// and in colours for light and dark pages.
func draw(all []result, svg string) error {
	return os.WriteFile(svg, []byte(picture(all)), 0o644) //nolint:gosec // a picture for all
}

const (
	pictureWidth         = 720
	barLeft, barWidth    = 96, 480
	barHeight, barPitch  = 18, 24
	titlePitch, groupGap = 24, 18
)

func picture(all []result) string {
	var b strings.Builder
	y := 8
	for _, d := range drawings {
		type bar struct {
			label, class string
			value        float64
		}
		var group []bar
		most := 0.0
		for _, c := range bars {
			if v, ok := median(all, d, c.contender); ok {
				group = append(group, bar{c.label, c.class, v})
				most = max(most, v)
			}
		}
		if len(group) == 0 {
			continue
		}
		y += titlePitch
		fmt.Fprintf(&b, `<text x="0" y="%d" class="title">%s</text><text x="%d" y="%d" class="note">%s is better</text>`+"\n", y-8, d.title, pictureWidth, y-8, d.better)
		for _, g := range group {
			width := max(2, g.value/most*barWidth)
			fmt.Fprintf(&b, `<text x="%d" y="%d" class="name">%s</text><rect x="%d" y="%d" width="%.0f" height="%d" rx="2" class="%s"/><text x="%.0f" y="%d">%s %s</text>`+"\n",
				barLeft-8, y+13, g.label, barLeft, y, width, barHeight, g.class, barLeft+width+6, y+13, digits(g.value), d.unit)
			y += barPitch
		}
		y += groupGap
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Culvert beside localproxy and plain TLS">
<style>text{font:13px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;fill:#1f2328}.title{font-weight:600;font-size:14px}.note,.name{text-anchor:end}.note{font-size:12px;fill:#59636e}.own{fill:#0969da}.other{fill:#bc4c00}.plain{fill:#818b98}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.own{fill:#4493f8}.other{fill:#f0883e}.plain{fill:#656c76}}</style>
%s</svg>
`, pictureWidth, y, pictureWidth, y, b.String())
}

func median(all []result, d drawing, contender string) (float64, bool) {
	var values []float64
	for _, r := range all {
		if r.Path == d.path && r.Work == d.work && r.Metric == d.metric && r.Contender == contender {
			values = append(values, r.Value)
		}
	}
	if len(values) == 0 {
		return 0, false
	}
	slices.Sort(values)
	return values[len(values)/2], true
}

// digits writes a figure with three digits that mean something, and thousands set apart.
func digits(v float64) string {
	switch {
	case v >= 1000:
		s := strconv.Itoa(int(v+5) / 10 * 10)
		return s[:len(s)-3] + "," + s[len(s)-3:]
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
