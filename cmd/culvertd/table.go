package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/session"
	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/textwrap"
	"github.com/culvert-iot/culvert/internal/units"
)

// width is that of the narrowest terminal in use.
const width = 80

// table draws a status for people, at most width columns wide.
func table(s agent.Status) string {
	var b strings.Builder
	paragraph(&b, "culvertd", fmt.Sprintf("%s, pid %d, thing %s, up %s", s.Version.Version, s.PID, s.Thing, age(s.Now.Sub(s.Started))))
	mqtt := "disabled, notifications come by culvertd notify"
	if s.MQTT.State != agent.Disabled {
		mqtt = connection(s)
	}
	paragraph(&b, "mqtt", mqtt)
	if s.MQTT.LastError != "" {
		paragraph(&b, "", fmt.Sprintf("last error %s ago: %s", age(s.Now.Sub(s.MQTT.LastErrorAt)), advised(s.MQTT.LastError, s.MQTT.LastHint)))
	}
	if s.MQTT.AnswersDenied {
		paragraph(&b, "pings", "no longer answered, since the connection ended after each answer: the policy must allow iot:Publish and "+
			"iot:RetainPublish on topic/culvert/"+s.Thing+"/pong; then restart culvertd")
	}
	paragraph(&b, "services", services(s.Services))
	if h := s.Hooks; h != nil {
		paragraph(&b, "hooks", fmt.Sprintf("%s, %d run, %d failed, %d dropped", h.Command, h.Run, h.Failed, h.Dropped))
		if h.LastError != "" {
			paragraph(&b, "", fmt.Sprintf("last error %s ago: %s", age(s.Now.Sub(h.LastErrorAt)), h.LastError))
		}
	}
	if d := s.State; d != nil {
		paragraph(&b, "state", d.Directory+": "+advised(d.LastError, d.Hint))
	}
	if c := s.Clock; c != nil {
		paragraph(&b, "clock", advised(c.Error, c.Hint))
	}
	paragraph(&b, "tunnels", tunnels(s.Limits)+detached(s.Detached))
	if len(s.Tunnels) == 0 {
		return b.String()
	}
	const row = "%-8s  %-10s  %4s  %-22s  %5s  %9s  %9s\n"
	b.WriteByte('\n')
	var ended []session.Status
	fmt.Fprintf(&b, row, "SESSION", "STATE", "AGE", "SERVICES", "CONNS", "IN", "OUT")
	for _, t := range s.Tunnels {
		if t.State == session.Ended {
			ended = append(ended, t)
			continue
		}
		names, conns, in, out := make([]string, 0, len(t.Services)), 0, uint64(0), uint64(0)
		for _, v := range t.Services {
			names = append(names, v.Service)
			conns += v.Connections
			in += v.BytesIn
			out += v.BytesOut
		}
		fmt.Fprintf(&b, row, clean.Text(t.Session, 0), clean.Text(string(t.State), 0), age(s.Now.Sub(t.Received)), list(names, 22),
			fmt.Sprint(conns), units.Bytes(in), units.Bytes(out))
		for _, line := range details(t, s.Now) {
			paragraph(&b, "", line)
		}
	}
	for _, t := range ended {
		line := fmt.Sprintf("%-8s  %-10s  %4s  %s", clean.Line(t.Session, 0), "ended", age(s.Now.Sub(t.Since)), clean.Line(advised(t.Reason, t.Hint), 0))
		b.WriteString(crop(line, width) + "\n")
	}
	return b.String()
}

// crop cuts a line to most columns, and marks the cut.
func crop(line string, most int) string {
	if runes := []rune(line); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return line
}

// connection describes the MQTT connection.
func connection(s agent.Status) string {
	mqtt := fmt.Sprintf("%s for %s, %s, client id %s", s.MQTT.State, age(s.Now.Sub(s.MQTT.Since)), s.MQTT.Endpoint, s.MQTT.ClientID)
	if s.MQTT.LastNotify.IsZero() {
		mqtt += ", no notification yet"
	} else {
		mqtt += ", last notification " + age(s.Now.Sub(s.MQTT.LastNotify)) + " ago"
	}
	return mqtt
}

// details are the lines under a tunnel: what is not well, and what follows.
func details(t session.Status, now time.Time) []string {
	var lines []string
	switch t.State {
	case session.Waiting:
		if !t.NextAttempt.IsZero() { // else it waits for a place
			lines = append(lines, "next attempt in "+age(t.NextAttempt.Sub(now)))
		}
	case session.Connecting, session.Connected, session.Ended:
	}
	if t.LastError != "" {
		lines = append(lines, "last error"+ago(t.LastErrorAt, now)+": "+advised(t.LastError, t.LastHint))
	}
	for _, v := range t.Services {
		if v.LastError != "" {
			lines = append(lines, v.Service+ago(v.LastErrorAt, now)+": "+v.LastError)
		}
	}
	return lines
}

// advised joins an error and its advice.
func advised(text, advice string) string { return hint.Line(hint.New(text, advice)) }

// ago says how old an error is, if that is known.
func ago(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	return " " + age(now.Sub(at)) + " ago"
}

// detached says what waits to be resumed; "" is nothing.
func detached(d agent.Detached) string {
	if d.Connections == 0 {
		return ""
	}
	return fmt.Sprintf(", %d connections detached %.0f s", d.Connections, d.Longest)
}

func tunnels(l agent.Limits) string {
	text := fmt.Sprintf("%d of %d", l.Tunnels, l.MaxTunnels)
	if l.Tunnels == 0 {
		text = "none"
	}
	if l.TunnelsRefused > 0 {
		text += fmt.Sprintf(", %d refused", l.TunnelsRefused)
	}
	if l.UnknownRefused > 0 {
		text += fmt.Sprintf(", %d connections to services that are not configured", l.UnknownRefused)
	}
	return text
}

func services(all []agent.ServiceStatus) string {
	if len(all) == 0 {
		return "none configured"
	}
	texts := make([]string, 0, len(all))
	for _, s := range all {
		text := s.Service + " " + s.Target
		var notes []string
		switch {
		case !s.Enabled:
			notes = append(notes, "disabled")
		case s.MaxConnections > 0:
			notes = append(notes, fmt.Sprintf("%d of %d", s.Connections, s.MaxConnections))
		case s.Connections > 0:
			notes = append(notes, fmt.Sprint(s.Connections))
		}
		refused := uint64(0)
		for _, n := range s.Refused {
			refused += n
		}
		if refused > 0 {
			notes = append(notes, fmt.Sprintf("%d refused", refused))
		}
		if len(notes) > 0 {
			text += " (" + strings.Join(notes, ", ") + ")"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

// list joins names with commas as long as they fit, and counts the rest.
func list(names []string, most int) string {
	text := ""
	for i, name := range names {
		next := clean.Text(name, 0)
		if i > 0 {
			next = text + "," + next
		}
		rest := ""
		if i < len(names)-1 {
			rest = fmt.Sprintf(",+%d", len(names)-1-i)
		}
		if len(next)+len(rest) > most {
			if i == 0 {
				return next[:most-len(rest)-1] + "~" + rest
			}
			return fmt.Sprintf("%s,+%d", text, len(names)-i)
		}
		text = next
	}
	return text
}

// paragraph writes a name and a text beside it, wrapped.
func paragraph(b *strings.Builder, name, text string) {
	b.WriteString(textwrap.Hanging(fmt.Sprintf("%-10s", name), clean.Line(text, 0), width))
}

// age shows a duration in at most four characters.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d/time.Hour))
	default:
		return fmt.Sprintf("%dd", int(d/(24*time.Hour)))
	}
}
