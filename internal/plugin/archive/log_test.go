package archive

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
)

// started is a line of a controller that started before the backup of sample.
const started = `{"level":"info","ts":"2026-11-26T11:00:00Z","msg":"Starting workers","controller":"apitoken"}` + "\n"

// event is an event of the audit log of Kubernetes, an hour after the backup of sample.
func event(verb, resource, name, more string) string {
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":"ResponseComplete","requestURI":"/x","verb":%q,`+
		`"requestReceivedTimestamp":"2026-11-26T14:00:00.123456Z","objectRef":{"resource":%q,"namespace":"jira","name":%q,"apiGroup":"apitokens.dev"},`+
		`"responseStatus":{"code":200}%s}`+"\n", verb, resource, name, more)
}

// Each line that says that something ended has its effect on a token that is lost, and no other line has.
func TestWhatTheLogSays(t *testing.T) {
	const at = `"time":"2026-11-26T14:00:00Z",`
	for name, tc := range map[string]struct {
		line string
		want string // what becomes of the token: active, suspended, ended or dead
	}{
		"nothing":                           {"", "active"},
		"revoked on the page":               {`{` + at + `"action":"revoked","tokenID":"#","user":"alice"}`, "dead"},
		"revoked, by kubectl logs --prefix": {`[pod/x/portal] {` + at + `"action":"revoked","tokenID":"#","user":"alice"}`, "dead"},
		"removed by the controller":         {`{"ts":1795701600.5,"controller":"apitoken-cleanup","action":"revoked","tokenID":"#"}`, "dead"},
		"its dead secret was refused":       {`{` + at + `"verdict":"unauthorized","reason":"deleted","tokenID":"#"}`, "dead"},
		"deleted with kubectl":              {event("delete", "apitokens", "ci", ""), "dead"},
		"all of the namespace deleted":      {event("deletecollection", "apitokens", "", ""), "dead"},
		"shortly before the backup":         {`{"time":"2026-11-26T12:57:00Z","action":"revoked","tokenID":"#"}`, "dead"},
		"rotated on the page":               {`{` + at + `"action":"rotated","tokenID":"#","user":"alice"}`, "ended"},
		"refused as suspended":              {`{` + at + `"verdict":"unauthorized","reason":"suspended","tokenID":"#"}`, "suspended"},
		"refused as blocked":                {`{` + at + `"verdict":"unauthorized","reason":"user_blocked","tokenID":"#"}`, "suspended"},
		"refused by the epoch":              {`{` + at + `"verdict":"unauthorized","reason":"revoked_by_epoch","tokenID":"#"}`, "suspended"},
		"changed with kubectl":              {event("patch", "apitokens", "ci", ""), "suspended"},
		"its site was changed":              {event("update", "atlassiansites", "main", ""), "suspended"},
		"its record was changed":            {event("update", "secrets", "uid-ci", `,"objectRef":{"resource":"secrets","apiGroup":"","namespace":"apitoken-system","name":"uid-ci"}`), "active"}, // the log of the controller would say more
		"its site was deleted":              {event("delete", "atlassiansites", "main", ""), "suspended"},

		"used":                    {`{` + at + `"verdict":"allow","reason":"authenticated","tokenID":"#","user":"alice"}`, "active"},
		"created":                 {`{` + at + `"action":"created","tokenID":"#","user":"alice"}`, "active"},
		"another token":           {`{` + at + `"action":"revoked","tokenID":"asp_AAAAAAAAAAAAAAAA"}`, "active"},
		"an id that anybody sent": {`{` + at + `"verdict":"unauthorized","reason":"wrong_secret","tokenID":"#"}`, "active"},
		"long before the backup":  {`{"time":"2026-11-26T12:00:00Z","action":"revoked","tokenID":"#"}`, "active"},
		"after --until":           {`{"time":"2026-11-26T23:00:00Z","action":"revoked","tokenID":"#"}`, "active"},
		"a dry run":               {event("delete", "apitokens", "ci", `,"requestURI":"/x?dryRun=All"`), "active"},
		"a refused deletion":      {event("delete", "apitokens", "ci", `,"responseStatus":{"code":403}`), "active"},
		"its status":              {event("patch", "apitokens", "ci", `,"objectRef":{"resource":"apitokens","subresource":"status","namespace":"jira","name":"ci"}`), "active"},
		"another kind":            {event("delete", "apitokens", "ci", `,"objectRef":{"resource":"apitokens","namespace":"jira","name":"ci","apiGroup":"example.com"}`), "active"},
	} {
		a, _ := sample(t)
		text, err := a.encode()
		must(t, err)
		a, err = decode(text)
		must(t, err)
		log := NewLog(a.Created, noon.Add(6*time.Hour))
		must(t, log.Read(strings.NewReader(started+"no JSON\n"+strings.ReplaceAll(tc.line, "#", a.Tokens[0].ID())+"\n")))
		must(t, log.Complete())
		if got := fate(&Tokens(a, &Live{}, log)[0]); got != tc.want {
			t.Errorf("%s: the token is %s, want %s", name, got, tc.want)
		}
	}
}

