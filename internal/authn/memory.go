package authn

import "time"

// Memory is what is remembered about the sites of one name.
type Memory struct {
	// UID is that of the AtlassianSite that the memory is about.
	UID string
	// IssuedAfter is the highest revocation epoch of the name.
	IssuedAfter time.Time
}

// PutMemory adds or replaces what is remembered about a site.
func (ix *Index) PutMemory(name SiteName, m Memory) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.memories[name] = m
	ix.remember(name)
}

// DeleteMemory removes what is remembered about a site. From now on nothing is decided for it.
func (ix *Index) DeleteMemory(name SiteName) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	delete(ix.memories, name)
	ix.remember(name)
}

// remember applies the memory to a site. The caller holds the lock.
func (ix *Index) remember(name SiteName) {
	s := ix.sites[name]
	if s == nil {
		return
	}
	m, known := ix.memories[name]
	s.remembered = known && m.UID == s.uid
	if s.lifetime.IssuedAfter = s.issuedAfter; m.IssuedAfter.After(s.issuedAfter) {
		s.lifetime.IssuedAfter = m.IssuedAfter
	}
}
