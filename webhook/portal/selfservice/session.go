package selfservice

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"strings"
	"sync"
	"time"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/authn"
)

// signsIn reports whether a cookie of this name may say who is signed in.
func signsIn(name string) bool {
	switch {
	case name == "seraph.rememberme.cookie": // Jira: https://confluence.atlassian.com/adminjiraserver0909/jira-application-cookies-1251416853.html
	case name == "seraph.confluence": // https://confluence.atlassian.com/doc/confluence-cookies-160794071.html
	// Crowd's single sign-on is `crowd.token_key`, or has another name where there are several. Atlassian's knowledge base has it in
	// "Unable to set Crowd SSO token java.lang.IllegalArgumentException: Cookie name ... is a reserved token".
	case strings.HasSuffix(name, "token_key"):
	// Tomcat's session is `JSESSIONID`, or has another name where several products share a host:
	// https://support.atlassian.com/confluence/kb/logging-into-another-atlassian-application-logs-me-out-of-confluence/
	case strings.Contains(strings.ToUpper(name), "SESS"):
	default:
		return false
	}
	return true
}

// productCredential returns the headers of a request with which the product may know the user. They are empty if there is none:
// the product is not asked about other cookies. identity is the part of them that identifies the session.
func productCredential(r *http.Request) (credential atlassian.Credential, identity []string) {
	identity = append(identity, r.Header.Get("Authorization"))
	for _, cookie := range r.Cookies() {
		if signsIn(cookie.Name) {
			identity = append(identity, cookie.Name+"="+cookie.Value)
		}
	}
	credential.Authorization = identity[0]
	if len(identity) > 1 {
		// The product gets all cookies, because a load balancer in front of it may need some.
		credential.Cookie = strings.Join(r.Header.Values("Cookie"), "; ")
	}
	return credential, identity
}

const (
	// knownPeriod is for how long a session is known at least after the product accepted it. It is twice as long at most.
	knownPeriod = 5 * time.Minute
	// maxSessions is how many sessions are remembered in a period.
	maxSessions = 10_000
)

// sessions remembers which sessions the product accepted in the last minutes, as keyed hashes and without users. The product
// still checks each request: a known session only does not wait for unknown ones. The zero value is ready for use.
type sessions struct {
	mu  sync.Mutex
	key [sha256.Size]byte
	// recent are the hashes since begun, earlier those of the period before.
	recent, earlier map[string]struct{}
	begun           time.Time
}

// hash returns the keyed hash of a session at a site. The key is that of this process.
func (s *sessions) hash(site authn.SiteName, identity []string) string {
	s.mu.Lock()
	if s.key == ([sha256.Size]byte{}) {
		_, _ = rand.Read(s.key[:]) // it never fails
	}
	key := s.key
	s.mu.Unlock()
	mac := hmac.New(sha256.New, key[:])
	for _, part := range append([]string{site.String()}, identity...) {
		_ = binary.Write(mac, binary.BigEndian, uint64(len(part))) // a hash never fails
		mac.Write([]byte(part))
	}
	return string(mac.Sum(nil))
}

// known reports whether the product accepted a session in the last minutes.
func (s *sessions) known(hash string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age(now)
	_, recent := s.recent[hash]
	_, earlier := s.earlier[hash]
	return recent || earlier
}

// answered notes whether the product accepted a session.
func (s *sessions) answered(hash string, accepted bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age(now)
	if !accepted {
		delete(s.recent, hash)
		delete(s.earlier, hash)
		return
	}
	if s.recent == nil || len(s.recent) >= maxSessions {
		s.turn(now)
	}
	s.recent[hash] = struct{}{}
}

// age begins a new period if the current one is over. The caller holds the lock.
func (s *sessions) age(now time.Time) {
	if now.Sub(s.begun) >= 2*knownPeriod {
		s.recent = nil
	}
	if now.Sub(s.begun) >= knownPeriod {
		s.turn(now)
	}
}

func (s *sessions) turn(now time.Time) {
	s.earlier, s.recent, s.begun = s.recent, map[string]struct{}{}, now
}
