package admission

import (
	"context"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// cached is a client with one Secret in its cache, or none.
type cached struct {
	client.Client

	stored *corev1.Secret
}

func (c *cached) Get(_ context.Context, name client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	if c.stored == nil {
		return apierrors.NewNotFound(corev1.Resource("secrets"), name.Name)
	}
	*into.(*corev1.Secret) = *c.stored
	return nil
}

// Each pass over an APIToken reads the stored state. That costs next to nothing until it changes, and a change counts at once.
func TestStoredIsDecodedOnce(t *testing.T) {
	c := &cached{}
	g := &Guard{Client: c, Namespace: "apitoken-system"}
	put := func(uid types.UID, version, problem string) {
		t.Helper()
		m := memory{NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		for _, p := range policies {
			m.Objects = append(m.Objects, object{Kind: kindPolicy, Name: p.name}, object{Kind: kindBinding, Name: p.name})
		}
		if problem != "" {
			m.Problems = map[string]string{IssuePolicy: problem}
		}
		data, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		c.stored = g.secret(data)
		c.stored.UID, c.stored.ResourceVersion = uid, version
	}
	read := func() State {
		t.Helper()
		s, err := g.Stored(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	none := read()
	for i, problem := range []string{"", "it is gone", "", "its binding is gone"} {
		put("1", strconv.Itoa(i), problem)
		if got, want := read(), decode(c.stored).state(); got != want || got == none {
			t.Errorf("read %+v, want %+v", got, want)
		}
		if allocations := testing.AllocsPerRun(100, func() { read() }); allocations > 1 {
			t.Errorf("a read of what is known allocates %.0f times", allocations)
		}
	}
	put("2", "3", "")
	if got, want := read(), decode(c.stored).state(); got != want {
		t.Errorf("read %+v of another memory, want %+v", got, want)
	}
	if c.stored = nil; read() != none {
		t.Error("the memory is gone, and read still")
	}
}
