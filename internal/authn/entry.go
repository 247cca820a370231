package authn

import (
	"time"

	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

// entry is a record in the index, together with its APIToken. The two agree.
//
// There are as many entries as tokens, so an entry is small: its texts lie one after the other, and all that few tokens have is
// elsewhere. A pile keeps only what is packed, and makes the rest of an entry when it is asked for one.
type entry struct {
	*packed

	// text has the texts of the entry.
	text string
	// place is what many entries share.
	place *place
	// rare is nil for most entries.
	rare *rare
}

// packed is what an entry has for itself. It has no pointers: the garbage collector would look at each. It has 128 bytes, so that it lies
// in two lines of a processor's cache, and a piece of a pile wastes nothing.
type packed struct {
	// ends are where each of the texts ends.
	ends [texts]uint32
	// textAt, placeAt and rareAt are where a pile has the rest of the entry.
	textAt          span
	placeAt, rareAt uint32
	// hash belongs to the only secret, which was issued at issued. Other secrets are rare.
	hash record.Hash
	// dead means that none of the record's secrets authenticates any more, because the APIToken is gone. It is false while the
	// APIToken exists. former means that they do not because they were replaced.
	dead, former                bool
	imported, portal, suspended bool
	// contested means that another entry of Index.entries has the same token id and is as dead: then neither counts.
	contested bool
	// days and until are the requested lifetime.
	days int32
	// position is where the entry is in Index.entries.
	position      position
	issued, until instant
}

// The texts of an entry.
const (
	textUID = iota
	textTokenID
	textName // of the APIToken
	textUser // of the record: folded
	textUserKey
	textDeliverySecret

	texts = iota
)

// place is where a token belongs.
type place struct {
	site              SiteName
	namespace, parent string
}

// rare is what few entries have.
type rare struct {
	limits Limits
	// secrets and deadSecrets are those of the record. secrets is nil if the entry has the only one itself.
	secrets, deadSecrets []record.Entry
	ancestors            []string
	// died is when the record died. token is the APIToken of a record that is dead although the APIToken exists.
	died  time.Time
	token *Token
	// slow is the memory of an imported hash, in case it is a slow one.
	slow *slowMemory
	// replaced are the replaced secrets of an imported token, each as an entry of its own.
	replaced []*entry
}

// none is the rare part of entries without one.
var none = &rare{}

// instant is a time without a location. The zero instant is the zero time. Its seconds are in two parts, because an int64 would have room
// beside it that nothing uses.
type instant struct {
	high        int32
	low         uint32
	nanoseconds int32
}

var zeroSeconds = time.Time{}.Unix()

func instantOf(t time.Time) instant {
	seconds := t.Unix() - zeroSeconds
	return instant{int32(seconds >> 32), uint32(seconds), int32(t.Nanosecond())}
}

func (i instant) time() time.Time {
	return time.Unix(int64(i.high)<<32+int64(i.low)+zeroSeconds, int64(i.nanoseconds)).UTC()
}

// parts are what an entry is made of. Each may be nil.
type parts struct {
	token  *Token
	record *record.Record
}

// newEntry returns the entry of a record. Without an APIToken it is dead.
func newEntry(uid string, p parts) *entry {
	r, t := p.record, p.token
	e := &entry{packed: &packed{imported: r.Imported, portal: r.Portal, dead: t == nil || !r.Dead.IsZero()}}
	e.setTexts([texts]string{
		textUID: uid, textTokenID: r.TokenID, textName: r.APIToken.Name, textUser: r.User, textUserKey: r.UserKey, textDeliverySecret: r.DeliverySecret,
	})
	at, more := place{site: SiteName(r.Site), namespace: r.APIToken.Namespace}, rare{deadSecrets: r.DeadEntries, ancestors: r.Ancestors, died: r.Dead}
	if e.dead {
		more.token = t
	} else {
		at.parent, more.limits = t.ParentNamespace, t.Limits
		e.suspended, e.days, e.until = t.Suspended, t.Lifetime.Days, instantOf(t.Lifetime.Until)
	}
	e.place = &at
	if only := r.Entries[0]; len(r.Entries) == 1 && only.State == record.Delivered && only.Ends.IsZero() {
		e.hash, e.issued = only.Hash, instantOf(only.Issued)
	} else {
		more.secrets = r.Entries
	}
	if r.Imported {
		more.slow = &slowMemory{}
	}
	if !more.isEmpty() {
		e.rare = &more
	}
	return e
}

func (e *entry) setTexts(all [texts]string) {
	var text []byte
	for i, one := range all {
		text = append(text, one...)
		e.ends[i] = uint32(len(text))
	}
	e.text = string(text)
}

func (r *rare) isEmpty() bool {
	return r.secrets == nil && len(r.deadSecrets)+len(r.ancestors) == 0 && r.died.IsZero() && r.token == nil && r.slow == nil && r.limits.isEmpty()
}

// parts returns what the entry was made of. The APIToken of a record that is dead is missing, unless it exists.
func (e *entry) parts() parts {
	at, more := e.place, e.more()
	r := &record.Record{
		TokenID: e.at(textTokenID), User: e.user(), UserKey: e.userKey(), Ancestors: more.ancestors, Site: record.Ref(at.site),
		APIToken: record.Ref{Namespace: at.namespace, Name: e.at(textName)}, DeliverySecret: e.at(textDeliverySecret), Imported: e.imported, Portal: e.portal,
		Entries: more.secrets, DeadEntries: more.deadSecrets, Dead: more.died,
	}
	if r.Entries == nil {
		r.Entries = []record.Entry{e.only()}
	}
	if e.dead {
		return parts{more.token, r}
	}
	return parts{&Token{
		UID: e.at(textUID), Namespace: at.namespace, Name: e.at(textName), User: e.user(), Site: at.site, Lifetime: e.lifetime(), Suspended: e.suspended,
		Imported: e.imported, Portal: e.portal, ParentNamespace: at.parent, Limits: more.limits,
	}, r}
}

// more returns the rare part. It must not be changed.
func (e *entry) more() *rare {
	if e.rare == nil {
		return none
	}
	return e.rare
}

func (e *entry) at(text int) string {
	if text == textUID {
		return e.text[:e.ends[textUID]]
	}
	return e.text[e.ends[text-1]:e.ends[text]]
}

func (e *entry) tokenID() string { return e.at(textTokenID) }
func (e *entry) user() string    { return e.at(textUser) }
func (e *entry) userKey() string { return e.at(textUserKey) }

func (e *entry) name() APITokenName {
	return APITokenName{Namespace: e.place.namespace, Name: e.at(textName), UID: e.at(textUID)}
}

func (e *entry) lifetime() lifetime.Requested {
	return lifetime.Requested{Days: e.days, Until: e.until.time()}
}

// only returns the secret of an entry with a single one.
func (e *entry) only() record.Entry {
	return record.Entry{Hash: e.hash, State: record.Delivered, Issued: e.issued.time()}
}

// secretCount returns the number of secrets that may authenticate.
func (e *entry) secretCount() int { return max(1, len(e.more().secrets)) }

// secretAt returns one of the secrets that may authenticate.
func (e *entry) secretAt(i int) record.Entry {
	if all := e.more().secrets; all != nil {
		return all[i]
	}
	return e.only()
}

// verify returns the index of the secret that text is, or -1.
func (e *entry) verify(text []byte) int {
	if all := e.more().secrets; all != nil {
		return record.Verify(all, text)
	}
	if e.hash.Verify(text) {
		return 0
	}
	return -1
}

// firstHash returns the hash of an imported token.
func (e *entry) firstHash() *record.Hash {
	if all := e.more().secrets; all != nil {
		return &all[0].Hash
	}
	return &e.hash
}

// formerOf returns a replaced secret of an imported token as an entry of its own.
func (e *entry) formerOf(replaced record.Entry, memory *slowMemory) *entry {
	former := e.clone()
	former.dead, former.former = true, true
	former.rare = &rare{secrets: []record.Entry{replaced}, slow: memory}
	return former
}

// clone returns an entry that stays as it is.
func (e *entry) clone() *entry { return &entry{new(*e.packed), e.text, e.place, e.rare} }

// agrees reports whether the record was written for this very APIToken as it is now.
func (p parts) agree() bool {
	t, r := p.token, p.record
	return r.User == username.Fold(t.User) && r.Imported == t.Imported && r.Portal == t.Portal &&
		r.Site == record.Ref{Namespace: t.Site.Namespace, Name: t.Site.Name} &&
		r.APIToken == record.Ref{Namespace: t.Namespace, Name: t.Name}
}

func (l *Limits) isEmpty() bool { return !l.ReadOnly && l.Sources == nil && l.Paths == nil }
