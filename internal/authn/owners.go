package authn

import "strings"

// owners are the users who own entries, or have a credential to act with. Each is there once. An entry has the number of its owner, so
// that a decision looks nobody up.
type owners struct {
	list   []*owner
	vacant []uint32
	known  map[siteUser]*owner
}

// owner is a user of a site.
type owner struct {
	// acting is what they act with at the product. It counts only if enrolled is true.
	acting   actingCredential
	enrolled bool
	// at is the number of the owner, and entries is how many entries they own.
	at, entries uint32
}

func newOwners() *owners { return &owners{known: map[siteUser]*owner{}} }

// acts returns what the owner acts with at the product, or nil. It is right until that changes.
func (o *owner) acts() *actingCredential {
	if !o.enrolled {
		return nil
	}
	return &o.acting
}

// hold counts one entry more for an owner, and returns them.
func (o *owners) hold(name siteUser) *owner {
	of := o.of(name)
	of.entries++
	return of
}

// release counts one entry less.
func (o *owners) release(name siteUser) {
	of := o.known[name]
	of.entries--
	o.tidy(name, of)
}

// enrol gives an owner a credential.
func (o *owners) enrol(name siteUser, acting actingCredential) {
	of := o.of(name)
	of.acting, of.enrolled = acting, true
}

// expel takes the credential of an owner.
func (o *owners) expel(name siteUser) {
	if of := o.known[name]; of != nil {
		of.acting, of.enrolled = actingCredential{}, false
		o.tidy(name, of)
	}
}

// of returns an owner. If there is none of this name, it adds one.
func (o *owners) of(name siteUser) *owner {
	of := o.known[name]
	if of == nil {
		of = &owner{at: vacancy(&o.list, &o.vacant)}
		o.list[of.at] = of
		name.user = strings.Clone(name.user) // it may be a part of a longer text
		o.known[name] = of
	}
	return of
}

// tidy forgets an owner of whom nothing is left.
func (o *owners) tidy(name siteUser, of *owner) {
	if of.enrolled || of.entries > 0 {
		return
	}
	delete(o.known, name)
	o.list[of.at] = nil
	o.vacant = append(o.vacant, of.at)
}
