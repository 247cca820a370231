package apitoken_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/upstream"
)

const (
	canary    = "canary-of-somebody-else"
	patCanary = "canary-of-the-product"
	// keyOfToday is the product's user key for the user's name.
	keyOfToday = "JIRAUSER10002"
)

// props are the secrets of every scene, made once, so that the same input is the same scene.
type props struct {
	scheme *runtime.Scheme
	codecs serializer.CodecFactory
	id     string
	// minted are secrets of the token with this id, imports are secrets to import, foreign is a token of somebody else.
	minted, imports [record.MaxEntries]string
	foreign         string
	hashes          map[string]record.Hash
}

func makeProps(t testing.TB) *props {
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	p := &props{scheme: runtime.NewScheme(), hashes: map[string]record.Hash{}}
	must(errors.Join(scheme.AddToScheme(p.scheme), tokensv1alpha1.AddToScheme(p.scheme)))
	p.codecs = serializer.NewCodecFactory(p.scheme)
	random := rand.NewChaCha8([32]byte{1})
	mint := func(id string) string {
		text, err := token.New(id, random)
		must(err)
		p.hashes[text], err = record.NewHash(text, random)
		must(err)
		return text
	}
	var err error
	p.id, err = token.NewID(random)
	must(err)
	for i := range p.minted {
		p.minted[i] = mint(p.id)
		text := make([]byte, 60)
		_, err = random.Read(text)
		must(err)
		p.imports[i] = base64.RawStdEncoding.EncodeToString(text)
		p.hashes[p.imports[i]], err = record.NewImportedHash(p.imports[i], random)
		must(err)
	}
	foreignID, err := token.NewID(random)
	must(err)
	p.foreign = mint(foreignID)
	return p
}

// scene is one APIToken among other objects, and an API whose faults are the rest of the plan.
type scene struct {
	*testing.T
	*props
	setting
	plan

	store                 client.WithWatch
	tracker               clienttesting.ObjectTracker
	token                 *tokensv1alpha1.APIToken
	siteKey               client.ObjectKey
	recordKey, deliverKey client.ObjectKey
	reconciler            *apitoken.Reconciler
	cleaner               *apitoken.Cleaner
	clock                 *testclock.FakePassiveClock
	events                *events.FakeRecorder
	logs                  *bytes.Buffer
	damage, forgedID      string

	// ours are the secrets that the APIToken can have.
	ours [record.MaxEntries]string
	// start is the time at the beginning.
	start time.Time
	// plain means that only faults and terms can keep it from being issued.
	plain bool
	// calm means that there are no faults. cleaning means that the APIToken was deleted in the end.
	calm, cleaning bool
	// meddled means that a person changed Secrets, meddledNow that one changed anything in this pass, meddledEver at all.
	meddled, meddledNow, meddledEver bool
	// deliveredNow means that a token of the record was delivered in this pass. writes counts the deliveries.
	deliveredNow bool
	writes       int
	// cached are the objects of the cache that are behind.
	cached     map[client.ObjectKey]*corev1.Secret
	cachedSite *tokensv1alpha1.AtlassianSite
	// refusedNow means that a write was refused in this pass. refused are tokens whose delivery was.
	refusedNow bool
	refused    [][]byte
	// late are writes that were given up and are under way still.
	late []func() error
	// undelivered are first secrets that nobody got.
	undelivered map[record.Hash]bool
	// promised are secrets that a rotation replaced. buried are secrets that died with their delivered Secret.
	promised []promise
	buried   map[record.Hash]bool
	// hidden are texts that must not appear anywhere.
	hidden map[string]bool
}

// promise notes that a secret stays valid until then.
type promise struct {
	text  []byte
	entry record.Entry
	until time.Time
}

