package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// scrape writes what a daemon tells on a unix socket into a file, twice a second, until it is told to stop.
func scrape(socket, file string) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}, Timeout: 5 * time.Second}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if a, err := client.Get("http://culvertd/metrics"); err == nil {
			fmt.Fprintf(out, "@ %.3f\n", float64(time.Now().UnixMilli())/1000)
			_, _ = io.Copy(out, a.Body)
			_ = a.Body.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// series are the points of one metric with one set of labels.
type series struct {
	name   string
	labels map[string]string
	times  []float64
	values []float64
}

var sample = regexp.MustCompile(`^([a-z_]+)(?:\{(.*)\})? (\S+)$`)

func readFigures(file string) (map[string]*series, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, now := map[string]*series{}, 0.0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if t, ok := strings.CutPrefix(line, "@ "); ok {
			if now, err = strconv.ParseFloat(t, 64); err != nil {
				return nil, err
			}
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, err
		}
		key := m[1] + "{" + m[2] + "}"
		s := all[key]
		if s == nil {
			s = &series{name: m[1], labels: map[string]string{"thing": "pi-1"}}
			for _, l := range regexp.MustCompile(`([a-z]+)="([^"]*)"`).FindAllStringSubmatch(m[2], -1) {
				s.labels[l[1]] = l[2]
			}
			all[key] = s
		}
		s.times, s.values = append(s.times, now), append(s.values, value)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no figures", file)
	}
	return all, nil
}

// selector knows the expressions of the dashboard: a metric with labels, and rate, sum and time() - around it.
var selector = regexp.MustCompile(`^(time\(\) - |sum by \(thing\) \(|rate\()?([a-z_]+)\{([^}]*)\}(?:\[\$__rate_interval\])?\)?$`)

