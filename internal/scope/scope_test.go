package scope

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFlag(t *testing.T) {
	for text, want := range map[string]struct {
		names, each Namespaces
		has, hasNot string
	}{
		"":               {nil, Namespaces{""}, "anything", ""},
		"jira":           {Namespaces{"jira"}, Namespaces{"jira"}, "jira", "jira-2"},
		"jira,team-a":    {Namespaces{"jira", "team-a"}, Namespaces{"jira", "team-a"}, "team-a", "team"},
		"jira,jira":      {Namespaces{"jira"}, Namespaces{"jira"}, "jira", "jira,jira"},
		"team-a,jira,ab": {Namespaces{"team-a", "jira", "ab"}, Namespaces{"team-a", "jira", "ab"}, "ab", "a"},
	} {
		n := Namespaces{"before"}
		if err := n.Set(text); err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want.names, n) + cmp.Diff([]string(want.each), n.Each()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
		if !n.Has(want.has) || want.hasNot != "" && n.Has(want.hasNot) {
			t.Errorf("%q: has %q %t, has %q %t", text, want.has, n.Has(want.has), want.hasNot, n.Has(want.hasNot))
		}
	}
}

// A name that no namespace has would leave a process without anything to see.
func TestFlagRefuses(t *testing.T) {
	for _, text := range []string{",", "jira,", ",jira", "Jira", "jira team", "jira, team", "*", "a.b", strings.Repeat("a", 64)} {
		n := Namespaces{"before"}
		if err := n.Set(text); err == nil || !strings.Contains(err.Error(), "cannot be the name of a namespace") || n.String() != "before" {
			t.Errorf("%q gives %q, %v", text, n.String(), err)
		}
	}
}
