package authn

import "apitokens.dev/operator/internal/probe"

// PutProbeKey adds or replaces the key with which the controller asks for a site.
func (ix *Index) PutProbeKey(name SiteName, key probe.Key) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.probeKeys[name] = key
}

// DeleteProbeKey removes the key with which the controller asks for a site.
func (ix *Index) DeleteProbeKey(name SiteName) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	delete(ix.probeKeys, name)
}

// probe judges the credential of a probe, which is a token of nobody. All of them end here, whatever else the index holds.
func (ix *Index) probe(q *question, c *credential) (ended bool) {
	if !probe.Presented(c.password) {
		return false
	}
	key, known := ix.probeKeys[q.Site]
	if !known || !key.Verify(c.password, q.path(), q.now) {
		return q.unauthorized(ReasonProbeRefused, "")
	}
	q.decision.Verdict, q.decision.Reason = Forbidden, ReasonProbe
	return true
}
