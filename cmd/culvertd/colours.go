package main

import (
	"strings"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/session"
)

// Terminal colours (ECMA-48) that most people can tell apart.
const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	faint  = "\x1b[2m"
	plain  = "\x1b[0m"
)

// coloured paints a [table]: working parts green, failing ones yellow, ended ones faint. The text stays the same, so
// that colours add no information.
func coloured(table string) string {
	const nameWidth = 10 // of the text in front of a state
	var b strings.Builder
	inTunnels := false
	for line := range strings.Lines(table) {
		text := strings.TrimSuffix(line, "\n")
		indented := strings.HasPrefix(text, strings.Repeat(" ", nameWidth))
		switch {
		case strings.HasPrefix(text, "SESSION "):
			inTunnels = true
			b.WriteString(faint + text + plain)
		case indented && (inTunnels || strings.HasPrefix(strings.TrimSpace(text), "last error")):
			b.WriteString(yellow + text + plain)
		case !indented && len(text) > nameWidth && inTunnels:
			state, rest, _ := strings.Cut(text[nameWidth:], " ")
			switch session.State(state) {
			case session.Ended:
				b.WriteString(faint + text + plain)
			case session.Connected:
				b.WriteString(text[:nameWidth] + green + state + plain + " " + rest)
			default:
				b.WriteString(text[:nameWidth] + yellow + state + plain + " " + rest)
			}
		case strings.HasPrefix(text, "mqtt "):
			state, rest, _ := strings.Cut(text[nameWidth:], " ")
			colour := yellow
			switch {
			case state == string(agent.Subscribed):
				colour = green
			case strings.HasPrefix(state, string(agent.Disabled)):
				colour = plain
			}
			b.WriteString(text[:nameWidth] + colour + state + plain + " " + rest)
		default:
			b.WriteString(text)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
