package apitoken_test

import (
	"cmp"
	"slices"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
)

func (s *scene) imported() bool { return s.kind == kindImported || s.kind == kindFollowed }
func (s *scene) ofPortal() bool { return s.kind == kindPortal || s.kind == kindPending }

// setKind makes the APIToken one of another kind.
func (s *scene) setKind(t *tokensv1alpha1.APIToken) {
	spec := &t.Spec
	switch {
	case s.imported():
		of := &tokensv1alpha1.ImportedCredential{SecretName: s.deliverKey.Name, Key: "password", Mode: tokensv1alpha1.ImportOnce}
		if s.kind == kindFollowed {
			of.Mode = tokensv1alpha1.ImportFollow
		}
		spec.Credential = tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialImported, Imported: of}
	case s.ofPortal():
		spec.Credential = tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialPortal}
	default:
		return
	}
	spec.Delivery = tokensv1alpha1.Delivery{}
	if s.kind == kindPending {
		t.Annotations = map[string]string{tokensv1alpha1.AnnotationPending: "true"}
	}
}

// another is a secret that the record does not know. One to import needs no slow hash.
func (s *scene) another() []byte {
	if s.imported() {
		return []byte(s.ours[2])
	}
	return []byte(canary)
}

// source is the Secret to import from.
func (s *scene) source() []byte {
	if o := s.stored(s.deliverKey); o != nil && (o.Type == "Opaque" || o.Type == "kubernetes.io/basic-auth") {
		return o.Data["password"]
	}
	return nil
}

// checkImport: only the secret at the source enters the record, at first or when a followed Secret changed.
// Nothing enters a record of the portal.
func (s *scene) checkImport(e record.Entry, before *record.Record) {
	if age := s.clock.Since(e.Issued); !s.imported() || e.State != record.Delivered || age < 0 || age >= time.Minute || !s.mayIssue(before != nil) {
		s.Fatalf("there is a new secret %+v, policy %d", e, s.policy)
	}
	s.deliveredNow = true
	if s.meddledNow {
		return
	}
	source, basis := s.source(), (*record.Entry)(nil)
	if before != nil {
		basis = &e
	}
	switch why := s.rules().forbids(basis); {
	case why != "":
		s.Fatalf("imported in spite of %s", why)
	case !e.Hash.Verify(source):
		s.Fatal("imported what does not lie at the source")
	case before != nil && (s.kind != kindFollowed || before.Verify(source) >= 0):
		s.Fatal("imported in place of what is good")
	}
}

// readyReason is the reason of a ready token.
func (s *scene) readyReason() string {
	if s.imported() {
		return tokensv1alpha1.ReasonImported
	}
	return tokensv1alpha1.ReasonIssued
}

// otherVerdict is the final reason of Ready for a token that the operator does not generate.
func (s *scene) otherVerdict(rules rules, basis *record.Entry) string {
	forbidden := rules.forbids(basis)
	_, unfit := record.CheckImported(string(s.source()))
	switch imports := s.imported() && (basis == nil || rules.replaced); {
	case rules.pending:
		return tokensv1alpha1.ReasonIssuePending
	case basis == nil && s.ofPortal() && rules.open && s.orphan == orphanNone:
		return tokensv1alpha1.ReasonRecordMissing
	case basis == nil && s.ofPortal() && rules.open:
		return tokensv1alpha1.ReasonRecordOrphaned
	case slices.Contains(silences, forbidden):
		return forbidden
	case imports && len(s.source()) == 0:
		return tokensv1alpha1.ReasonSourceMissing
	case imports && unfit != nil:
		return tokensv1alpha1.ReasonWeakCredential
	case imports && forbidden != "", basis != nil && rules.revoked(*basis):
		return forbidden
	}
	return cmp.Or(rules.unnamed, s.readyReason())
}
