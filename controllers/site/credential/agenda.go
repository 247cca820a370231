package credential

import (
	"cmp"
	"time"

	"github.com/google/btree"
	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

const (
	// wholePeriod is how often a pass looks at all working copies, whether they are due or not.
	wholePeriod = time.Hour
	// maxChanged is how many names besides those of the copies may have changed before a pass looks at all.
	maxChanged = 1000
)

// look is when to look at a working copy, or at an enrolment without one, unless something about it changes before.
type look struct {
	// name is that of the copy.
	name string
	at   time.Time
	// copied means that there is a copy, and not an enrolment alone.
	copied bool
	// answered is when the product last answered about the copy. It is zero if the product is not asked.
	answered time.Time
}

// agenda has the looks of one site. A pass takes those that are due, and leaves the others alone: there may be very many. What it took
// stays due until it is put back with another time, so that a pass that does not end loses nothing.
type agenda struct {
	byName             map[string]look
	byTime, byAnswered *btree.BTreeG[look]
	copies             int
	// changed are the names about which something changed since the last pass began. The empty name stands for all.
	changed map[string]bool
	// uid and generation are those of the site when a pass last looked at all, which was at whole.
	uid        types.UID
	generation int64
	whole      time.Time
	// begun is when the last pass began.
	begun time.Time
}

func newAgenda() *agenda {
	const degree = 32
	return &agenda{
		byName: map[string]look{}, changed: map[string]bool{},
		byTime: btree.NewG(degree, func(a, b look) bool {
			return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.name, b.name)) < 0
		}),
		byAnswered: btree.NewG(degree, func(a, b look) bool {
			return cmp.Or(a.answered.Compare(b.answered), cmp.Compare(a.name, b.name)) < 0
		}),
	}
}

// begin returns the names that are due for a pass over a site that begins now. all means that it has to look at everything: nothing is
// known yet, the site has changed, an hour has passed, or the clock went back.
func (a *agenda) begin(s *tokensv1alpha1.AtlassianSite, now time.Time) (names []string, all bool) {
	now = now.Round(0) // most times are from Secrets, which have no monotonic reading: with it, a clock that went back would not be seen
	all = a.changed[""] || a.whole.IsZero() || a.uid != s.UID || a.generation != s.Generation || now.Before(a.begun) || now.Sub(a.whole) >= wholePeriod
	if all {
		a.uid, a.generation, a.whole = s.UID, s.Generation, time.Time{}
	}
	delete(a.changed, "")
	for name := range a.changed {
		l := a.byName[name]
		l.name, l.at = name, time.Time{}
		a.put(l)
	}
	clear(a.changed)
	a.begun = now
	a.byTime.Ascend(func(l look) bool {
		if l.at.After(now) {
			return false
		}
		names = append(names, l.name)
		return true
	})
	return names, all
}

// change notes for the next pass that something about a name changed. Users can come and go while no pass comes.
func (a *agenda) change(name string) {
	if len(a.changed) > len(a.byName)+maxChanged {
		clear(a.changed)
		name = ""
	}
	a.changed[name] = true
}

func (a *agenda) put(l look) {
	l.at, l.answered = l.at.Round(0), l.answered.Round(0)
	a.remove(l.name)
	a.byName[l.name] = l
	a.byTime.ReplaceOrInsert(l)
	if l.copied {
		a.copies++
	}
	if !l.answered.IsZero() {
		a.byAnswered.ReplaceOrInsert(l)
	}
}

func (a *agenda) remove(name string) {
	l, found := a.byName[name]
	if !found {
		return
	}
	delete(a.byName, name)
	a.byTime.Delete(l)
	a.byAnswered.Delete(l)
	if l.copied {
		a.copies--
	}
}