func fate(s *TokenStep) string {
	switch {
	case s.Action == Dead:
		return "dead"
	case s.Action != Restore:
		return string(s.Action)
	case s.State == tokensv1alpha1.StateSuspended:
		return "suspended"
	case s.Record != nil && s.Record.Entries[0].State == record.Ending:
		return "ended"
	}
	return "active"
}

// Without a log of the controller, that of Kubernetes has to show that no record was changed.
func TestOnlyTheLogOfKubernetes(t *testing.T) {
	began := strings.Replace(event("get", "apitokens", "x", ""), "14:00", "11:00", 1)
	changed := func(name string) string {
		return event("update", "secrets", name, `,"objectRef":{"resource":"secrets","apiGroup":"","namespace":"apitoken-system","name":"`+name+`"}`)
	}
	for lines, want := range map[string]string{
		began: "suspended", began + changed("uid-other"): "active", began + changed("uid-ci"): "suspended",
	} {
		a, _ := sample(t)
		log := NewLog(a.Created, time.Time{})
		must(t, log.Read(strings.NewReader(lines)))
		must(t, log.Complete())
		if got := fate(&Tokens(a, &Live{}, log)[0]); got != want {
			t.Errorf("%s: %s, want %s", lines, got, want)
		}
	}
}

// A token that was stopped and has authenticated later is not stopped.
func TestResumedSince(t *testing.T) {
	a, _ := sample(t)
	line := func(hour int, verdict, reason string) string {
		return fmt.Sprintf(`{"time":"2026-11-26T%02d:00:00Z","verdict":%q,"reason":%q,"tokenID":%q}`+"\n", hour, verdict, reason, a.Tokens[0].ID())
	}
	for lines, want := range map[string]string{
		line(14, "unauthorized", "suspended") + line(15, "allow", "authenticated"): "active",
		line(15, "allow", "authenticated") + line(14, "unauthorized", "suspended"): "active",
		line(14, "allow", "authenticated") + line(15, "unauthorized", "suspended"): "suspended",
	} {
		log := NewLog(a.Created, time.Time{})
		must(t, log.Read(strings.NewReader(started+lines)))
		if got := fate(&Tokens(a, &Live{}, log)[0]); got != want {
			t.Errorf("%s: %s, want %s", lines, got, want)
		}
	}
}