func newScene(t *testing.T, p *props, user, forgedID, damage string, choices []byte) *scene {
	s := &scene{
		T: t, props: p, plan: choices, damage: damage, forgedID: forgedID, logs: &bytes.Buffer{}, events: events.NewFakeRecorder(1000),
		start:  time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		hidden: map[string]bool{canary: true, patCanary: true}, undelivered: map[record.Hash]bool{},
	}
	s.clock = testclock.NewFakePassiveClock(s.start)
	for _, c := range s.choices() {
		*c.chosen = s.of(c.kinds)
	}
	if s.ours = p.minted; s.imported() {
		s.ours = p.imports
	}
	for text, hash := range p.hashes {
		s.hideToken(text)
		s.hideHash(hash)
	}
	namespace := []string{"jira", kubetest.SystemNamespace}[s.namespace]
	s.recordKey = client.ObjectKey{Namespace: kubetest.SystemNamespace, Name: "uid-1"}
	s.deliverKey = client.ObjectKey{Namespace: namespace, Name: []string{"ci-token", "uid-1", "uid-0"}[s.name]}
	s.siteKey = client.ObjectKey{Namespace: namespace, Name: "main"}
	if s.remote != siteHere {
		s.siteKey.Namespace = "sites"
	}
	s.token = kubetest.Token(namespace, "ci", func(t *tokensv1alpha1.APIToken) {
		t.UID, t.Generation, t.Spec.User, t.Spec.Delivery.SecretName = "uid-1", 1, user, s.deliverKey.Name
		t.CreationTimestamp = metav1.NewTime(s.start.Add(-time.Second))
		if s.policy == policyChanged {
			t.Generation = 2
		}
		t.Status = s.forgedStatus()
		s.setKind(t)
		s.setTerms(&t.Spec)
		if s.deletion == 1 {
			t.DeletionTimestamp, t.Finalizers = new(metav1.NewTime(s.clock.Now())), []string{"example.com/wait"}
		}
	})
	s.plain = s.namespace == 0 && s.deletion == 0 && s.site == 0 && s.credential == 0 && s.policy == policyInForce && s.record < recordDamaged
	if held := s.secret == secretOurs || s.secret == secretOursUntidy; s.kind == kindGenerated {
		s.plain = s.plain && (held && s.record != recordNone || s.secret == secretNone)
	}
	s.build()
	s.catchUp()
	if s.secret == secretNone {
		s.bury()
	}
	return s
}

// setTerms sets the terms that the APIToken asks for.
func (s *scene) setTerms(spec *tokensv1alpha1.APITokenSpec) {
	if s.remote != siteHere {
		spec.SiteRef.Namespace = s.siteKey.Namespace
	}
	if s.parent == 1 && s.ofPortal() {
		spec.CreatedBy = tokensv1alpha1.CreatedBy{UID: "uid-9", TokenID: "asp_0000000000000000", Namespace: "elsewhere"}
	}
	if s.state == 1 {
		spec.State = tokensv1alpha1.StateSuspended
	}
	switch s.lifetime {
	case livesADay:
		spec.LifetimeDays = new(int32(1))
	case livesAMonth:
		spec.LifetimeDays = new(int32(30))
	case livedUntil:
		spec.ExpirationTime = metav1.NewTime(s.start.Add(-30 * time.Minute))
	case livesUntil:
		spec.ExpirationTime = metav1.NewTime(s.start.Add(30 * day))
	}
	if s.kind != kindGenerated {
		return // only generated tokens rotate
	}
	switch s.rotation {
	case rotatesSinceLately:
		spec.Rotation.RequestedTime = metav1.NewTime(s.start.Add(-30 * time.Minute))
	case rotatesSoon:
		spec.Rotation.RequestedTime = metav1.NewTime(s.start.Add(30 * time.Second))
	case rotatesLater:
		spec.Rotation.RequestedTime = metav1.NewTime(s.start.Add(30 * time.Minute))
	case rotatesDaily:
		spec.Rotation.IntervalDays = new(int32(1))
	}
	spec.Rotation.OverlapHours = []*int32{nil, new(int32(0)), new(int32(1))}[s.overlap]
}

// newSite is the site with its policy.
func (s *scene) newSite() *tokensv1alpha1.AtlassianSite {
	site := kubetest.Site(s.siteKey.Namespace, s.siteKey.Name)
	spec := &site.Spec
	if s.site == 2 {
		spec.UpstreamURL = "::"
	}
	switch open := &spec.AllowedNamespaces; s.remote {
	case siteOpen:
		open.From = tokensv1alpha1.NamespacesFromAll
	case siteClosed:
		open.From = tokensv1alpha1.NamespacesFromSame
	case siteSelects, siteSelectsOthers:
		open.From = tokensv1alpha1.NamespacesFromSelector
		open.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"jira": []string{"yes", "no"}[s.remote-siteSelects]}}
	case siteSelectsUnreadably:
		open.From = tokensv1alpha1.NamespacesFromSelector
		open.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "jira", Operator: "Like"}}}
	}
	spec.IssuedAfter = []metav1.Time{
		{}, metav1.NewTime(s.start.Add(-100 * day)), metav1.NewTime(s.start.Add(-30 * time.Minute)), metav1.NewTime(s.start.Add(30 * time.Minute)), {},
	}[s.epoch]
	spec.BlockedUsers = [][]tokensv1alpha1.BlockedUser{nil, {{Key: "x"}, {Name: folded(s.token.Spec.User)}}, {{Name: "somebody-else"}}}[s.blocked]
	switch policy := &spec.TokenPolicy; s.limits {
	case limitsForever:
		policy.NeverExpiring = tokensv1alpha1.NeverExpiringForbidden
	case limitsADay:
		policy.MaxLifetimeDays = new(int32(1))
	case limitsMonths:
		policy.MaxLifetimeDays = new(int32(60))
	case limitsDefaultADay:
		policy.DefaultLifetimeDays = new(int32(1))
	case limitsOneToken:
		policy.MaxTokensPerUser = new(int32(1))
	}
	spec.TokenPolicy.ExpiredRetentionDays = []*int32{nil, new(int32(0)), new(int32(30))}[s.retention]
	return site
}

