// Package version says what a binary was built from.
package version

import (
	"crypto/fips140"
	"fmt"
	"runtime/debug"
)

// unknown stands for what a build does not say.
const unknown = "(unknown)"

// Build is what a binary was built from.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"goVersion"`
	// FIPS says whether FIPS 140-3 mode is on.
	FIPS bool `json:"fips"`
}

// Running returns the Build of the running binary.
func Running() Build {
	info, _ := debug.ReadBuildInfo()
	b := read(info)
	b.FIPS = fips140.Enabled()
	return b
}

// read returns the Build of a binary with this information, which may be nil.
func read(info *debug.BuildInfo) Build {
	b := Build{Version: unknown, Commit: unknown, Go: unknown}
	if info == nil {
		return b
	}
	b.Version, b.Go = info.Main.Version, info.GoVersion
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Commit = s.Value
		}
	}
	return b
}

// Line says it in one line. program is the name of the binary.
func (b Build) Line(program string) string {
	mode := "off"
	if b.FIPS {
		mode = "on"
	}
	return fmt.Sprintf("%s %s, commit %s, %s, FIPS 140-3 mode %s", program, b.Version, b.Commit, b.Go, mode)
}
