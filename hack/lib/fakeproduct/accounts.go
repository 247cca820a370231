package fakeproduct

import "sync"

// accounts are the users of a product. Names change, keys do not: sessions,
// tokens and issues are stored under the key of their user.
// https://support.atlassian.com/jira/kb/what-is-the-impact-of-renaming-jira-users-on-portfolio-users-and-permissions/
type accounts struct {
	mu       sync.Mutex
	byKey    map[string]User
	inactive map[string]bool // by key
}

// add adds a user and returns their key.
func (a *accounts) add(user User) (key string) {
	if user.Key == "" {
		user.Key = user.Name
	}
	if user.DisplayName == "" {
		user.DisplayName = user.Name
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byKey == nil {
		a.byKey, a.inactive = map[string]User{}, map[string]bool{}
	}
	a.byKey[user.Key] = user
	return user.Key
}

// known returns the user of a key, active or not.
func (a *accounts) known(key string) User {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.byKey[key]
}

// active returns the user of a key if they may sign in.
func (a *accounts) active(key string) (User, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	user, ok := a.byKey[key]
	return user, ok && !a.inactive[key]
}

// named returns the user of a name, active or not.
func (a *accounts) named(name string) (User, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.find(name)
}

func (a *accounts) find(name string) (User, bool) {
	for _, user := range a.byKey {
		if user.Name == name {
			return user, true
		}
	}
	return User{}, false
}

func (a *accounts) deactivate(name string) (User, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	user, ok := a.find(name)
	if ok {
		a.inactive[user.Key] = true
	}
	return user, ok
}

func (a *accounts) activate(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	user, ok := a.find(name)
	delete(a.inactive, user.Key)
	return ok
}

// rename refuses a name that another user has, even an inactive one.
func (a *accounts) rename(from, to string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	user, ok := a.find(from)
	_, taken := a.find(to)
	if !ok || taken || to == "" {
		return false
	}
	user.Name = to
	a.byKey[user.Key] = user
	return true
}

// Add adds an account, as an administrator does. It reports whether its name was free.
func (p *Product) Add(user User) bool {
	if _, taken := p.accounts.named(user.Name); taken {
		return false
	}
	p.accounts.add(user)
	return true
}

// Deactivate deactivates a user, as an administrator does: their sessions end,
// and their password and tokens no longer sign in. It reports whether the user
// exists.
func (p *Product) Deactivate(name string) bool {
	user, ok := p.accounts.deactivate(name)
	if ok {
		p.sessions.closeAll(user.Key)
	}
	return ok
}

// Activate lets a deactivated user sign in again, as an administrator does. Their
// tokens work again, which is assumed. It reports whether the user exists.
func (p *Product) Activate(name string) bool { return p.accounts.activate(name) }

// Rename gives a user another name. Their key, sessions and tokens stay. It
// reports whether the user exists and the new name was free.
func (p *Product) Rename(from, to string) bool { return p.accounts.rename(from, to) }
