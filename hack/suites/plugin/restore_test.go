package plugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/plugin/exit"
)

const (
	system      = "apitoken-system"
	credentials = "apitoken-credentials"
	// perRound is how many histories a disaster ends at once.
	perRound = 12
)

// lived is one token of a history.
type lived struct {
	name, id string
	portal   bool
	// secrets are all that it had before the disaster. The last one is valid unless it ended.
	secrets []string
	// ended is revoked, rotated, suspended or empty: what happened to it after the backup.
	ended string
}

// drill is an installation that is backed up, loses something, and is restored.
type drill struct {
	*world

	api        client.Client
	key, store string
	maker      string // the secret of a token that makes others
	logs       strings.Builder
	random     *rand.Rand
}

// Whatever is lost, with its archive and its logs an installation gets back what was valid, and nothing that was revoked, replaced or
// stopped since. Each round has a dozen random histories, on a real API server, with the real processes of the operator.
func TestRestoreDrills(t *testing.T) {
	d := newDrill(t)
	for round, lose := range []func(){d.loseAll, d.loseOperator, d.loseTokens} {
		histories := d.begin(round)
		archive := d.backup(round)
		d.live(histories)
		d.collectLogs() // when the controller has seen all of that
		from := time.Now().UTC().Add(time.Second).Truncate(time.Second)
		d.sleepUntil(from)
		lose()
		d.collectLogs() // of a mistake there are lines, too
		d.restore(archive, round, from)
		d.check(round, histories)
	}
	d.velero()
}

func newDrill(t *testing.T) *drill {
	t.Helper()
	w := newWorld(t)
	ctrl.SetLogger(logr.Discard())
	s := runtime.NewScheme()
	w.must(errors.Join(scheme.AddToScheme(s), tokensv1alpha1.AddToScheme(s)))
	config := w.Admin()
	config.QPS = -1
	api, err := client.New(config, client.Options{Scheme: s})
	w.must(err)
	d := &drill{world: w, api: api, store: t.TempDir(), random: rand.New(rand.NewPCG(1, 2))}
	key, err := age.GenerateX25519Identity()
	w.must(err)
	d.key = filepath.Join(d.store, "key.txt")
	w.must(os.WriteFile(d.key, []byte(key.String()+"\n"), 0o600))
	w.must(os.WriteFile(filepath.Join(d.store, "recipients.txt"), []byte(key.Recipient().String()+"\n"), 0o600))
	return d
}

// each runs a step for each of several things at once.
func each[T any](all []T, step func(T)) {
	var group sync.WaitGroup
	for _, one := range all {
		group.Go(func() { step(one) })
	}
	group.Wait()
}

// begin makes the tokens of a round: for each history one that is delivered, and one of the portal.
func (d *drill) begin(round int) (all []*lived) {
	d.Helper()
	maker := &lived{name: fmt.Sprintf("r%d-maker", round)}
	d.declare(maker)
	d.maker = maker.secrets[0]
	all = append(all, maker)
	for n := range perRound {
		all = append(all, &lived{name: fmt.Sprintf("r%d-h%d", round, n)}, &lived{portal: true})
	}
	each(all[1:], func(l *lived) {
		if l.portal {
			d.makeOnPortal(l)
		} else {
			d.declare(l)
		}
	})
	return all
}

func (d *drill) declare(l *lived) {
	d.Helper()
	if err := d.api.Create(d.Context(), d.object(l)); err != nil {
		d.Error(err)
		return
	}
	l.id, l.secrets = d.await(l.name, tokensv1alpha1.ReasonIssued).Status.TokenID, []string{d.delivered(l)}
}

func (d *drill) object(l *lived) *tokensv1alpha1.APIToken {
	return &tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: rig.Namespace, Name: l.name},
		Spec: tokensv1alpha1.APITokenSpec{
			SiteRef: tokensv1alpha1.SiteReference{Name: rig.Site}, User: "alice", Label: l.name,
			Delivery: tokensv1alpha1.Delivery{SecretName: l.name + "-token"},
		},
	}
}

// await waits until an APIToken has a reason.
func (d *drill) await(name, reason string) *tokensv1alpha1.APIToken {
	d.Helper()
	var t tokensv1alpha1.APIToken
	var ready *metav1.Condition
	err := wait.PollUntilContextTimeout(d.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		if err := d.api.Get(ctx, client.ObjectKey{Namespace: rig.Namespace, Name: name}, &t); err != nil {
			return false, err
		}
		ready = apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady)
		return ready != nil && ready.Reason == reason && t.Status.ObservedGeneration == t.Generation, nil
	})
	if err != nil {
		d.Errorf("%s is %+v, want %s: %v", name, ready, reason, err)
	}
	return &t
}

