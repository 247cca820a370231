package main

import (
	"crypto/fips140"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit, the version of Go, and whether FIPS 140-3 mode is on",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			info, _ := debug.ReadBuildInfo()
			fmt.Fprintln(cmd.OutOrStdout(), describe(info, fips140.Enabled()))
		},
	}
}

// describe says what a binary was built from. info may be nil.
func describe(info *debug.BuildInfo, fips bool) string {
	version, commit, goVersion, mode := "(unknown)", "(unknown)", "(unknown)", "off"
	if info != nil {
		version, goVersion = info.Main.Version, info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	if fips {
		mode = "on"
	}
	return fmt.Sprintf("apitoken-operator %s, commit %s, %s, FIPS 140-3 mode %s", version, commit, goVersion, mode)
}
