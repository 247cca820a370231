//go:build e2e

package e2e_test

import (
	"testing"
)

const profileScript = "/plugins/servlet/api-tokens/static/profile.js"

// inProfile uses the block of API tokens in the profile of a user.
func (s *site) inProfile(t *testing.T, state string) (steps int) {
	t.Helper()
	told := s.browsing(t)
	page, behind, elsewhere := "/secure/ViewProfile.jspa", "details-profile-fragment", "/secure/Dashboard.jspa"
	if s == world.wiki {
		page, behind, elsewhere = "/users/viewmysettings.action", "editUser", "/dashboard.action"
	}
	told["page"], told["behind"], told["elsewhere"], told["state"] = s.url+page, behind, elsewhere, state
	told["user"], told["password"] = "dave", "daves password"
	return node(t, "profile.mjs", told)
}

// The script comes with the line that an administrator puts into Jira's announcement banner.
func TestProfileBlock(t *testing.T) {
	s := world.jira
	s.product.SetBanner(`<script src="` + profileScript + `"></script>`)
	defer s.product.SetBanner("")
	if steps := s.inProfile(t, "whole"); steps < 14 {
		t.Errorf("only %d steps", steps)
	}
	s.withoutLicense(t, func() {
		if steps := s.inProfile(t, "unlicensed"); steps != 2 {
			t.Errorf("%d steps", steps)
		}
	})
}

// nginx adds the script to Confluence's page, as the option of the sample says.
func TestProfileBlockOfConfluence(t *testing.T) {
	if steps := world.wiki.inProfile(t, "whole"); steps < 14 {
		t.Errorf("only %d steps", steps)
	}
}
