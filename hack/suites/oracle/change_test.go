package oracle

import "time"

// step steps the clock, mends what has been broken for a while, and changes some objects.
func (l *life) step() {
	l.stepClock()
	l.mend()
	for range l.n(6) {
		l.change()
	}
}

// mend puts back some of what is missing. Otherwise all worlds would end up empty.
func (l *life) mend() {
	for _, name := range siteNames {
		if l.world.sites[name] == nil && rarely(l, 2) {
			l.putSite(name)
		}
		if s := l.world.sites[name]; s != nil && l.world.memories[name].uid != s.uid && rarely(l, 2) {
			l.putMemory(name)
		}
		if l.world.callerKeys[name] == nil && rarely(l, 2) {
			l.putCallerKeys(name)
		}
		if l.world.authorities[name] == nil && rarely(l, 2) {
			l.putAuthorities(name)
		}
	}
	for range 4 {
		if uid := choose(l, uids); !l.valid(uid) && rarely(l, 2) {
			l.issue(uid)
		}
	}
}

// stepClock goes on a little or a lot, or to the very moment at which something ends, or back.
func (l *life) stepClock() {
	switch l.n(8) {
	case 0, 1:
		l.world.now = l.world.now.Add(time.Duration(l.n(120)) * time.Second)
	case 2:
		l.world.now = l.world.now.Add(time.Duration(l.n(48)) * time.Hour)
	case 3:
		l.world.now = l.world.now.Add(-time.Duration(l.n(48)) * time.Hour)
	case 4, 5, 6:
		if end := l.someEnd(); !end.IsZero() && end.Sub(l.world.now).Abs() < 20*24*time.Hour {
			l.world.now = end.Add(time.Duration(l.n(3)-1) * time.Nanosecond)
		}
	}
}

// someSecret is one of an APIToken, or nothing.
func (l *life) someSecret(uid string) secret {
	r := l.world.records[uid]
	if r == nil {
		return secret{}
	}
	return r.Secrets[l.n(len(r.Secrets))]
}

// someEnd is a moment at which something changes by itself.
func (l *life) someEnd() time.Time {
	uid := choose(l, uids)
	if len(l.certificates) > 0 && rarely(l, 6) {
		return choose(l, l.certificates).Ends
	}
	t, s := l.world.apiTokens[uid], l.someSecret(uid)
	if t == nil {
		return time.Time{}
	}
	in := func(days int32) time.Time {
		if days == 0 {
			return time.Time{}
		}
		return s.Issued.Add(time.Duration(days) * 24 * time.Hour)
	}
	at := l.world.sites[t.site]
	if at == nil {
		return t.Expiration
	}
	switch l.n(5) {
	case 0:
		return s.Ends
	case 1:
		return in(at.maxDays)
	case 2:
		return in(at.defaultDays)
	case 3:
		return in(t.lifetimeDays)
	default:
		if lic := l.world.licenses[t.site]; lic != nil {
			return lic.Expires
		}
		return t.Expiration
	}
}

// change adds, changes or removes one object, in no order.
func (l *life) change() {
	name, uid := choose(l, siteNames), choose(l, uids)
	switch l.n(18) {
	case 17:
		l.changeAuthorities(name)
	case 16:
		l.changeMemory(name)
	case 0, 1, 2:
		l.issue(uid)
	case 3, 4, 5:
		l.changeToken(uid)
	case 6:
		l.changeRecord(uid)
	case 7:
		delete(l.world.apiTokens, uid)
		l.core.index.DeleteToken(uid)
	case 8:
		delete(l.world.records, uid)
		l.core.index.DeleteRecord(uid)
	case 9:
		l.changeNamespace()
	case 10, 11:
		l.changeCredential(owner{name, choose(l, users)})
	case 12:
		l.changeLicense(name)
	case 13, 14:
		l.changeSite(name)
	case 15:
		l.changeCallerKeys(name)
	}
}

