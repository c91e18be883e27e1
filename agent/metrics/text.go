package metrics

import (
	"math"
	"strconv"
	"strings"
)

// Page is a text in Prometheus's exposition format, version 0.0.4. The zero value is empty.
type Page struct{ text []byte }

// Counter begins a family whose figures only grow, until the daemon restarts. Its name ends with _total. values are
// figures without labels.
func (p *Page) Counter(name, help string, values ...float64) { p.family(name, "counter", help, values) }

// Gauge begins a family whose figures go up and down. values are figures without labels.
func (p *Page) Gauge(name, help string, values ...float64) { p.family(name, "gauge", help, values) }

func (p *Page) family(name, kind, help string, values []float64) {
	p.text = append(p.text, "# HELP "+name+" "+help+"\n# TYPE "+name+" "+kind+"\n"...)
	for _, v := range values {
		p.Add(name, v)
	}
}

// Add writes one figure of the family that was begun last. labels are names and values by turns; a value may be anything.
func (p *Page) Add(name string, value float64, labels ...string) {
	p.text = append(p.text, name...)
	for i := 0; i+1 < len(labels); i += 2 {
		separator := ","
		if i == 0 {
			separator = "{"
		}
		p.text = append(p.text, separator+labels[i]+`="`+escape(labels[i+1])+`"`...)
	}
	if len(labels) > 1 {
		p.text = append(p.text, '}')
	}
	p.text = append(p.text, ' ')
	if value == math.Trunc(value) && math.Abs(value) < 1<<53 {
		p.text = strconv.AppendInt(p.text, int64(value), 10)
	} else {
		p.text = strconv.AppendFloat(p.text, value, 'g', -1, 64)
	}
	p.text = append(p.text, '\n')
}

// Response is the page as an answer.
func (p *Page) Response() Response {
	return Response{Status: statusOK, Type: "text/plain; version=0.0.4; charset=utf-8", Body: p.text}
}

// escape writes a label's value as the format wants it.
func escape(s string) string {
	return escapes.Replace(strings.ToValidUTF8(s, "�"))
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