// evaluate returns the lines of an expression.
func evaluate(expr string, all map[string]*series) ([]*series, error) {
	m := selector.FindStringSubmatch(expr)
	if m == nil {
		return nil, fmt.Errorf("the expression %q is not one that this program knows", expr)
	}
	keys := make([]string, 0, len(all))
	for k := range all {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var found []*series
	for _, k := range keys {
		s := all[k]
		if s.name != m[2] {
			continue
		}
		fits := true
		for _, l := range regexp.MustCompile(`([a-z]+)="([^"]*)"`).FindAllStringSubmatch(m[3], -1) {
			fits = fits && s.labels[l[1]] == l[2]
		}
		if !fits {
			continue
		}
		c := &series{name: s.name, labels: s.labels, times: s.times, values: append([]float64(nil), s.values...)}
		switch strings.TrimRight(m[1], " (") {
		case "time() -":
			for i := range c.values {
				c.values[i] = c.times[i] - c.values[i]
			}
		case "rate": // over two seconds
			for i := len(c.values) - 1; i >= 0; i-- {
				j := max(i-4, 0)
				if c.times[i] == c.times[j] {
					c.values[i] = 0
					continue
				}
				c.values[i] = (s.values[i] - s.values[j]) / (s.times[i] - s.times[j])
			}
		case "sum by (thing)":
			if len(found) > 0 {
				for i := range min(len(c.values), len(found[0].values)) {
					found[0].values[i] += c.values[i]
				}
				continue
			}
		}
		found = append(found, c)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: there are no figures of it", expr)
	}
	return found, nil
}

type panel struct {
	Title, Type string
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct{ Expr, LegendFormat string }
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
}

var colours = []string{"#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#b877d9", "#e02f44"}

// dashboard draws the panels of a Grafana dashboard where they stand, roughly as Grafana would.
func dashboard(file, figures, svg string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var board struct {
		Title  string
		Panels []panel
	}
	if err := json.Unmarshal(data, &board); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	all, err := readFigures(figures)
	if err != nil {
		return err
	}
	const unit, high = 42, 30 // pixels of a grid's place
	bottom := 0
	for _, p := range board.Panels {
		bottom = max(bottom, p.GridPos.Y+p.GridPos.H)
	}
	width, height := 24*unit+16, bottom*high+48
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="The panels of the dashboard">`+"\n", width, height, width, height)
	out.WriteString(`<style>text{font:13.5px Inter,Helvetica,Arial,sans-serif;fill:#ccccdc}.t{font-weight:600}.a{fill:#a0a0ac;font-size:12px}.b{font-size:26px;font-weight:600}polyline{fill:none;stroke-width:1.5}</style>` + "\n")
	fmt.Fprintf(&out, `<rect width="%d" height="%d" fill="#111217"/><text x="12" y="24" class="t" style="font-size:16px">%s</text>`+"\n", width, height, html.EscapeString(board.Title))
	for _, p := range board.Panels {
		x, y := 8+p.GridPos.X*unit, 40+p.GridPos.Y*high
		w, h := p.GridPos.W*unit-8, p.GridPos.H*high-8
		fmt.Fprintf(&out, `<rect x="%d" y="%d" width="%d" height="%d" rx="3" fill="#181b1f" stroke="#2a2d33"/><text x="%d" y="%d" class="t">%s</text>`+"\n", x, y, w, h, x+10, y+20, html.EscapeString(p.Title))
		var lines []*series
		var names []string
		for _, t := range p.Targets {
			found, err := evaluate(t.Expr, all)
			if err != nil {
				return fmt.Errorf("panel %s: %w", p.Title, err)
			}
			for _, s := range found {
				lines = append(lines, s)
				names = append(names, regexp.MustCompile(`\{\{([a-z]+)\}\}`).ReplaceAllStringFunc(t.LegendFormat, func(l string) string { return s.labels[strings.Trim(l, "{}")] }))
			}
		}
		if p.Type == "stat" {
			last := lines[0].values[len(lines[0].values)-1]
			text, colour := show(last, p.FieldConfig.Defaults.Unit), "#73bf69"
			switch p.Title {
			case "Can be reached":
				text = map[bool]string{true: "yes", false: "no"}[last == 1]
			case "Version":
				text = names[0]
			}
			if len(text) > 12 {
				text = text[:12] + "…"
			}
			fmt.Fprintf(&out, `<text x="%d" y="%d" class="b" text-anchor="middle" style="fill:%s;font-size:%dpx">%s</text>`+"\n", x+w/2, y+h/2+18, colour, min(26, 200/max(len(text), 1)), html.EscapeString(text))
			continue
		}
		graph(&out, lines, names, p.FieldConfig.Defaults.Unit, x+62, y+34, w-78, h-80)
	}
	out.WriteString("</svg>\n")
	return os.WriteFile(svg, []byte(out.String()), 0o644)
}

// ticks is the number of parts of a scale.
const ticks = 4

// round returns a scale's step: 1, 2 or 5 times a power of ten, so that the parts hold most.
func round(most float64) float64 {
	least := most / ticks
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, f := range []float64{1, 2, 5} {
		if f*power >= least {
			return f * power
		}
	}
	return 10 * power
}

// graph draws lines over time with scales and, below, a legend.
func graph(out *strings.Builder, lines []*series, names []string, unit string, x, y, w, h int) {
	top, from, to := 0.0, math.Inf(1), math.Inf(-1)
	for _, s := range lines {
		for i, v := range s.values {
			top, from, to = max(top, v), min(from, s.times[i]), max(to, s.times[i])
		}
	}
	if top == 0 {
		top = 1
	}
	step := round(top)
	if unit == "" || unit == "short" {
		step = max(step, 1) // whole things
	}
	top = ticks * step
	left := x - 48
	places := legend(names, w+48)
	h -= places[len(places)-1].y
	for i := range ticks + 1 {
		at := y + h - i*h/ticks
		fmt.Fprintf(out, `<path d="M%d %dh%d" stroke="#2a2d33"/><text x="%d" y="%d" class="a" text-anchor="end">%s</text>`, x, at, w, x-6, at+4, html.EscapeString(show(step*float64(i), unit)))
	}
	span := max(to-from, 1)
	for t := 0.0; t <= span; t += round(span) {
		fmt.Fprintf(out, `<text x="%.0f" y="%d" class="a" text-anchor="middle">%.0f s</text>`, float64(x)+float64(w)*t/span, y+h+14, t)
	}
	for n, s := range lines {
		var points strings.Builder
		for i, v := range s.values {
			fmt.Fprintf(&points, "%.1f,%.1f ", float64(x)+float64(w)*(s.times[i]-from)/span, float64(y+h)-float64(h)*v/top)
		}
		colour := colours[n%len(colours)]
		at, below := left+places[n].x, y+h+28+places[n].y
		fmt.Fprintf(out, `<polyline points="%s" stroke="%s"/><rect x="%d" y="%d" width="10" height="3" fill="%s"/><text x="%d" y="%d" class="a">%s</text>`+"\n",
			strings.TrimSpace(points.String()), colour, at, below, colour, at+14, below+5, html.EscapeString(names[n]))
	}
}

// place is where a legend's entry begins, relative to the legend's corner.
type place struct{ x, y int }

// legend puts entries into rows of a width.
func legend(names []string, width int) []place {
	places := make([]place, len(names))
	x, y := 0, 0
	for n, name := range names {
		long := 26 + 6*len(name)
		if x > 0 && x+long > width {
			x, y = 0, y+15
		}
		places[n] = place{x, y}
		x += long
	}
	return places
}

// show writes a figure with its unit.
func show(v float64, unit string) string {
	switch unit {
	case "s":
		return time.Duration(v * float64(time.Second)).Round(time.Second).String()
	case "percentunit":
		return fmt.Sprintf("%.1f%%", 100*v)
	case "bytes", "Bps":
		suffix := ""
		if unit == "Bps" {
			suffix = "/s"
		}
		for _, u := range []string{"B", "kB", "MB"} {
			if math.Round(v) < 1000 || u == "MB" {
				return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) + " " + u + suffix
			}
			v /= 1000
		}
	}
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}
