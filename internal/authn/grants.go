package authn

import "hash/maphash"

// grants are what the users of a site act with at the product. To find one reads two places in memory, where that in a map of all sites
// reads four or five. A nil grants has none.
type grants struct {
	byUser positions
	list   []grant
	seed   maphash.Seed
}

// grant is what a user acts with. It has 64 bytes, which a processor reads as a whole.
type grant struct {
	user   string
	acting actingCredential
}

func newGrants() *grants { return &grants{byUser: newPositions(), seed: maphash.MakeSeed()} }

// of returns what a user acts with, or nil. It is right until the grants change. key is the key of the user. That of a user who has nothing
// is a decoy: to look it up reads as much memory, so that the time does not reveal who has nothing.
func (g *grants) of(user string) (acts *actingCredential, key string) {
	if g == nil || len(g.list) == 0 {
		return nil, ""
	}
	at, ok := g.find(user)
	if ok {
		acts = &g.list[at].acting
	}
	return acts, g.list[at].acting.userKey
}

// find returns the position of a user in the list. For one who is not in it, it looks at another one in the same way.
func (g *grants) find(user string) (at position, ok bool) {
	if len(g.list) == 0 {
		return 0, false
	}
	hash := g.hash(user)
	for i := g.byUser.home(hash); ; i = g.byUser.next(i) {
		i = g.byUser.seek(i, hash)
		of := g.byUser.cells[i]
		if of.vacant() {
			of.at = scaled(hash, len(g.list))
		}
		if ok = g.list[of.at].is(user); ok || of.vacant() {
			return of.at, ok
		}
	}
}

// is reports whether a user is that of the grant. It reads both names even if their lengths tell that they differ.
func (g *grant) is(user string) bool {
	n := min(len(g.user), len(user))
	return g.user[:n] == user[:n] && len(g.user) == len(user)
}

// hash is never 0.
func (g *grants) hash(user string) uint32 { return uint32(maphash.String(g.seed, user)) | 1 }

// put adds or replaces what a user acts with. The two texts that a decision reads lie side by side.
func (g *grants) put(user string, acting actingCredential) {
	at, ok := g.find(user)
	if !ok {
		at = position(len(g.list))
		g.list = append(g.list, grant{})
		g.byUser.add(g.hash(user), at)
	}
	both := user + acting.authorization
	acting.authorization = both[len(user):]
	g.list[at] = grant{both[:len(user)], acting}
}

// remove removes a user, and moves the last one to their place.
func (g *grants) remove(user string) {
	at, ok := g.find(user)
	if !ok {
		return
	}
	end := position(len(g.list) - 1)
	g.byUser.remove(g.hash(user), at)
	if last := g.list[end]; at != end {
		g.list[at] = last
		g.byUser.replace(g.hash(last.user), end, at)
	}
	g.list[end] = grant{}
	g.list = g.list[:end]
}

// PutUpstreamCredential adds or replaces the credential of a user at a site.
func (ix *Index) PutUpstreamCredential(c UpstreamCredential) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	of := ix.grants[c.Site]
	if of == nil {
		of = newGrants()
		ix.grants[c.Site] = of
		ix.joinGrants(c.Site)
	}
	of.put(c.User, actingCredential{c.UserKey, c.Authorization, c.Origin})
}

// DeleteUpstreamCredential removes the credential of a user at a site.
func (ix *Index) DeleteUpstreamCredential(name SiteName, user string) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	of := ix.grants[name]
	if of == nil {
		return
	}
	if of.remove(user); len(of.list) == 0 {
		delete(ix.grants, name) // the site keeps an empty one until there are others
	}
}

// joinGrants gives a site the grants that are known for it. The caller holds the lock.
func (ix *Index) joinGrants(name SiteName) {
	if s := ix.sites[name]; s != nil {
		s.grants = ix.grants[name]
	}
}
