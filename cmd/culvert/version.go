package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/internal/version"
)

// versionTemplate is what --version prints, with the program's name as culvertd's has it.
const versionTemplate = "culvert {{.Version}}\n"

func newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print version, commit, Go version and platform",
		Example: "  culvert version\n" +
			"  culvert version --json",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(version.Get())
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "culvert", version.Get())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
