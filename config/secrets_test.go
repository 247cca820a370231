package config_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// operatorsTypes are the types of Secrets that only the operator may write.
var operatorsTypes = []corev1.SecretType{
	"apitokens.dev/hash",
	"apitokens.dev/caller-keys",
	"apitokens.dev/auth-urls",
	"apitokens.dev/upstream-credential",
	"apitokens.dev/site",
	"apitokens.dev/site-memory",
	"apitokens.dev/enrolment",
	"apitokens.dev/probe-key",
	"apitokens.dev/serving-authorities",
}

// ordinaryTypes are examples of other types.
var ordinaryTypes = []corev1.SecretType{
	corev1.SecretTypeOpaque,
	corev1.SecretTypeBasicAuth,
	corev1.SecretTypeServiceAccountToken,
	"example.com/apitokens.dev",
	"apitokens.development/hash",
}

func newSecret(namespace, name string, secretType corev1.SecretType) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name,
			// The API server requires it for type kubernetes.io/service-account-token.
			Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"},
		},
		Type: secretType,
		Data: map[string][]byte{corev1.BasicAuthUsernameKey: []byte("alice"), corev1.BasicAuthPasswordKey: []byte("x")},
	}
}

func TestSecretsPolicy(t *testing.T) {
	all := append(append([]corev1.SecretType{"apitokens.dev/unheard-of"}, operatorsTypes...), ordinaryTypes...)
	namespaces := []string{teamNamespace, otherNamespace, systemNamespace, credentialsNamespace, intakeNamespace}
	tests := []struct {
		who        string
		namespaces []string
		types      []corev1.SecretType
		want       outcome // of create and update
		patch      outcome
	}{
		{"secret-writer", []string{teamNamespace}, ordinaryTypes, allowed, allowed},
		{"secret-writer", []string{teamNamespace}, operatorsTypes, refusedAsOperatorsType, refusedAsOperatorsType},
		{"secret-writer", []string{teamNamespace}, all[:1], refusedAsOperatorsType, refusedAsOperatorsType},
		{"secret-writer-everywhere", namespaces, ordinaryTypes, allowed, allowed},
		{"secret-writer-everywhere", namespaces, operatorsTypes, refusedAsOperatorsType, refusedAsOperatorsType},
		{"restorer", []string{systemNamespace}, all, allowed, allowed},
		{"restorer", []string{credentialsNamespace, teamNamespace}, operatorsTypes, refusedAsOperatorsType, refusedAsOperatorsType},
		{clusterAdmin, []string{systemNamespace, teamNamespace}, all, allowed, allowed},
		{controller, namespaces, operatorsTypes, allowed, refusedByRBAC},
		{controller, namespaces, []corev1.SecretType{corev1.SecretTypeBasicAuth}, allowed, refusedByRBAC},
		{controller, namespaces, []corev1.SecretType{corev1.SecretTypeOpaque, corev1.SecretTypeServiceAccountToken}, refusedAsForeignType, refusedByRBAC},
		{controller, []string{systemNamespace}, []corev1.SecretType{"apitokens.dev/unheard-of", "example.com/apitokens.dev"}, refusedAsForeignType, refusedByRBAC},
		// The policy refuses the operator's other accounts even if they have rights on Secrets.
		{foreignAccount, []string{systemNamespace, teamNamespace}, ordinaryTypes, refusedAsForeignType, refusedAsForeignType},
		{foreignAccount, []string{systemNamespace, teamNamespace}, operatorsTypes, refusedAsOperatorsType, refusedAsOperatorsType},
		{webhook, []string{otherNamespace}, ordinaryTypes, refusedAsForeignType, refusedAsForeignType},
		{webhook, []string{otherNamespace}, operatorsTypes, refusedAsOperatorsType, refusedAsOperatorsType},
		{portal, []string{systemNamespace}, []corev1.SecretType{"apitokens.dev/hash"}, allowed, refusedByRBAC},
		{portal, []string{systemNamespace}, []corev1.SecretType{"apitokens.dev/caller-keys", "apitokens.dev/auth-urls", "apitokens.dev/site"}, refusedAsOperatorsType, refusedByRBAC},
		{portal, []string{systemNamespace}, ordinaryTypes, refusedAsForeignType, refusedByRBAC},
		{portal, []string{teamNamespace, otherNamespace}, all, refusedByRBAC, refusedByRBAC},
		{webhook, []string{teamNamespace, systemNamespace, credentialsNamespace}, all, refusedByRBAC, refusedByRBAC},
	}
	for _, test := range tests {
		for _, namespace := range test.namespaces {
			for _, secretType := range test.types {
				t.Run(test.who+" in "+namespace+"/"+string(secretType), func(t *testing.T) {
					checkSecret(t, clients[test.who], newSecret(namespace, "new", secretType), test.want, test.patch)
				})
			}
		}
	}
}

