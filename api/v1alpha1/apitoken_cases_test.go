package v1alpha1_test

import (
	"slices"
	"strings"
)

// apiToken is an APIToken with the fewest fields.
const apiToken = `{
	"apiVersion": "apitokens.dev/v1alpha1",
	"kind": "APIToken",
	"metadata": {"name": "nightly-export"},
	"spec": {
		"siteRef": {"name": "jira"},
		"user": "alice",
		"label": "nightly export",
		"delivery": {"secretName": "nightly-export"}
	}
}`

var (
	imported = change{"spec.credential.type": "Imported", "spec.credential.imported.secretName": "old", "spec.delivery": nil}
	portal   = change{"spec.credential.type": "Portal", "spec.delivery": nil}
)

// createdBy is a change that names the creating token.
func createdBy(uid string) change {
	return portal.and(change{
		"spec.createdBy.uid": uid, "spec.createdBy.tokenID": "asp_DquJoZLwlsNJm6gU", "spec.createdBy.namespace": "team-a",
	})
}

const (
	wantPath                = "each of `allowedPaths` must be a path such as '/rest/api/2/search'"
	wantNoDotsInPaths       = "`allowedPaths` must not contain '.' or '..' as a path segment"
	wantDeliveryOfGenerated = "`delivery` must be set if `credential.type` is `Generated`, and must not be set otherwise"
	wantImportedOfImported  = "`credential.imported` must be set if `credential.type` is `Imported`, and must not be set otherwise"
	wantRotationOfGenerated = "`rotation` must not be set unless `credential.type` is `Generated`: rotate an imported secret at its source, and a token of the portal in the portal"
	wantLabel               = "`label` must not contain control characters, line breaks or characters that change the direction of text"
	wantUser                = "`user` must not contain ':', control characters, or upper-case letters other than A to Z"
	wantUserTrimmed         = "`user` must not begin or end with white space"
	wantSameSite            = "`siteRef` must not change: delete this APIToken and create another"
	wantSameCredential      = "`credential.type` must not change: delete this APIToken and create another"
	wantLastAccessForward   = "`status.lastAccessedTime` must not be decreased or removed"
)

