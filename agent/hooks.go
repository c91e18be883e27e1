package agent

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/agent/hook"
	"github.com/culvert-iot/culvert/agent/session"
)

// hookGrace is how long the commands of the last events may take when the daemon stops.
const hookGrace = 500 * time.Millisecond

// observe hands what happens to tunnels and connections to the process around the agent and to the owner's command.
func (a *Agent) observe(e session.Event) {
	if a.opts.Connection != nil && (e.Kind == session.ConnectionOpened || e.Kind == session.ConnectionClosed) {
		a.opts.Connection()
	}
	if name := string(e.Kind); a.hooks.Wants(name) {
		a.hooks.Tell(hook.Event{Name: name, Facts: hookFacts(a.running.ThingName, e)})
	}
}

// finishHooks lets the commands of the last events run for a moment.
func (a *Agent) finishHooks(kill context.CancelFunc) {
	a.hooks.Stop()
	time.AfterFunc(hookGrace, kill)
}

// hookFacts are an event as environment variables. docs/configuration.md lists them.
func hookFacts(thing string, e session.Event) []string {
	facts := []string{
		"CULVERT_TIME=" + e.Time.UTC().Format(time.RFC3339), "CULVERT_THING=" + thing, "CULVERT_SESSION=" + e.Session,
		"CULVERT_CHANNEL_ID=" + plain(e.ChannelID), "CULVERT_REGION=" + e.Region,
	}
	add := func(name string, value any) { facts = append(facts, fmt.Sprintf("CULVERT_%s=%v", name, value)) }
	switch e.Kind {
	case session.TunnelOpened, session.TunnelClosed:
		add("SERVICES", strings.Join(e.Services, ","))
	case session.ConnectionOpened, session.ConnectionClosed:
		add("SERVICE", e.Service)
		add("TARGET", e.Target)
		add("STREAM", e.Stream)
		add("CONNECTION", e.Connection)
	}
	if e.Kind == session.TunnelClosed {
		add("CONNECTIONS", e.Connections)
	}
	if e.Kind == session.TunnelClosed || e.Kind == session.ConnectionClosed {
		add("BYTES_IN", e.BytesIn)
		add("BYTES_OUT", e.BytesOut)
		add("DURATION", strconv.FormatFloat(e.Duration.Seconds(), 'f', 3, 64))
		add("REASON", e.Reason)
	}
	return facts
}

// plain keeps what a stranger has chosen from meaning something to a shell.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.', r == ':':
			return r
		}
		return '_'
	}, s)
}
