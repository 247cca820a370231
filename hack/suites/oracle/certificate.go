package oracle

import (
	"slices"
	"strings"
	"time"
)

// certificate is one that a gateway presents, in the words of docs/how-to/client-certificates.md.
type certificate struct {
	// authority is the name of who signed it, or who signed the intermediate authority that did.
	authority string
	// via says what is between: "" is nothing, "sent" and "unsent" an intermediate authority that the gateway sends or does not, and
	// "ended" one that is not valid anymore.
	via   string
	names []string
	// usage is client, server or none.
	usage string
	// From and Ends are the first and the last moment at which it is valid.
	From, Ends time.Time
}

// refusesCertificate returns why a site does not accept what a gateway presents, or nothing. Nil is no certificate.
func (w *world) refusesCertificate(at siteName, s *site, c *certificate) string {
	trusted, known := w.authorities[at]
	switch {
	case !known:
		return "caller_authorities_missing"
	case c == nil:
		return "caller_certificate_missing"
	case w.now.Before(c.From), w.now.After(c.Ends):
		return "caller_certificate_expired"
	case !slices.Contains(trusted, c.authority) && c.via != "ended", c.via == "unsent":
		return "caller_certificate_untrusted"
	case c.via == "ended":
		return "caller_certificate_expired"
	case c.usage != "client":
		return "caller_certificate_usage"
	case !slices.ContainsFunc(c.names, func(name string) bool { return slices.Contains(s.callers, strings.ToLower(name)) }):
		return "caller_certificate_name"
	}
	return ""
}