// changeToken changes one field of an APIToken.
func (l *life) changeToken(uid string) {
	old := l.world.apiTokens[uid]
	if old == nil {
		l.issue(uid)
		return
	}
	t := *old
	switch l.n(9) {
	case 8:
		t.parent = choose(l, namespaces)
	case 0:
		t.suspended = !t.suspended
	case 1, 2:
		t.limits = l.limits(3)
	case 3:
		l.setLifetime(&t)
	case 4:
		t.user = choose(l, users)
	case 5:
		t.site = choose(l, siteNames)
	case 6:
		t.name = "renamed"
	case 7:
		t.limits = limits{}
	}
	l.putToken(uid, &t)
}

// changeRecord rotates, or writes the record of the APIToken anew.
func (l *life) changeRecord(uid string) {
	t, old := l.world.apiTokens[uid], l.world.records[uid]
	switch {
	case t == nil:
		l.issue(uid)
	case old == nil || old.credential == "Imported" || len(old.Secrets) == 4 || rarely(l, 4):
		l.putRecord(uid, l.recordOf(t))
	default:
		r := *old
		r.Secrets = append([]secret{}, old.Secrets...)
		l.addSecret(&r)
		l.putRecord(uid, &r)
	}
}

func (l *life) changeNamespace() {
	name := choose(l, namespaces)
	if _, there := l.world.namespaces[name]; there && rarely(l, 2) {
		delete(l.world.namespaces, name)
		l.core.index.DeleteNamespace(name)
		return
	}
	l.putNamespace(name)
}

func (l *life) changeMemory(name siteName) {
	if rarely(l, 6) {
		delete(l.world.memories, name)
		l.core.index.DeleteMemory(nameOf(name))
		return
	}
	l.putMemory(name)
}

func (l *life) changeCredential(of owner) {
	if l.world.credentials[of] != nil && rarely(l, 3) {
		delete(l.world.credentials, of)
		l.core.deleteCredential(of)
		return
	}
	l.putCredential(of)
}

func (l *life) changeLicense(name siteName) {
	if l.world.licenses[name] != nil && rarely(l, 4) {
		delete(l.world.licenses, name)
		l.core.index.DeleteLicense(nameOf(name))
		return
	}
	l.putLicense(name)
}

// changeSite puts a site that is missing, removes one, or changes it as a whole or in one field.
func (l *life) changeSite(name siteName) {
	old := l.world.sites[name]
	if old == nil {
		l.putSite(name)
		return
	}
	s := *old
	switch l.n(12) {
	case 11:
		s.callers = choose(l, [][]string{nil, gatewayNames[:1], gatewayNames, nil})
	case 10:
		l.block(&s)
	case 0, 1:
		s.limits = l.limits(4)
	case 2:
		s.limits = limits{}
	case 3:
		if s.IssuedAfter = l.moment(); l.n(2) == 0 {
			s.IssuedAfter = l.someSecret(choose(l, uids)).Issued.Add(time.Duration(l.n(3)-1) * time.Nanosecond)
		}
	case 4:
		s.IssuedAfter = time.Time{}
	case 5:
		s.upstream = choose(l, upstreams)
	case 6:
		s.from = choose(l, []string{"All", "Same", "Selector"})
	case 7:
		s.defaultDays, s.maxDays = choose(l, days), choose(l, days)
	case 8:
		l.putSite(name)
		return
	case 9:
		delete(l.world.sites, name)
		l.core.index.DeleteSite(nameOf(name))
		return
	}
	l.world.sites[name] = &s
	l.core.putSite(name, &s)
}

func (l *life) changeCallerKeys(name siteName) {
	if l.world.callerKeys[name] != nil && rarely(l, 6) {
		delete(l.world.callerKeys, name)
		l.core.index.DeleteCallerKeys(nameOf(name))
		return
	}
	l.putCallerKeys(name)
}