// delivered returns the delivered token, or nothing.
func (d *drill) delivered(l *lived) string {
	var s corev1.Secret
	if d.api.Get(d.Context(), client.ObjectKey{Namespace: rig.Namespace, Name: l.name + "-token"}, &s) != nil {
		return ""
	}
	return string(s.Data[corev1.BasicAuthPasswordKey])
}

// makeOnPortal makes a token over REST.
func (d *drill) makeOnPortal(l *lived) {
	d.Helper()
	status, body := d.rest(http.MethodPost, "", d.maker, `{"label":"drill"}`)
	var made struct{ ID, Token string }
	if status != http.StatusCreated || json.Unmarshal([]byte(body), &made) != nil {
		d.Errorf("making a token: %d %s", status, body)
		return
	}
	l.id, l.secrets = made.ID, []string{made.Token}
}

// rest calls the REST API as alice, with a token.
func (d *drill) rest(method, path, token, body string) (status int, answer string) {
	d.Helper()
	request, err := http.NewRequestWithContext(d.Context(), method, d.URL+"/rest/api-tokens/latest/"+path, strings.NewReader(body))
	if err != nil {
		d.Fatal(err)
	}
	request.SetBasicAuth("alice", token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		d.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		d.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func (d *drill) backup(round int) string {
	d.Helper()
	file := filepath.Join(d.store, fmt.Sprintf("round%d.age", round))
	d.apitoken(exit.Done, "admin", "", "backup", file, "--recipients-file", filepath.Join(d.store, "recipients.txt"))
	return file
}

// live lets time pass: some tokens are revoked, rotated, or suspended. The maker stays.
func (d *drill) live(all []*lived) {
	d.Helper()
	for _, l := range all[1:] {
		l.ended = []string{"", "", "revoked", "rotated", "suspended"}[d.random.IntN(5)]
	}
	each(all[1:], d.end)
}

func (d *drill) end(l *lived) {
	d.Helper()
	switch {
	case l.ended == "revoked" && l.portal:
		if status, body := d.rest(http.MethodDelete, l.id, d.maker, ""); status != http.StatusNoContent {
			d.Errorf("revoking: %d %s", status, body)
		}
	case l.ended == "revoked":
		if err := d.api.Delete(d.Context(), d.object(l)); err != nil {
			d.Error(err)
		}
	case l.ended == "rotated" && l.portal:
		status, body := d.rest(http.MethodPost, l.id+"/rotate", l.secrets[0], `{"overlapHours":0}`)
		var made struct{ Token string }
		if status != http.StatusOK || json.Unmarshal([]byte(body), &made) != nil {
			d.Errorf("rotating: %d %s", status, body)
		}
		l.secrets = append(l.secrets, made.Token)
	case l.ended == "rotated":
		d.apitoken(exit.Done, "admin", "", "rotate", l.name, "--overlap-hours=0")
		l.secrets = append(l.secrets, d.delivered(l))
	case l.ended == "suspended":
		d.apitoken(exit.Done, "admin", "", "suspend", l.id)
		d.refusalIsLogged(l)
	}
}

// refusalIsLogged waits until the log of the webhook has a line about a token that is suspended. Of many refusals in a second some are
// only counted.
func (d *drill) refusalIsLogged(l *lived) {
	d.Helper()
	d.must(wait.PollUntilContextTimeout(d.Context(), 300*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		d.expect(l.secrets[0], http.StatusUnauthorized)
		lines, err := d.Webhook.Log()
		for line := range strings.Lines(lines) {
			if strings.Contains(line, l.id) && strings.Contains(line, `"suspended"`) {
				return true, err
			}
		}
		return false, err
	}))
}

func (d *drill) sleepUntil(then time.Time) {
	d.Helper()
	d.must(wait.PollUntilContextTimeout(d.Context(), 10*time.Millisecond, 5*time.Second, true, func(context.Context) (bool, error) {
		return !time.Now().Before(then), nil
	}))
}

// collectLogs keeps what the processes wrote so far. The controller has marked every record of a revoked token.
func (d *drill) collectLogs() {
	d.Helper()
	d.must(wait.PollUntilContextTimeout(d.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		var records corev1.SecretList
		var tokens tokensv1alpha1.APITokenList
		err := errors.Join(d.api.List(ctx, &records, client.InNamespace(system)), d.api.List(ctx, &tokens))
		return !slices.ContainsFunc(records.Items, func(s corev1.Secret) bool {
			return s.Type == "apitokens.dev/hash" && !strings.Contains(string(s.Data["record.json"]), `"dead":`) &&
				!slices.ContainsFunc(tokens.Items, func(t tokensv1alpha1.APIToken) bool { return string(t.UID) == s.Name })
		}), err
	}))
	for _, p := range []*rig.Process{d.Controller, d.Portal, d.Webhook} {
		text, err := p.Log()
		d.must(err)
		d.logs.WriteString(text)
	}
}

