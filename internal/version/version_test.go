package version

import (
	"runtime/debug"
	"testing"
)

func TestLine(t *testing.T) {
	built := &debug.BuildInfo{
		GoVersion: "go1.26.0", Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: "abc"}},
	}
	for _, test := range []struct {
		info *debug.BuildInfo
		fips bool
		want string
	}{
		{built, false, "apitoken-operator v1.2.3, commit abc, go1.26.0, FIPS 140-3 mode off"},
		{built, true, "apitoken-operator v1.2.3, commit abc, go1.26.0, FIPS 140-3 mode on"},
		{&debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "(devel)"}}, false,
			"apitoken-operator (devel), commit (unknown), go1.26.0, FIPS 140-3 mode off"},
		{nil, false, "apitoken-operator (unknown), commit (unknown), (unknown), FIPS 140-3 mode off"},
	} {
		b := read(test.info)
		b.FIPS = test.fips
		if got := b.Line("apitoken-operator"); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