// projected is the projection of a site whose name had an epoch before.
func (s *scene) projected() *corev1.Secret {
	p := projection.Projection{Namespace: s.siteKey.Namespace, Site: s.siteKey.Name, IssuedAfter: s.start.Add(-30 * time.Minute)}
	data, err := p.Encode()
	if err != nil {
		s.Fatal(err)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: p.SecretName()},
		Type:       projection.SecretType, Data: map[string][]byte{projection.DataKey: data},
	}
}

// bury remembers the secrets that die when the delivered Secret is deleted.
func (s *scene) bury() {
	s.buried = map[record.Hash]bool{}
	if r := s.ourRecord(s.stored(s.recordKey)); r != nil {
		for _, e := range r.Entries {
			s.buried[e.Hash] = e.State != record.Candidate
		}
	}
}

// build fills the store and makes the controllers.
func (s *scene) build() {
	objects := []client.Object{s.token}
	there := map[client.ObjectKey]bool{}
	for _, o := range []*corev1.Secret{s.upstreamSecret(), s.enrolmentSecret(), s.deliveredSecret(s.secret), s.recordSecret(s.record), s.orphanSecret()} {
		// Where two have the same name, the first was there first.
		if o != nil && !there[client.ObjectKeyFromObject(o)] {
			there[client.ObjectKeyFromObject(o)] = true
			objects = append(objects, o)
		}
	}
	if s.site != 1 {
		objects = append(objects, s.newSite())
	}
	if s.epoch == epochOfEarlierSite {
		objects = append(objects, s.projected())
	}
	objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.token.Namespace, Labels: map[string]string{"jira": "yes"}}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}})
	if s.limits == limitsOneToken {
		objects = append(objects, kubetest.Token(s.token.Namespace, "older", func(t *tokensv1alpha1.APIToken) {
			t.UID, t.Spec.SiteRef, t.Spec.User = "uid-0", s.token.Spec.SiteRef, folded(s.token.Spec.User)
		}))
	}
	s.tracker = clienttesting.NewObjectTracker(s.scheme, s.codecs.UniversalDecoder())
	s.store = fake.NewClientBuilder().WithScheme(s.scheme).WithObjectTracker(s.tracker).
		WithStatusSubresource(&tokensv1alpha1.APIToken{}).WithObjects(objects...).
		WithIndex(&tokensv1alpha1.APIToken{}, index.ByOwner, index.Of(index.Keys[index.ByOwner])).
		WithIndex(&corev1.Secret{}, index.ByToken, index.Of(index.Keys[index.ByToken])).
		WithIndex(&corev1.Secret{}, index.ByImporter, index.Of(index.Keys[index.ByImporter])).Build()
	cache, live := interceptor.NewClient(s.store, s.funcs(false)), interceptor.NewClient(s.store, s.funcs(true))
	s.reconciler = &apitoken.Reconciler{
		Client: cache, Live: live, Events: s.events, Clock: s.clock, Random: rand.NewChaCha8([32]byte{2}), Guard: guard{s},
		Namespace: kubetest.SystemNamespace, CredentialsNamespace: kubetest.CredentialsNamespace,
	}
	s.cleaner = &apitoken.Cleaner{Client: cache, Live: live, Events: s.events, Clock: s.clock, Namespace: kubetest.SystemNamespace}
}

// hide adds a text to hidden, also in base64.
func (s *scene) hide(text string) {
	s.hidden[text] = true
	s.hidden[base64.RawStdEncoding.EncodeToString([]byte(text))] = true
}

// hideToken hides a token but for its id, which is public.
func (s *scene) hideToken(text string) { s.hide(text[token.IDLength+1:]) }