var apiTokenCases = slices.Concat(
	field("spec.access", rows{
		{"unknown", "ReadOnly", "Read", `spec.access: Unsupported value: "Read"`},
	}),
	field("spec.allowedPaths", rows{
		{"dot-dot", list{"/rest/..x"}, list{"/rest/../x"}, wantNoDotsInPaths},
		{"dot", list{"/rest/.x"}, list{"/rest/."}, wantNoDotsInPaths},
		{"double-slash", list{"/rest/api/"}, list{"/rest//api"}, wantPath},
		{"empty", list{"/rest/"}, list{}, "spec.allowedPaths: Invalid value: 0: spec.allowedPaths in body should have at least 1 items"},
		{"element-empty", list{"/a"}, list{""}, `spec.allowedPaths[0]: Invalid value: "": spec.allowedPaths[0] in body should be at least 1 chars long`},
		{"escape", list{"/rest/a-p_i~2.0"}, list{"/rest/%61pi"}, wantPath},
		{"query", list{"/rest/search"}, list{"/rest/search?jql=x"}, wantPath},
		{"relative", list{"/rest/api"}, list{"rest/api"}, wantPath},
		{"root", list{"/rest"}, list{"/"}, wantPath},
		{"too-long", list{"/" + strings.Repeat("a", 255)}, list{"/" + strings.Repeat("a", 256)}, "spec.allowedPaths[0]: Too long: may not be more than 256 bytes"},
		{"too-many", numbered(0, 32, "/rest/%d"), numbered(0, 33, "/rest/%d"), "spec.allowedPaths: Too many: 33: must have at most 32 items"},
		{"twice", list{"/rest/", "/rest"}, list{"/rest/", "/rest/"}, `spec.allowedPaths[1]: Duplicate value: "/rest/"`},
	}),
	field("spec.allowedSources", allowedSources),
	fieldOf(imported, "spec.credential.imported.key", rows{
		{"empty", "k", "", `spec.credential.imported.key: Invalid value: "": spec.credential.imported.key in body should be at least 1 chars long`},
		{"format", "A_b.c-1", "a/b", "`credential.imported.key` must be a key of a Secret: letters, digits, '-', '_' and '.'"},
		{"too-long", strings.Repeat("a", 253), strings.Repeat("a", 254), "spec.credential.imported.key: Too long: may not be more than 253 bytes"},
	}),
	fieldOf(imported, "spec.credential.imported.mode", rows{
		{"unknown", "Follow", "Always", `spec.credential.imported.mode: Unsupported value: "Always"`},
	}),
	field("spec.credential", rows{
		// The whole of credential may be absent.
		{"type-required", keep, fields{}, "spec.credential.type: Required value"},
	}),
	field("spec.credential.type", rows{
		{"unknown", "Generated", "Vault", `spec.credential.type: Unsupported value: "Vault"`},
	}),
	fieldOf(createdBy("7c9e6679"), "spec.createdBy.uid", rows{
		{"empty", "a", "", `spec.createdBy.uid: Invalid value: "": spec.createdBy.uid in body should be at least 1 chars long`},
		{"required", keep, nil, "spec.createdBy.uid: Required value"},
		{"too-long", strings.Repeat("a", 64), strings.Repeat("a", 65), "spec.createdBy.uid: Too long: may not be more than 64"},
	}),
	fieldOf(createdBy("7c9e6679"), "spec.createdBy.tokenID", rows{
		{"empty", "a", "", `spec.createdBy.tokenID: Invalid value: "": spec.createdBy.tokenID in body should be at least 1 chars long`},
		{"required", keep, nil, "spec.createdBy.tokenID: Required value"},
		{"too-long", strings.Repeat("a", 64), strings.Repeat("a", 65), "spec.createdBy.tokenID: Too long: may not be more than 64"},
	}),
	fieldOf(createdBy("7c9e6679"), "spec.createdBy.namespace", rows{
		{"empty", "a", "", `spec.createdBy.namespace: Invalid value: "": spec.createdBy.namespace in body should be at least 1 chars long`},
		{"format", "a-b", "a.b", "`createdBy.namespace` must be the name of a namespace"},
		{"required", keep, nil, "spec.createdBy.namespace: Required value"},
		{"too-long", strings.Repeat("a", 63), strings.Repeat("a", 64), "spec.createdBy.namespace: Too long: may not be more than 63"},
	}),
	field("spec.delivery", rows{
		{"required", keep, nil, wantDeliveryOfGenerated},
	}),
	field("spec.delivery.secretName", rows{
		{"empty", "x", "", `spec.delivery.secretName: Invalid value: "": spec.delivery.secretName in body should be at least 1 chars long`},
		{"format", "nightly-export.v2", "Nightly_Export", "`delivery.secretName` must be the name of a Secret: lower-case letters, digits, '-' and '.'"},
		{"required", keep, nil, "spec.delivery.secretName: Required value"},
		{"slash", "other.nightly-export", "other/nightly-export", "`delivery.secretName` must be the name of a Secret: lower-case letters, digits, '-' and '.'"},
		{"too-long", strings.Repeat("x", 253), strings.Repeat("x", 254), "spec.delivery.secretName: Too long: may not be more than 253"},
	}),
	field("spec.expirationTime", withTimes("expirationTime", rows{
		{"format", "2027-01-01T00:00:00+02:00", "tomorrow", `spec.expirationTime: Invalid value: "tomorrow": spec.expirationTime in body must be of type date-time`},
	})),
	field("spec.label", rows{
		{"blank", " nightly ", "  ", "`label` must not be blank"},
		// A label may have any script, case and punctuation. An escape sequence would colour the terminal that shows it.
		{"control-character", "Night: <b>Éxport</b> 🌙", "nightly\x1b[31m export", wantLabel},
		{"direction", "nightly א\u200f export", "nightly\u202etropxe", wantLabel},
		{"empty", "x", "", `spec.label: Invalid value: "": spec.label in body should be at least 1 chars long`},
		{"line-break", keep, "nightly\nexport", wantLabel},
		{"line-separator", "nightly\u00a0export", "nightly\u2028export", wantLabel},
		{"paragraph-separator", "nightly\u3000export", "nightly\u2029export", wantLabel},
		{"required", keep, nil, "spec.label: Required value"},
		// The limit counts characters, not bytes.
		{"too-long", strings.Repeat("é", 255), strings.Repeat("x", 256), "spec.label: Too long: may not be more than 255"},
	}),
	field("spec.lifetimeDays", rows{
		{"too-large", 3650, 3651, "spec.lifetimeDays: Invalid value: 3651: spec.lifetimeDays in body should be less than or equal to 3650"},
		{"too-small", 1, 0, "spec.lifetimeDays: Invalid value: 0: spec.lifetimeDays in body should be greater than or equal to 1"},
	}),
	field("spec.rotation.intervalDays", rows{
		{"too-large", 3650, 3651, "spec.rotation.intervalDays: Invalid value: 3651: spec.rotation.intervalDays in body should be less than or equal to 3650"},
		{"too-small", 1, 0, "spec.rotation.intervalDays: Invalid value: 0: spec.rotation.intervalDays in body should be greater than or equal to 1"},
	}),
	field("spec.rotation.overlapHours", rows{
		{"too-large", 8760, 8761, "spec.rotation.overlapHours: Invalid value: 8761: spec.rotation.overlapHours in body should be less than or equal to 8760"},
		{"too-small", 0, -1, "spec.rotation.overlapHours: Invalid value: -1: spec.rotation.overlapHours in body should be greater than or equal to 0"},
	}),
	field("spec.rotation.requestedTime", withTimes("requestedTime", rows{
		{"format", "2026-11-23T10:00:00Z", "now", `spec.rotation.requestedTime: Invalid value: "now": spec.rotation.requestedTime in body must be of type date-time`},
	})),
	field("spec.siteRef.name", rows{
		{"empty", "j", "", `spec.siteRef.name: Invalid value: "": spec.siteRef.name in body should be at least 1 chars long`},
		{"required", keep, nil, "spec.siteRef.name: Required value"},
		{"too-long", strings.Repeat("j", 63), strings.Repeat("j", 64), "spec.siteRef.name: Too long: may not be more than 63"},
	}),
	field("spec.siteRef.namespace", rows{
		{"empty", "a", "", `spec.siteRef.namespace: Invalid value: "": spec.siteRef.namespace in body should be at least 1 chars long`},
		{"format", "a-b", "a.b", "`siteRef.namespace` must be the name of a namespace"},
		{"too-long", strings.Repeat("a", 63), strings.Repeat("a", 64), "spec.siteRef.namespace: Too long: may not be more than 63 bytes"},
	}),
	field("spec.siteRef", rows{
		{"required", keep, nil, "spec.siteRef: Required value"},
	}),
	field("spec", rows{
		{"required", keep, nil, "spec: Required value"},
	}),
	field("spec.state", rows{
		{"unknown", "Suspended", "Deleted", `spec.state: Unsupported value: "Deleted"`},
	}),
	field("spec.user", rows{
		// A colon ends the user name in HTTP Basic. Other punctuation is literal.
		{"colon", `DOMAIN\alice@example.com`, "alice:bob", wantUser},
		{"control-character", "alice smith", "alice\x07smith", wantUser},
		{"empty", "a", "", `spec.user: Invalid value: "": spec.user in body should be at least 1 chars long`},
		// Letters without case are allowed. A zero-width space is not: the name would read as alice.
		{"format-character", "海豚", "ali\u200bce", wantUser},
		// A no-break space is allowed.
		{"line-break", "alice\u00a0smith", "alice\nsmith", wantUser},
		{"line-separator", "alice-smith", "alice\u2028smith", wantUser},
		{"paragraph-separator", "alice_smith", "alice\u2029smith", wantUser},
		{"required", keep, nil, "spec.user: Required value"},
		// ǆ is lower case. ǅ is title case: neither upper nor lower.
		{"title-case", "ǆ", "ǅ", wantUser},
		{"token-prefix-upper-case", "ASPEN_alice", "ASP_alice", "`user` must not begin with 'asp_', the prefix of every token"},
		{"token-prefix", "aspen_alice", "asp_alice", "`user` must not begin with 'asp_', the prefix of every token"},
		// The limit counts characters, not bytes.
		{"too-long", strings.Repeat("é", 255), strings.Repeat("a", 256), "spec.user: Too long: may not be more than 255"},
		// A to Z are folded to a to z. É is not: Go, Java and CEL do not agree on lower case beyond ASCII.
		{"upper-case", "ALICE-é", "alice-É", wantUser},
		{"white-space-after", "alice a", "alice\u00a0", wantUserTrimmed},
		{"white-space-before", "a alice", " alice", wantUserTrimmed},
	}),
	statusField("status.conditions", conditions),
	statusField("status.observedGeneration", rows{
		{"too-small", -1, -2, "status.observedGeneration: Invalid value: -2: observedGeneration in body should be greater than or equal to -1"},
	}),
	statusField("status.expirationTime", withTimes("expirationTime", rows{
		{"format", "2026-01-01T00:00:00Z", "2026-01-01", `status.expirationTime: Invalid value: "2026-01-01": expirationTime in body must be of type date-time`},
	})),
	statusField("status.issuedTime", withTimes("issuedTime", rows{
		{"format", "2026-01-01T00:00:00Z", "2026-01-01", `status.issuedTime: Invalid value: "2026-01-01": issuedTime in body must be of type date-time`},
	})),
	statusField("status.lastAccessedFrom", rows{
		{"address", "192.0.2.1", "192.0.2.1:443", "`status.lastAccessedFrom` must be an IP address"},
		{"empty", "::", "", `status.lastAccessedFrom: Invalid value: "": lastAccessedFrom in body should be at least 1 chars long`},
		{"too-long", "2001:2001:2001:2001:2001:2001:2001:2001", "2001:2001:2001:2001:2001:2001:2001:20010", "status.lastAccessedFrom: Too long: may not be more than 39"},
	}),
	statusField("status.lastAccessedTime", withTimes("lastAccessedTime", rows{
		{"format", "2026-01-01T00:00:00Z", "2026-01-01", `status.lastAccessedTime: Invalid value: "2026-01-01": lastAccessedTime in body must be of type date-time`},
	})),
	statusField("status.nextRotationTime", withTimes("nextRotationTime", rows{
		{"format", "2026-01-01T00:00:00Z", "2026-01-01", `status.nextRotationTime: Invalid value: "2026-01-01": nextRotationTime in body must be of type date-time`},
	})),
	statusField("status.tokenID", rows{
		{"token-id-empty", "a", "", `status.tokenID: Invalid value: "": tokenID in body should be at least 1 chars long`},
		{"token-id-too-long", strings.Repeat("a", 64), strings.Repeat("a", 65), "status.tokenID: Too long: may not be more than 64"},
	}),
	fieldOf(imported, "spec.credential.imported.secretName", rows{
		{"empty", "a", "", `spec.credential.imported.secretName: Invalid value: "": spec.credential.imported.secretName in body should be at least 1 chars long`},
		{"format", "old.1-a", "Old", "`credential.imported.secretName` must be the name of a Secret: lower-case letters, digits, '-' and '.'"},
		{"too-long", strings.Repeat("a", 253), strings.Repeat("a", 254), "spec.credential.imported.secretName: Too long: may not be more than 253 bytes"},
	}),
	fieldOf(imported.and(change{"spec.credential.imported.mode": "Once"}), "spec.credential.imported.secretName", rows{
		{"required", keep, nil, "spec.credential.imported.secretName: Required value"},
	}),
	tokenRules,
	tokenUpdates,
)