// A log that would not show every deletion is refused: what it does not say would come back.
func TestIncompleteLog(t *testing.T) {
	created := noon.Add(time.Hour)
	late := strings.Replace(started, "11:00", "13:30", 1)
	for name, tc := range map[string]struct{ text, want string }{
		"empty":                    {"", "neither lines of the controller"},
		"only that of the portal":  {`{"time":"2026-11-26T11:00:00Z","action":"revoked","tokenID":"asp_AAAAAAAAAAAAAAAA"}`, "neither lines of the controller"},
		"from after the backup":    {late, "begins at 2026-11-26T13:30:00Z, after the backup of 2026-11-26T13:00:00Z"},
		"cut at its beginning":     {started + `n":"revoked","tokenID":"asp_AAAAAAAAAAAAAAAA"}`, "line 2 is no whole line of JSON"},
		"with a traceback":         {started + "main.main({0xb05820, 0x113df90})\n", ""},
		"of errors only":           {strings.Replace(started, "info", "error", 1), "neither lines of the controller"},
		"cut in a line":            {started + `{"time":"2026-11-26T14:00:00Z","act`, "line 2 is no whole line of JSON"},
		"of the controller":        {started, ""},
		"that of Kubernetes":       {strings.Replace(event("get", "apitokens", "x", ""), "14:00", "11:00", 1), ""},
		"late, and one that began": {late + started, ""},
	} {
		log := NewLog(created, time.Time{})
		err := log.Read(strings.NewReader(tc.text))
		if err == nil {
			err = log.Complete()
		}
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// What is in the cluster decides: nothing of somebody else is changed, and what is newer stays.
func TestWhatIsThereAlready(t *testing.T) {
	for name, tc := range map[string]struct {
		live func(*tokensv1alpha1.APIToken, *record.Record) *Live
		want string
	}{
		"the token":          {lives, "unchanged"},
		"without its record": {func(t *tokensv1alpha1.APIToken, _ *record.Record) *Live { return lives(t, nil) }, "active"},
		"for another user":   {func(t *tokensv1alpha1.APIToken, _ *record.Record) *Live { t.Spec.User = "bob"; return lives(t, nil) }, "left alone"},
		"of another kind": {func(t *tokensv1alpha1.APIToken, _ *record.Record) *Live {
			t.Spec.Credential.Type = "Portal"
			return lives(t, nil)
		}, "left alone"},
		"wider than then": {func(t *tokensv1alpha1.APIToken, _ *record.Record) *Live {
			t.Spec.AllowedPaths = []string{"/"}
			return lives(t, nil)
		}, "suspended"},
		"suspended by somebody": {func(t *tokensv1alpha1.APIToken, _ *record.Record) *Live {
			t.Spec.State = "Suspended"
			return lives(t, nil)
		}, "suspended"},
		"with another token": {func(t *tokensv1alpha1.APIToken, r *record.Record) *Live {
			r.TokenID = "asp_AAAAAAAAAAAAAAAA"
			return lives(t, r)
		}, "left alone"},
		"going": {func(t *tokensv1alpha1.APIToken, _ *record.Record) *Live {
			t.DeletionTimestamp = &t.CreationTimestamp
			return lives(t, nil)
		}, "left alone"},
		"only its dead record": {func(_ *tokensv1alpha1.APIToken, r *record.Record) *Live {
			r.Dead = noon.Add(2 * time.Hour)
			return keeps("uid-ci", r)
		}, "dead"},
		"dead from before": {func(_ *tokensv1alpha1.APIToken, r *record.Record) *Live {
			r.Dead = noon.Add(-time.Hour)
			return keeps("uid-old", r)
		}, "active"},
		"only its record":      {func(_ *tokensv1alpha1.APIToken, r *record.Record) *Live { return keeps("uid-ci", r) }, "suspended"},
		"as a restore left it": {func(t *tokensv1alpha1.APIToken, r *record.Record) *Live { return waiting(t, r, 1) }, "active"},
		"resumed and stopped":  {func(t *tokensv1alpha1.APIToken, r *record.Record) *Live { return waiting(t, r, 3) }, "unchanged"},
		"cut off in a restore": {func(t *tokensv1alpha1.APIToken, _ *record.Record) *Live {
			t.Spec.State = "Suspended"
			return lives(t, nil)
		}, "suspended"},
		"whose owner says that a restore did it": {func(t *tokensv1alpha1.APIToken, r *record.Record) *Live {
			t.Spec.State, t.Annotations[AnnotationSuspended] = "Suspended", Mark(t)
			return lives(t, r)
		}, "unchanged"},
		"a new UID, an old record": {func(t *tokensv1alpha1.APIToken, r *record.Record) *Live {
			l := keeps("uid-ci", r)
			t.UID = "uid-new"
			l.Tokens = lives(t, nil).Tokens
			return l
		}, "suspended"},
	} {
		a, _ := sample(t)
		tok := a.Tokens[0].APIToken.DeepCopy()
		tok.UID, tok.Generation = a.Tokens[0].UID, 1
		r := *a.Tokens[0].record
		log := NewLog(a.Created, time.Time{})
		must(t, log.Read(strings.NewReader(started)))
		if got := fate(&Tokens(a, tc.live(tok, &r), log)[0]); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func lives(t *tokensv1alpha1.APIToken, r *record.Record) *Live {
	l := keeps(t.UID, r)
	l.Tokens = map[types.NamespacedName]*tokensv1alpha1.APIToken{{Namespace: t.Namespace, Name: t.Name}: t}
	return l
}

func keeps(uid types.UID, r *record.Record) *Live {
	if r == nil {
		return &Live{}
	}
	return &Live{Records: map[types.UID]*record.Record{uid: r}}
}

// waiting is what a restore left suspended, with the generation of now.
func waiting(t *tokensv1alpha1.APIToken, r *record.Record, generation int64) *Live {
	t.Spec.State = tokensv1alpha1.StateSuspended
	l := lives(t, r)
	l.Marks = map[types.UID]string{t.UID: Mark(t)}
	t.Generation = generation
	return l
}