// withoutController does something that no controller sees.
func (d *drill) withoutController(do func()) {
	d.Helper()
	d.must(d.Controller.Stop())
	do()
	_, err := d.StartController(d.Context())
	d.must(err)
	d.must(wait.PollUntilContextTimeout(d.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		var sites tokensv1alpha1.AtlassianSiteList
		keys := client.ObjectKey{Namespace: credentials, Name: "caller-keys." + rig.Namespace + "." + rig.Site}
		if err := d.api.List(ctx, &sites); err != nil || len(sites.Items) == 0 {
			return err == nil, err
		}
		err := d.api.Get(ctx, keys, &corev1.Secret{}) // the controller makes what a site misses
		return err == nil, client.IgnoreNotFound(err)
	}))
}

// clear removes all objects of a kind from a namespace.
func (d *drill) clear(o client.Object, namespace string, options ...client.DeleteAllOfOption) {
	d.Helper()
	d.must(d.api.DeleteAllOf(d.Context(), o, append(options, client.InNamespace(namespace))...))
}

// loseAll loses all that the operator and its users have, as with a new cluster.
func (d *drill) loseAll() {
	d.withoutController(func() {
		d.clear(&tokensv1alpha1.APIToken{}, rig.Namespace)
		d.clear(&tokensv1alpha1.AtlassianSite{}, rig.Namespace)
		d.clear(&corev1.Secret{}, rig.Namespace, client.MatchingFields{"type": string(corev1.SecretTypeBasicAuth)})
		d.clear(&corev1.Secret{}, system)
		d.clear(&corev1.Secret{}, credentials)
	})
}

// loseOperator loses the namespaces of the operator. Nothing is issued again: the delivered Secrets are there.
func (d *drill) loseOperator() {
	d.withoutController(func() {
		d.clear(&corev1.Secret{}, system)
		d.clear(&corev1.Secret{}, credentials)
	})
	d.await("r1-maker", tokensv1alpha1.ReasonRecordMissing)
}

// loseTokens deletes all APITokens by mistake, while the controller looks on.
func (d *drill) loseTokens() { d.clear(&tokensv1alpha1.APIToken{}, rig.Namespace) }

// restore restores the archive, without a log first if there is more to lose than a mistake.
func (d *drill) restore(archive string, round int, from time.Time) {
	d.Helper()
	log := filepath.Join(d.store, "operator.log")
	d.must(os.WriteFile(log, []byte(d.logs.String()), 0o600))
	args := []string{"restore", archive, "--identity", d.key, "--caller-keys", "--yes"}
	d.awaitGuarded()
	if round == 1 {
		out := d.apitoken(exit.Done, "admin", "", args...)
		if !strings.Contains(out, "restored suspended") {
			d.Errorf("without a log: %s", out)
		}
		d.expect(d.maker, http.StatusUnauthorized)
	}
	args = append(args, "--audit", log)
	if round == 2 {
		args = append(args, "--until", from.Format(time.RFC3339))
	}
	d.apitoken(exit.Done, "admin", "", args...)
	if out := d.apitoken(exit.Done, "admin", "", args...); strings.Contains(out, "restored") {
		d.Errorf("a second restore did something: %s", out)
	}
}

// awaitGuarded waits until the controller has seen the admission policies.
func (d *drill) awaitGuarded() {
	d.Helper()
	d.must(wait.PollUntilContextTimeout(d.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		err := d.api.Get(ctx, client.ObjectKey{Namespace: system, Name: "apitoken-admission"}, &corev1.Secret{})
		return err == nil, client.IgnoreNotFound(err)
	}))
	d.must(d.AwaitPolicies(d.Context()))
}

