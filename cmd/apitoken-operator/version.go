package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"apitokens.dev/operator/internal/version"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit, the version of Go, and whether FIPS 140-3 mode is on",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), version.Running().Line("apitoken-operator"))
		},
	}
}