// checkSecret checks the outcome of every way to write a Secret. Most are dry runs, which policies treat like others.
func checkSecret(t *testing.T, c client.Client, secret *corev1.Secret, want, patch outcome) {
	t.Helper()
	existing := secret.DeepCopy()
	existing.Name = "existing"
	create(t, existing)
	remove(t, secret)
	requests := []struct {
		name string
		want outcome
		send func(ctx context.Context) error
	}{
		{"dry-run create", want, func(ctx context.Context) error {
			return c.Create(ctx, secret.DeepCopy(), client.DryRunAll)
		}},
		{"create with generateName", want, func(ctx context.Context) error {
			generated := secret.DeepCopy()
			generated.GenerateName, generated.Name = secret.Name, ""
			return c.Create(ctx, generated, client.DryRunAll)
		}},
		{"create", want, func(ctx context.Context) error {
			return c.Create(ctx, secret.DeepCopy())
		}},
		{"update of the data", want, func(ctx context.Context) error {
			changed := existing.DeepCopy()
			changed.Data["password"] = []byte("y")
			return c.Update(ctx, changed, client.DryRunAll)
		}},
		{"update of the labels", want, func(ctx context.Context) error {
			changed := existing.DeepCopy()
			changed.Labels = map[string]string{"a": "b"}
			return c.Update(ctx, changed, client.DryRunAll)
		}},
		{"merge patch", patch, func(ctx context.Context) error {
			return c.Patch(ctx, existing.DeepCopy(), mergePatch(`{"data":{"password":"eQ=="}}`), client.DryRunAll)
		}},
		{"apply", patch, func(ctx context.Context) error {
			return c.Apply(ctx, applycorev1.Secret(existing.Name, existing.Namespace).
				WithType(existing.Type).WithData(map[string][]byte{"password": []byte("y")}),
				client.FieldOwner("test"), client.ForceOwnership, client.DryRunAll)
		}},
	}
	for _, request := range requests {
		if err := request.want.check(request.send(t.Context())); err != nil {
			t.Errorf("%s: %v", request.name, err)
		}
	}
}

// If the type could change, an ordinary Secret could become a record.
func TestTypeOfSecretMayNotChange(t *testing.T) {
	secret := newSecret(teamNamespace, "existing", corev1.SecretTypeOpaque)
	create(t, secret)
	for _, who := range []string{"secret-writer", clusterAdmin} {
		changed := secret.DeepCopy()
		changed.Type = operatorsTypes[0]
		if err := clients[who].Update(t.Context(), changed); err == nil {
			t.Errorf("%s changed the type", who)
		}
	}
}

// Kubernetes' own controllers write Secrets without changing their data: the garbage collector removes its finalizer, and
// a storage migration writes objects without changes. If the policy refused them, a Secret could stay in deletion forever.
func TestKubernetesOwnControllersGoOn(t *testing.T) {
	for i, secretType := range operatorsTypes {
		secret := newSecret(teamNamespace, fmt.Sprintf("collected-%d", i), secretType)
		secret.Finalizers = []string{"example.com/foreground"}
		create(t, secret)
		writer := clients["secret-writer"]
		for _, request := range []struct {
			name, patch string
			want        outcome
		}{
			{"removing a finalizer", `{"metadata":{"finalizers":null}}`, allowed},
			{"writing without changes", `{}`, allowed},
			{"changing data", `{"data":{"password":"eQ=="}}`, refusedAsOperatorsType},
			{"adding data", `{"data":{"more":"eQ=="}}`, refusedAsOperatorsType},
			{"removing all data", `{"data":null}`, refusedAsOperatorsType},
			{"changing labels", `{"metadata":{"labels":{"apitokens.dev/token-id":"x"}}}`, refusedAsOperatorsType},
			{"changing annotations", `{"metadata":{"annotations":{"a":"b"}}}`, refusedAsOperatorsType},
			{"making it immutable", `{"immutable":true}`, refusedAsOperatorsType},
			{
				"adding an owner, with which it would be garbage-collected",
				`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"a","uid":"b"}]}}`, refusedAsOperatorsType,
			},
		} {
			err := writer.Patch(t.Context(), secret.DeepCopy(), mergePatch(request.patch), client.DryRunAll)
			if err := request.want.check(err); err != nil {
				t.Errorf("%s, %s: %v", secretType, request.name, err)
			}
		}
		if err := clients[clusterAdmin].Patch(t.Context(), secret, mergePatch(`{"metadata":{"finalizers":null}}`)); err != nil {
			t.Error(err)
		}
	}
}
