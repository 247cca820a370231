package authn

// TokenUIDs returns the UIDs of the APITokens in a namespace, or in all if it is empty.
func (ix *Index) TokenUIDs(namespace string) []string {
	return ix.uids(func(p parts) bool { return p.token != nil && (namespace == "" || p.token.Namespace == namespace) },
		func(e entry) bool {
			t := e.more().token
			switch {
			case !e.dead:
				return namespace == "" || e.place.namespace == namespace
			case t == nil:
				return false
			}
			return namespace == "" || t.Namespace == namespace
		})
}

// RecordUIDs returns the UIDs of the APITokens that have records.
func (ix *Index) RecordUIDs() []string {
	return ix.uids(func(p parts) bool { return p.record != nil }, func(entry) bool { return true })
}

func (ix *Index) uids(loose func(parts) bool, linked func(entry) bool) (uids []string) {
	defer ix.mu.read(0).RUnlock()
	for uid, p := range ix.loose {
		if loose(p) {
			uids = append(uids, uid)
		}
	}
	for e := range ix.entries.all() {
		if linked(e) {
			uids = append(uids, e.at(textUID))
		}
	}
	return uids
}
