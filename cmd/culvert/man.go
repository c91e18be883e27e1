package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newManCommand writes the manual from the same text as --help. It is hidden: packages call it, and make man.
func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages of all commands into a directory",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil { //nolint:gosec // manual pages are for all users
				return fmt.Errorf("directory of the manual pages: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the same bytes from the same source
			for _, c := range root.Commands() {
				if len(c.Aliases) > 0 { // --help shows them, the library leaves them out
					c.Long += "\n\nShort name: culvert " + strings.Join(c.Aliases, ", culvert ") + "."
				}
			}
			header := &doc.GenManHeader{Section: "1", Source: "Culvert", Manual: "Culvert"}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("write the manual pages: %w", err)
			}
			return nil
		},
	}
}