// check compares each token with what it was before.
func (d *drill) check(round int, all []*lived) {
	d.Helper()
	each(all, func(l *lived) {
		for _, secret := range l.secrets {
			want := http.StatusUnauthorized
			// A delivered Secret that is lost is delivered anew, and the token in the lost one is dead.
			if l.ended == "" && (l.portal || round == 1) {
				want = http.StatusOK
			}
			d.expect(secret, want)
		}
		if !l.portal && l.ended == "" && round != 1 {
			again := d.await(l.name, tokensv1alpha1.ReasonIssued)
			if again.Status.TokenID != l.id {
				d.Errorf("%s is %s now, and was %s", l.name, again.Status.TokenID, l.id)
			}
			d.expect(d.delivered(l), http.StatusOK)
		}
		if l.ended == "revoked" && !l.portal {
			if err := d.api.Get(d.Context(), client.ObjectKey{Namespace: rig.Namespace, Name: l.name}, &tokensv1alpha1.APIToken{}); !apierrors.IsNotFound(err) {
				d.Errorf("%s, which was revoked, is back: %v", l.name, err)
			}
		}
	})
}

// velero restores objects as Velero does, Secrets first, and then in the worst order, Secrets last, while the controller runs.
func (d *drill) velero() {
	d.Helper()
	first, last := &lived{name: "secrets-first"}, &lived{name: "secrets-last"}
	d.declare(first)
	d.declare(last)
	archive := d.backup(100)
	d.collectLogs()
	var kept [][]client.Object
	for _, l := range []*lived{first, last} {
		kept = append(kept, d.keep(l))
	}
	d.withoutController(func() {
		for _, objects := range kept {
			for _, o := range objects {
				d.must(d.api.Delete(d.Context(), o))
			}
		}
	})
	d.bringBack(kept[0]...)
	d.await(first.name, tokensv1alpha1.ReasonRecordOrphaned)
	d.expect(first.secrets[0], http.StatusUnauthorized)
	slices.Reverse(kept[1])
	d.bringBack(kept[1][0])
	if now := d.await(last.name, tokensv1alpha1.ReasonIssued); now.Status.TokenID == last.id {
		d.Errorf("%s has its token again, without its record", last.name)
	}
	d.bringBack(kept[1][1:]...)
	d.expect(last.secrets[0], http.StatusUnauthorized)
	d.expect(d.delivered(last), http.StatusOK)

	// An archive repairs the first. Nobody knows who deleted it, so it comes back suspended. The other one has a new token, and keeps it.
	log := filepath.Join(d.store, "velero.log")
	d.must(os.WriteFile(log, []byte(d.logs.String()), 0o600))
	out := d.apitoken(exit.Partial, "admin", "", "restore", archive, "--identity", d.key, "--yes", "--audit", log)
	for _, want := range []string{"jira/secrets-first restored suspended", "jira/secrets-last left alone"} {
		if !strings.Contains(out, want) {
			d.Errorf("%q is not in %s", want, out)
		}
	}
	d.expect(first.secrets[0], http.StatusUnauthorized)
	d.apitoken(exit.Done, "admin", "", "resume", first.name)
	d.expect(first.secrets[0], http.StatusOK)
	d.expect(d.delivered(last), http.StatusOK)
}

// keep returns the delivered Secret, the record and the APIToken of a token, in Velero's order.
func (d *drill) keep(l *lived) []client.Object {
	d.Helper()
	t, delivered, record := d.object(l), &corev1.Secret{}, &corev1.Secret{}
	d.must(d.api.Get(d.Context(), client.ObjectKeyFromObject(t), t))
	d.must(d.api.Get(d.Context(), client.ObjectKey{Namespace: rig.Namespace, Name: l.name + "-token"}, delivered))
	d.must(d.api.Get(d.Context(), client.ObjectKey{Namespace: system, Name: string(t.UID)}, record))
	return []client.Object{delivered, record, t}
}

// bringBack creates objects as Velero does: without UID and status, and it leaves alone what is there.
func (d *drill) bringBack(objects ...client.Object) {
	d.Helper()
	for _, o := range objects {
		o.SetUID("")
		o.SetResourceVersion("")
		if t, is := o.(*tokensv1alpha1.APIToken); is {
			t.Status = tokensv1alpha1.APITokenStatus{}
		}
		if err := d.api.Create(d.Context(), o); !apierrors.IsAlreadyExists(err) {
			d.must(err)
		}
	}
}