func (s *scene) hideHash(hash record.Hash) {
	parts := strings.Split(hash.String(), "$")
	for _, saltOrHash := range parts[len(parts)-2:] {
		s.hide(saltOrHash)
	}
}

// forgedStatus is a status that somebody forged.
func (s *scene) forgedStatus() tokensv1alpha1.APITokenStatus {
	now := metav1.NewTime(s.clock.Now())
	return []tokensv1alpha1.APITokenStatus{
		{},
		{TokenID: s.forgedID},
		{TokenID: s.id},
		{TokenID: s.id, IssuedTime: now, Conditions: []metav1.Condition{{
			Type: tokensv1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: tokensv1alpha1.ReasonIssued, LastTransitionTime: now,
		}}},
	}[s.status]
}

// upstreamSecret is the personal access token of the user.
func (s *scene) upstreamSecret() *corev1.Secret {
	c := upstream.Credential{
		Namespace: s.siteKey.Namespace, Site: "main", User: folded(s.token.Spec.User), Origin: "http://jira." + s.siteKey.Namespace + ".svc:8080", Token: patCanary,
	}
	if s.owner != ownerUnknown {
		c.UserKey = keyOfToday
	}
	if s.credential == 2 {
		c.Origin = "http://elsewhere"
	}
	data, err := c.Encode()
	if err != nil {
		s.Fatal(err)
	}
	switch s.credential {
	case 1:
		return nil
	case 3:
		data = append(data, ' ')
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.CredentialsNamespace, Name: c.SecretName()},
		Type:       upstream.SecretType, Data: map[string][]byte{upstream.DataKey: data},
	}
}

// enrolmentSecret is the enrolment of the user, or nil if there is none.
func (s *scene) enrolmentSecret() *corev1.Secret {
	e := enrolment.Enrolment{
		Namespace: s.siteKey.Namespace, Site: "main", User: folded(s.token.Spec.User), State: enrolment.Held, UserKey: keyOfToday,
		Name: folded(s.token.Spec.User), Checked: s.start,
	}
	switch s.named {
	case namedBefore:
		e.Checked = s.token.CreationTimestamp.Time // it is cut to seconds: this may have been before
	case namedToCome:
		e.Checked = s.start.Add(24 * time.Hour)
	case namedOtherwise:
		e.Name += ".former"
	case namedOtherKey:
		e.UserKey = "JIRAUSER10001"
	case namedNever:
		return nil
	}
	data, err := e.Encode()
	if err != nil {
		s.Fatal(err)
	}
	if s.named == namedUnreadably {
		data = append(data, '}')
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: e.SecretName()},
		Type:       enrolment.SecretType, Data: map[string][]byte{enrolment.DataKey: data},
	}
}

// folded is username.Fold by other code.
func folded(user string) string {
	return regexp.MustCompile(`[A-Z]+`).ReplaceAllStringFunc(user, strings.ToLower)
}

// deliveredSecret is the Secret of the name to deliver to.
func (s *scene) deliveredSecret(kind byte) *corev1.Secret {
	o := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.deliverKey.Namespace, Name: s.deliverKey.Name, Labels: map[string]string{"of": "somebody"}},
		Type:       corev1.SecretTypeBasicAuth,
		Data: map[string][]byte{
			"username": []byte(s.token.Spec.User), "password": []byte(s.ours[0]), "url": []byte(kubetest.Site(s.siteKey.Namespace, "main").Spec.BaseURL), "more": []byte(canary),
		},
	}
	switch kind {
	case secretNone:
		return nil
	case secretOursUntidy:
		o.Data["username"], o.Data["url"] = []byte(s.damage), nil
	case secretOpaque:
		o.Type = corev1.SecretTypeOpaque
	case secretSomebodys:
		o.Data["password"] = s.another()
	case secretForeignToken:
		o.Data["password"] = []byte(s.foreign)
	case secretOfRecordType:
		o.Type = record.SecretType
	case secretEmpty:
		o.Data = nil
	case secretDead:
		o.Data["password"] = []byte(s.ours[3])
	}
	return o
}

