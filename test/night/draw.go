package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

// measured is the night of the real agents; -o writes it.
//
//go:embed testdata/night.json
var measured []byte

// modelled is the model's night, with many sessions.
var modelled = night{clients: 100_000, limit: dataLimit, outage: 10 * time.Minute, seed: 1}

// The picture's dimensions, in pixels.
const (
	width, panelHeight = 720, 240
	left, right        = 64, 12
	top, bottom        = 62, 34
)

const style = `text{font:13px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;fill:#1f2328}.title{font-weight:600;font-size:14px}` +
	`.axis{font-size:12px;fill:#59636e}.end{text-anchor:end}.mid{text-anchor:middle}line{stroke:#d1d9e0}path{fill:none;stroke-width:2}` +
	`.gone{fill:#818b98;fill-opacity:.15}.own{stroke:#0969da}.other{stroke:#bc4c00}.best{stroke:#818b98;stroke-dasharray:5 4}` +
	`text.own{fill:#0969da;stroke:none}text.other{fill:#bc4c00;stroke:none}text.best{fill:#59636e;stroke:none}` + "\n" +
	`@media(prefers-color-scheme:dark){text{fill:#e6edf3}.axis,text.best{fill:#9198a1}line{stroke:#3d444d}.own{stroke:#4493f8}.other{stroke:#f0883e}.best{stroke:#9198a1}` +
	`text.own{fill:#4493f8}text.other{fill:#f0883e}}`

// curve is a line of a panel.
type curve struct {
	class, label string
	x, y         []float64 // x in the panel's unit, y from 0 to the panel's most
}

// panel is a diagram over time.
type panel struct {
	title, unit string
	step        float64 // between labels of x
	begin, end  float64 // of x
	most        float64 // of y
	curves      []curve
}

// draw writes the picture of both nights.
func draw(path string) error {
	var agents Night
	if err := json.Unmarshal(measured, &agents); err != nil {
		return err
	}
	if len(agents.Moments) == 0 {
		return errors.New("there is no measured night")
	}
	panels := []panel{realPanel(agents), modelPanel(modelled, modelled.run())}
	height := len(panels) * panelHeight
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img" aria-label="How a fleet comes back after an outage">`+"\n<style>%s</style>\n", width, height, style)
	for i, p := range panels {
		fmt.Fprintf(&b, `<g transform="translate(0 %d)">`+"\n", i*panelHeight)
		p.draw(&b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return os.WriteFile(path, []byte(b.String()), 0o644) //nolint:gosec // a picture of the documentation
}

// realPanel shows the agents in minutes since the service returned, and the end of the outage before: nothing happens in
// the rest of it.
func realPanel(n Night) panel {
	p := panel{
		title: fmt.Sprintf("%s real agents with a tunnel each: connections after an outage of %d minutes", thousands(float64(n.Agents)), n.Outage/60),
		unit:  "min", step: 0.5, begin: -0.5, most: float64(n.Agents),
	}
	back := float64(n.Outage) / 60
	ideal := float64(n.Agents) / float64(n.Limit) / 60
	mqtt, tunnels := curve{class: "other", label: "MQTT"}, curve{class: "own", label: "tunnels"}
	for _, m := range n.Moments {
		x := float64(m.Second)/60 - back
		if x < p.begin {
			continue
		}
		mqtt.x, mqtt.y = append(mqtt.x, x), append(mqtt.y, float64(m.MQTT))
		tunnels.x, tunnels.y = append(tunnels.x, x), append(tunnels.y, float64(m.Tunnels))
		p.end = x
	}
	p.curves = []curve{{"best", fmt.Sprintf("%d tunnels a second", n.Limit), []float64{0, ideal}, []float64{0, p.most}}, mqtt, tunnels}
	return p
}

// modelPanel shows sessions in hours since the service returned.
func modelPanel(n night, r result) panel {
	p := panel{
		title: thousands(float64(n.clients)) + " modelled sessions: connections after the same outage", unit: "h", step: 0.5,
		most: float64(n.clients), end: r.all.Hours(),
	}
	back := curve{class: "own", label: "sessions"}
	connected := 0
	for i, s := range r.seconds {
		if connected += s.connected; i%60 == 59 || i == len(r.seconds)-1 {
			back.x, back.y = append(back.x, float64(i+1)/3600), append(back.y, float64(connected))
		}
	}
	p.curves = []curve{back, {"best", fmt.Sprintf("%d a second", n.limit), []float64{0, n.ideal().Hours()}, []float64{0, p.most}}}
	return p
}

func (p panel) draw(b *strings.Builder) {
	x := func(v float64) float64 { return left + (v-p.begin)/(p.end-p.begin)*(width-left-right) }
	y := func(v float64) float64 { return panelHeight - bottom - v/p.most*(panelHeight-top-bottom) }
	fmt.Fprintf(b, `<text x="0" y="22" class="title">%s</text>`+"\n", p.title)
	if p.begin < 0 {
		fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" class="gone"/><text x="%.1f" y="%.1f" class="axis mid">outage</text>`+"\n",
			x(p.begin), top, x(0)-x(p.begin), panelHeight-top-bottom, x(p.begin/2), y(p.most/4)) // between two lines
	}
	for _, share := range []float64{0, 0.5, 1} {
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" class="axis end">%s</text>`+"\n",
			left, width-right, y(p.most*share), y(p.most*share), left-8, y(p.most*share)+4, thousands(p.most*share))
	}
	for v := p.begin; v <= p.end+1e-9; v += p.step {
		text := strings.Replace(strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0"), "-", "−", 1)
		if v == 0 {
			text += " " + p.unit
		}
		fmt.Fprintf(b, `<text x="%.1f" y="%d" class="axis mid">%s</text>`+"\n", x(v), panelHeight-bottom+18, text)
	}
	at := float64(left) // of the next label
	for _, c := range p.curves {
		var d strings.Builder
		for i := range c.x {
			fmt.Fprintf(&d, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[i == 0], x(c.x[i]), y(c.y[i]))
		}
		fmt.Fprintf(b, `<path d="%s" class="%s"/><text x="%.0f" y="46" class="%[2]s">— %[4]s</text>`+"\n", d.String(), c.class, at, c.label)
		at += 40 + 8*float64(len(c.label))
	}
}

func thousands(v float64) string {
	n := int(math.Round(v))
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}
