package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/version"
	"github.com/culvert-iot/culvert/operator/holder"
)

// newTunnelsCommand lists and ends the holders that commands share.
func newTunnelsCommand() *cobra.Command {
	var thing string
	cmd := &cobra.Command{
		Use:     "tunnels [--close THING]",
		Short:   "Tunnels that your commands share",
		Long:    "Lists the tunnels that background holders keep for your commands, and where each holder's log is.",
		Example: "  culvert tunnels\n  culvert tunnels --close pi-1",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := holder.Directory()
			if err != nil {
				return &exitError{exitFailed, err}
			}
			own := version.Get().String()
			if thing != "" {
				n, err := holder.Close(dir, own, thing)
				if err == nil && n == 0 {
					err = hint.New("no tunnel to "+thing+" is held", "culvert tunnels lists those that are")
				}
				if err != nil {
					return &exitError{exitFailed, err}
				}
				return nil
			}
			list, err := holder.All(dir, own)
			if err != nil {
				return &exitError{exitFailed, err}
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "THING\tTUNNEL\tSERVICES\tAGE\tLEFT\tUSERS\tIN\tOUT\tLOG")
			for _, h := range list {
				for _, t := range h.Tunnels {
					fmt.Fprintf(w, "%s\t%s\t%s\t%v\t%v\t%d\t%d\t%d\t%s\n", h.Thing, t.ID, strings.Join(t.Services, ","),
						time.Since(t.Since).Round(time.Second), time.Until(t.Expires).Round(time.Minute), t.Users, t.BytesIn, t.BytesOut, h.Log)
				}
			}
			return w.Flush()
		},
	}
	cmd.Flags().StringVar(&thing, "close", "", "end the holders of this `thing`, which close the tunnels that they opened")
	reachHelp(cmd)
	return cmd
}