// recordSecret is the Secret of the name of the record.
func (s *scene) recordSecret(kind byte) *corev1.Secret {
	if kind == recordNone {
		return nil
	}
	r := s.newRecord(s.ours[0])
	switch kind {
	case recordDelivered:
		r.Entries[0].State = record.Delivered
	case recordFull, recordFullOld:
		r = s.newRecord(s.ours[:]...)
		r.Entries[s.delivered].State = record.Delivered
		if kind == recordFullOld {
			r.Entries[0].Issued = r.Entries[0].Issued.Add(-time.Hour)
		}
	case recordRotating:
		r = s.newRecord(s.ours[:2]...)
		r.Entries[0].State, r.Entries[1].Issued = record.Delivered, s.start
	case recordEnding, recordEndingOver:
		r = s.rotated(s.ours[1], s.ours[0])
	case recordEndingHeld, recordEndingHeldOver:
		r = s.rotated(s.ours[0], s.ours[1])
	case recordEndingFull:
		r = s.rotated(s.ours[1], s.ours[2], s.ours[3], s.ours[0])
	case recordWithDead, recordDead:
		r = s.rotated(s.ours[2], s.ours[3], s.ours[0])
		r.Keep(r.Entries[2:], s.start)
	case recordOfOtherUser:
		r.User = "mallory"
	case recordOfOtherSite:
		r.Site.Name = "other"
	case recordOfOtherSiteNamespace:
		r.Site.Namespace = "other"
	case recordOfOtherName:
		r.APIToken.Name = "other"
	case recordOfOtherNamespace:
		r.APIToken.Namespace = "other"
	case recordOfOtherSecret:
		if r.Imported, r.Portal = r.Portal, r.Imported; s.kind == kindGenerated {
			r.DeliverySecret = "other"
		}
	case recordOfForeignToken:
		r = s.newRecord(s.foreign)
	}
	if kind == recordEndingOver || kind == recordEndingHeldOver {
		r.Entries[0].Ends = s.start
	}
	if r.Imported {
		r.Entries = r.Entries[len(r.Entries)-1:]
		r.Entries[0].State, r.Entries[0].Ends = record.Delivered, time.Time{}
	}
	if kind == recordDead {
		r.Kill(s.start)
	}
	o := s.recordNamed(s.recordKey.Name, r)
	switch kind {
	case recordDamaged:
		o.Data[record.DataKey] = []byte(s.damage)
	case recordOpaque:
		o.Type = corev1.SecretTypeOpaque
	}
	return o
}

// orphanSecret is the record of an earlier APIToken of the same name.
func (s *scene) orphanSecret() *corev1.Secret {
	switch s.orphan {
	case orphanNone:
		return nil
	case orphanForeign:
		return s.recordNamed("uid-0", s.newRecord(s.foreign))
	}
	o := s.recordNamed("uid-0", s.newRecord(s.ours[0]))
	if s.orphan == orphanOursKept {
		o.Annotations = map[string]string{"apitokens.dev/orphaned-since": s.clock.Now().Format(time.RFC3339)}
	}
	return o
}

// newRecord is a record of the APIToken, with these tokens as candidates.
func (s *scene) newRecord(texts ...string) *record.Record {
	r := &record.Record{
		TokenID: s.id, User: folded(s.token.Spec.User), DeliverySecret: s.token.Spec.Delivery.SecretName, Imported: s.imported(), Portal: s.ofPortal(),
		Site: record.Ref{Namespace: s.siteKey.Namespace, Name: "main"}, APIToken: record.Ref{Namespace: s.token.Namespace, Name: s.token.Name},
	}
	switch s.owner {
	case ownerNoted:
		r.UserKey = keyOfToday
	case ownerChanged:
		r.UserKey = "JIRAUSER10001"
	}
	for _, text := range texts {
		issued := s.start.Add(-[]time.Duration{0, 25 * time.Hour, 70 * day}[s.age])
		r.Entries = append(r.Entries, record.Entry{Hash: s.hashes[text], State: record.Candidate, Issued: issued})
	}
	return r
}

// rotated is a record of which the last token has replaced the others.
func (s *scene) rotated(texts ...string) *record.Record {
	r := s.newRecord(texts...)
	for i := range r.Entries {
		e := &r.Entries[i]
		if i == len(r.Entries)-1 {
			e.State = record.Delivered
			break
		}
		e.State, e.Issued, e.Ends = record.Ending, e.Issued.Add(-time.Hour), s.start.Add(time.Hour)
	}
	return r
}

func (s *scene) recordNamed(name string, r *record.Record) *corev1.Secret {
	data, err := r.Encode()
	if err != nil {
		s.Fatal(err)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: name, CreationTimestamp: metav1.NewTime(s.start), Labels: map[string]string{
			record.LabelTokenID: r.TokenID, record.LabelSiteNamespace: r.Site.Namespace, record.LabelSite: r.Site.Name,
		}},
		Type: record.SecretType, Data: map[string][]byte{record.DataKey: data},
	}
}