// tokenRules are cases of rules about more than one field.
var tokenRules = []schemaCase{
	{
		name:     "imported/missing",
		accepted: []change{imported},
		refused:  []change{{"spec.credential.type": "Imported", "spec.delivery": nil}},
		want:     wantImportedOfImported,
	},
	{
		name:     "imported/unused",
		accepted: []change{{"spec.credential.type": "Generated"}},
		refused:  []change{{"spec.credential.type": "Generated", "spec.credential.imported.secretName": "old"}},
		want:     wantImportedOfImported,
	},
	{
		name:     "createdBy/of-generated",
		accepted: []change{createdBy("7c9e6679")},
		refused:  []change{createdBy("7c9e6679").and(change{"spec.credential.type": "Generated", "spec.delivery.secretName": "x"})},
		want:     "`createdBy` must not be set unless `credential.type` is `Portal`",
	},
	{
		name:     "delivery/of-imported",
		accepted: []change{imported},
		refused:  []change{{"spec.credential.type": "Imported", "spec.credential.imported.secretName": "old"}},
		want:     wantDeliveryOfGenerated,
	},
	{
		name:     "delivery/of-portal",
		accepted: []change{portal},
		refused:  []change{{"spec.credential.type": "Portal"}},
		want:     wantDeliveryOfGenerated,
	},
	{
		name:     "lifetime/twice",
		accepted: []change{{"spec.lifetimeDays": 30}},
		refused:  []change{{"spec.lifetimeDays": 30, "spec.expirationTime": "2027-01-01T00:00:00Z"}},
		want:     "only one of `lifetimeDays` and `expirationTime` may be given",
	},
	{
		name:     "rotation/empty",
		accepted: []change{{"spec.rotation.intervalDays": 1}},
		refused:  []change{{"spec.rotation": fields{}}},
		want:     "spec.rotation: Invalid value: 0: spec.rotation in body should have at least 1 properties",
	},
	{
		name:     "rotation/of-imported",
		accepted: []change{{"spec.rotation.intervalDays": 1}},
		refused:  []change{imported.and(change{"spec.rotation.intervalDays": 1})},
		want:     wantRotationOfGenerated,
	},
	{
		name:     "rotation/of-portal",
		accepted: []change{portal},
		refused:  []change{portal.and(change{"spec.rotation.intervalDays": 1})},
		want:     wantRotationOfGenerated,
	},
	{
		name:     "rotation/overlap",
		accepted: []change{{"spec.rotation.intervalDays": 2, "spec.rotation.overlapHours": 47}},
		refused:  []change{{"spec.rotation.intervalDays": 2, "spec.rotation.overlapHours": 48}},
		want:     "`rotation.overlapHours` must be less than `rotation.intervalDays`",
	},
	{
		name:     "unknown-field",
		accepted: []change{{"spec.credential.type": "Generated"}},
		refused:  []change{{"spec.validForDays": 30}},
		want:     `unknown field "spec.validForDays"`,
	},
}

