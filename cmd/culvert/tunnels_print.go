package main

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/culvert-iot/culvert/internal/units"
	"github.com/culvert-iot/culvert/operator/holder"
	"github.com/culvert-iot/culvert/operator/opentunnels"
	"github.com/culvert-iot/culvert/operator/presence"
)

// tunnelRow is a tunnel in culvert tunnels --output json. Without a tunnel's id it is a holder that has no tunnel.
type tunnelRow struct {
	Thing    string     `json:"thing"`
	Tunnel   string     `json:"tunnel,omitempty"`
	Services []string   `json:"services"`
	Since    *time.Time `json:"since,omitempty"`   // when it was opened; for a held one, when the holder got it
	Expires  *time.Time `json:"expires,omitempty"` // at the latest
	Users    int        `json:"users"`             // commands, or 1 for a source outside the user's holders
	Device   *bool      `json:"device_connected,omitempty"`
	BytesIn  *int64     `json:"bytes_in,omitempty"` // from the device, for a held one
	BytesOut *int64     `json:"bytes_out,omitempty"`
	Held     *heldBy    `json:"held,omitempty"`
}

// heldBy is the background process that holds a tunnel for this user's commands.
type heldBy struct {
	PID    int        `json:"pid"`
	Since  time.Time  `json:"since"`
	Ends   *time.Time `json:"ends,omitempty"` // while no command uses it
	Log    string     `json:"log"`
	Opened int        `json:"opened"`          // tunnels, so far
	Price  string     `json:"price,omitempty"` // of all of them, if --price is known
}

// rows joins the tunnels of holders with those that AWS lists.
func (o *tunnelsOptions) rows(held []holder.Status, open []opentunnels.Tunnel) (rows []tunnelRow) {
	known := map[string]opentunnels.Tunnel{}
	for _, t := range open {
		known[t.ID] = t
	}
	when := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = t.UTC().Truncate(time.Second)
		return &t
	}
	seen := map[string]bool{}
	for _, h := range held {
		by := &heldBy{PID: h.PID, Since: h.Since.UTC().Truncate(time.Second), Ends: when(h.Ends), Log: h.Log, Opened: h.Opened}
		price := o.price
		if price == "" {
			price = h.Price
		}
		by.Price = times(price, h.Opened)
		for _, t := range h.Tunnels {
			seen[t.ID] = true
			r := tunnelRow{
				Thing: h.Thing, Tunnel: t.ID, Services: t.Services, Since: when(t.Since), Expires: when(t.Expires), Users: t.Users,
				BytesIn: &t.BytesIn, BytesOut: &t.BytesOut, Held: by,
			}
			if at, ok := known[t.ID]; ok {
				r.Since, r.Device = when(at.Created), &at.Device
			}
			rows = append(rows, r)
		}
		if len(h.Tunnels) == 0 {
			rows = append(rows, tunnelRow{Thing: h.Thing, Services: []string{}, Held: by})
		}
	}
	for _, t := range open {
		if seen[t.ID] {
			continue
		}
		r := tunnelRow{Thing: t.Thing, Tunnel: t.ID, Services: append([]string{}, t.Services...), Since: when(t.Created), Expires: when(t.Expires), Device: &t.Device}
		if t.Source {
			r.Users = 1
		}
		rows = append(rows, r)
	}
	return rows
}

var amount = regexp.MustCompile(`^(\D*)(\d+(?:\.(\d+))?)(\D*)$`)

// times multiplies an amount such as "1.50 USD". It puts the factor in front of a text that it cannot read.
func times(price string, n int) string {
	if price == "" {
		return ""
	}
	m := amount.FindStringSubmatch(price)
	if m == nil || strings.ContainsAny(m[1]+m[4], ",") {
		return fmt.Sprintf("%d times %s", n, price)
	}
	v, err := strconv.ParseFloat(m[2], 64)
	if err != nil {
		return fmt.Sprintf("%d times %s", n, price)
	}
	return m[1] + strconv.FormatFloat(v*float64(n), 'f', len(m[3]), 64) + m[4]
}

func (o *tunnelsOptions) print(out io.Writer, held []holder.Status, open []opentunnels.Tunnel) error {
	rows := o.rows(held, open)
	if o.output == "json" {
		for _, r := range rows {
			if err := json.NewEncoder(out).Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	now := time.Now()
	heads := []string{"THING", "TUNNEL", "SERVICES", "AGE", "LEFT", "USERS", "IN", "OUT", "HELD BY", "LOG"}
	if o.output == "text" {
		for _, r := range rows {
			fields := r.fields(now, strconv.FormatInt)
			if _, err := fmt.Fprintln(out, strings.Join(fields, "\t")); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	// The logs have lines of their own: paths are long.
	fmt.Fprintln(w, strings.Join(heads[:len(heads)-1], "\t"))
	var said []int
	var below strings.Builder
	for _, r := range rows {
		fields := r.fields(now, func(n int64, _ int) string { return units.Bytes(n) })
		for i, f := range fields {
			if f == "" {
				fields[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(fields[:len(fields)-1], "\t"))
		if r.Held != nil && !slices.Contains(said, r.Held.PID) {
			said = append(said, r.Held.PID)
			below.WriteString(r.Held.line(r.Thing, now))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(out, below.String())
	return err
}

// fields are a row's columns; "" does not apply.
func (r tunnelRow) fields(now time.Time, number func(int64, int) string) []string {
	f := []string{r.Thing, r.Tunnel, strings.Join(r.Services, ","), "", "", strconv.Itoa(r.Users), "", "", "", ""}
	if r.Since != nil {
		f[3] = presence.Rough(now.Sub(*r.Since))
	}
	if r.Expires != nil {
		f[4] = presence.Rough(r.Expires.Sub(now))
	}
	if r.BytesIn != nil {
		f[6], f[7] = number(*r.BytesIn, 10), number(*r.BytesOut, 10)
	}
	if r.Held != nil {
		f[8], f[9] = strconv.Itoa(r.Held.PID), r.Held.Log
	}
	return f
}

// line says what no column says about a holder.
func (h *heldBy) line(thing string, now time.Time) string {
	tunnels := fmt.Sprintf("%d tunnels", h.Opened)
	switch h.Opened {
	case 0:
		tunnels = "no tunnel"
	case 1:
		tunnels = "1 tunnel"
	}
	text := fmt.Sprintf("\n%s: process %d has opened %s", thing, h.PID, tunnels)
	if h.Price != "" {
		text += " (" + h.Price + ")"
	}
	text += " since " + h.Since.Local().Format("Jan 2 15:04")
	if h.Ends != nil {
		text += ", ends in " + presence.Rough(h.Ends.Sub(now)) + " if it is not used"
	}
	return text + "\n  log: " + h.Log + "\n"
}
