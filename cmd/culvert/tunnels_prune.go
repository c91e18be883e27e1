package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/internal/terminal"
	"github.com/culvert-iot/culvert/operator/holder"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/opentunnels"
	"github.com/culvert-iot/culvert/operator/presence"
)

// pruned is the outcome of a tunnel in --output json.
type pruned struct {
	Thing  string `json:"thing"`
	Tunnel string `json:"tunnel"`
	State  string `json:"state"` // closed, kept, failed
	Reason string `json:"reason,omitempty"`
}

// pruneUnused closes the unused open tunnels, after a confirmation.
func (o *tunnelsOptions) pruneUnused(ctx context.Context, cmd *cobra.Command, api *iot.Client, held []holder.Status, open []opentunnels.Tunnel) error {
	errs, now := cmd.ErrOrStderr(), time.Now()
	holders := map[string]bool{}
	for _, h := range held {
		for _, t := range h.Tunnels {
			holders[t.ID] = true
		}
	}
	var unused []opentunnels.Tunnel
	for _, t := range open {
		if !holders[t.ID] && t.Unused(now) == "" {
			unused = append(unused, t)
		}
	}
	kept := len(open) - len(unused)
	if len(unused) == 0 {
		fmt.Fprintf(errs, "culvert: nothing to close: %d open, all of them in use, held or used recently\n", kept)
		return nil
	}
	for _, t := range unused {
		fmt.Fprintf(errs, "culvert: unused: %s\n", describeUnused(t, now))
	}
	text := fmt.Sprintf("%d of %d open tunnels can be closed", len(unused), len(open))
	if !o.yes {
		if !terminal.Is(cmd.InOrStdin()) {
			return usagef(cmd, "%s: confirm it with --yes", text)
		}
		if err := confirm(ctx, cmd, text+". Close them?"); err != nil {
			return err
		}
	}
	failed := 0
	for _, t := range unused {
		p := pruned{Thing: t.Thing, Tunnel: t.ID, State: "closed"}
		err := closeUnused(ctx, api, t.ID, &p)
		if ctx.Err() != nil {
			return &exitError{exitInterrupted, errors.New("interrupted")}
		}
		if err != nil {
			failed++
			p.State, p.Reason = "failed", explained(err)
		}
		if err := o.printPruned(cmd, p); err != nil {
			return err
		}
	}
	if failed > 0 {
		return &exitError{exitFailed, fmt.Errorf("%d of %d tunnels were not closed", failed, len(unused))}
	}
	return nil
}

func describeUnused(t opentunnels.Tunnel, now time.Time) string {
	thing, last := t.Thing, "no source was ever connected"
	if thing == "" {
		thing = "no thing"
	}
	if t.SourceChanged.After(t.Created) {
		last = "last used " + presence.Rough(now.Sub(t.SourceChanged)) + " ago"
	}
	return fmt.Sprintf("%s, tunnel %s (%s), opened %s ago, %s", thing, t.ID, strings.Join(t.Services, ","), presence.Rough(now.Sub(t.Created)), last)
}

// closeUnused closes a tunnel unless a source has connected since the question was asked.
func closeUnused(ctx context.Context, api *iot.Client, id string, p *pruned) error {
	t, err := opentunnels.Describe(ctx, api, id)
	switch {
	case err != nil:
		return err
	case t == nil:
		p.Reason = "it was closed already"
		return nil
	}
	if why := t.Unused(time.Now()); why != "" {
		p.State, p.Reason = "kept", why
		return nil
	}
	_, err = api.CloseTunnel(ctx, &iot.CloseTunnelInput{TunnelId: &id})
	return err
}

func (o *tunnelsOptions) printPruned(cmd *cobra.Command, p pruned) error {
	out := cmd.OutOrStdout()
	switch o.output {
	case "json":
		return json.NewEncoder(out).Encode(p)
	case "text":
		_, err := fmt.Fprintln(out, strings.Join([]string{p.Thing, p.Tunnel, p.State, p.Reason}, "\t"))
		return err
	}
	text := p.State + " " + p.Tunnel
	if p.Thing != "" {
		text += " of " + p.Thing
	}
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	_, err := fmt.Fprintln(out, text)
	return err
}
