package main

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	columns = 2
	width   = 26 * vg.Centimeter
	height  = 8 * vg.Centimeter // of a row
)

// chart writes all panels that have values as one SVG.
func chart(out io.Writer, results []result) error {
	var plots []*plot.Plot
	for _, panel := range panels {
		p, any, err := bars(panel, results)
		if err != nil {
			return fmt.Errorf("%s: %w", panel.title, err)
		}
		if any {
			plots = append(plots, p)
		}
	}
	if len(plots) == 0 {
		return errors.New("the results hold nothing that is drawn")
	}
	rows := (len(plots) + columns - 1) / columns
	canvas := vgsvg.New(width, height*vg.Length(rows))
	page := draw.New(canvas)
	page.SetColor(color.White)
	page.Fill(page.Rectangle.Path())
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: 8 * vg.Millimeter, PadY: 6 * vg.Millimeter, PadTop: 3 * vg.Millimeter, PadBottom: 3 * vg.Millimeter, PadLeft: 3 * vg.Millimeter, PadRight: 3 * vg.Millimeter}
	for i, p := range plots {
		p.Draw(tiles.At(page, i%columns, i/columns))
	}
	_, err := canvas.WriteTo(out)
	return err
}

// bars draws one panel.
func bars(panel panel, results []result) (p *plot.Plot, any bool, err error) {
	p = plot.New()
	p.Title.Text = panel.title
	p.Title.TextStyle.Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: 11}
	p.Y.Label.Text = panel.unit
	p.NominalX(panel.groups...)
	p.Legend.Top = true
	var drawn []series
	values := map[string][]float64{}
	for _, s := range all {
		if v, ok := medians(panel, results, s.contender); ok {
			drawn, values[s.contender] = append(drawn, s), v
		}
	}
	if len(drawn) == 0 {
		return p, false, nil
	}
	w := vg.Points(150) / vg.Length(len(panel.groups)*len(drawn))
	top := 0.0
	for i, s := range drawn {
		heights := make(plotter.Values, len(panel.groups))
		labels := plotter.XYLabels{}
		shift := w * (vg.Length(i) - vg.Length(len(drawn)-1)/2)
		for g, v := range values[s.contender] {
			heights[g] = panel.height(v)
			top = math.Max(top, heights[g])
			labels.XYs = append(labels.XYs, plotter.XY{X: float64(g), Y: heights[g]})
			labels.Labels = append(labels.Labels, short(v))
		}
		b, err := plotter.NewBarChart(heights, w)
		if err != nil {
			return nil, false, err
		}
		b.Color = color.RGBA{s.colour[0], s.colour[1], s.colour[2], 255}
		b.LineStyle.Width = 0
		b.Offset = shift
		above, err := plotter.NewLabels(labels)
		if err != nil {
			return nil, false, err
		}
		above.Offset = vg.Point{X: shift, Y: vg.Points(2)}
		for i := range above.TextStyle {
			above.TextStyle[i].XAlign = draw.XCenter
			above.TextStyle[i].Font.Size = 7
		}
		p.Add(b, above)
		p.Legend.Add(s.label, b)
	}
	p.Y.Min, p.Y.Max = 0, top*1.45 // room for the legend
	if panel.logarithmic {
		p.Y.Tick.Marker = decades{}
	}
	return p, true, nil
}

// least is where a logarithmic axis begins.
const least = 0.1

func (p panel) height(v float64) float64 {
	if !p.logarithmic {
		return v
	}
	return math.Max(0, math.Log10(v/least))
}

// decades are the ticks of a logarithmic axis.
type decades struct{}

// Ticks is plot.Ticker's.
func (decades) Ticks(_, most float64) (ticks []plot.Tick) {
	for i := 0; float64(i) <= most; i++ {
		ticks = append(ticks, plot.Tick{Value: float64(i), Label: short(least * math.Pow10(i))})
	}
	return ticks
}

// short writes a figure with as many digits as it is worth.
func short(v float64) string {
	switch {
	case v == 0:
		return ""
	case math.Abs(v) >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 9.95:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2g", v)
	}
}