// tokenUpdates are cases of rules about a field before and after.
var tokenUpdates = []schemaCase{
	{
		// An absent field has its default.
		name:     "update/credential-default",
		accepted: []change{unchanged, {"spec.credential.type": "Generated"}},
		refused:  []change{imported, unchanged},
		want:     wantSameCredential,
	},
	{
		name:     "update/credential-type",
		accepted: []change{imported, imported.and(change{"spec.label": "weekly export"})},
		refused:  []change{{"spec.credential.type": "Generated"}, imported},
		want:     wantSameCredential,
	},
	{
		name:     "update/created-by",
		accepted: []change{createdBy("7c9e6679"), createdBy("7c9e6679").and(change{"spec.label": "weekly export"})},
		refused:  []change{createdBy("7c9e6679"), createdBy("other")},
		want:     "`createdBy` must not change",
	},
	{
		name:     "update/created-by-away",
		accepted: []change{createdBy("7c9e6679"), createdBy("7c9e6679").and(change{"spec.state": "Suspended"})},
		refused:  []change{createdBy("7c9e6679"), portal},
		want:     "`createdBy` must not be added or removed",
	},
	{
		name:     "update/delivery",
		accepted: []change{unchanged, {"spec.label": "weekly export"}},
		refused:  []change{unchanged, {"spec.delivery.secretName": "weekly-export"}},
		want:     "`delivery` must not change: delete this APIToken and create another",
	},
	{
		name:     "update/site-ref-namespace",
		accepted: []change{{"spec.siteRef.namespace": "other"}, {"spec.siteRef.namespace": "other", "spec.lifetimeDays": 3}},
		refused:  []change{unchanged, {"spec.siteRef.namespace": "other"}},
		want:     wantSameSite,
	},
	{
		name:     "update/site-ref-name",
		accepted: []change{unchanged, {"spec.label": "weekly export"}},
		refused:  []change{unchanged, {"spec.siteRef.name": "other"}},
		want:     wantSameSite,
	},
	{
		// Another spelling of the same user is another value.
		name:     "update/user",
		accepted: []change{{"spec.user": "Alice"}, {"spec.user": "Alice", "spec.label": "weekly export"}},
		refused:  []change{{"spec.user": "Alice"}, unchanged},
		want:     "`user` must not change: delete this APIToken and create another",
	},
	{
		name:     "status/empty",
		accepted: []change{unchanged, {"status.tokenID": "asp_DquJoZLwlsNJm6gU"}},
		refused:  []change{unchanged, {"status": fields{}}},
		want:     "status: Invalid value: 0:  in body should have at least 1 properties",
	},
	{
		name:     "status.lastAccessedTime/away",
		accepted: []change{unchanged, lastAccessed("2026-01-01T00:00:01Z"), lastAccessed("2026-01-01T00:00:01Z").and(change{"status.tokenID": "a"})},
		refused:  []change{unchanged, lastAccessed("2026-01-01T00:00:01Z"), {"status.tokenID": "a"}},
		want:     wantLastAccessForward,
	},
	{
		name:     "status.lastAccessedTime/back",
		accepted: []change{unchanged, lastAccessed("2026-01-01T00:00:01Z"), lastAccessed("2026-01-01T00:00:02Z")},
		refused:  []change{unchanged, lastAccessed("2026-01-01T00:00:01Z"), lastAccessed("2026-01-01T00:00:00Z")},
		want:     wantLastAccessForward,
	},
	{
		name:     "status.lastAccessedTime/back-across-zones",
		accepted: []change{unchanged, lastAccessed("2026-01-01T00:00:01Z"), lastAccessed("2026-01-01T01:00:02+01:00")},
		refused:  []change{unchanged, lastAccessed("2026-01-01T00:00:01Z"), lastAccessed("2026-01-01T01:00:00+01:00")},
		want:     wantLastAccessForward,
	},
}

func lastAccessed(at string) change { return change{"status.lastAccessedTime": at} }
