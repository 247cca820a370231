package gateways_test

import (
	"net/netip"
	"strings"
	"testing"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/httpheader"
)

// addressHeaders are headers in which a client says where it is.
var addressHeaders = []string{
	"X-Real-IP", "X_Real_IP", "X.Real.IP", "X-Forwarded-For", "X_Forwarded_For", "X.Forwarded.For", "Forwarded", "True-Client-IP", "X-Client-IP", "CF-Connecting-IP",
	"X-Envoy-External-Address", "X-Original-Forwarded-For", "X-Cluster-Client-IP", "Fastly-Client-IP", "X-Azure-ClientIP", "Client-IP", "X-Originating-IP",
}

// Behind every gateway, no header of a client says where it is: neither to the webhook, nor to the portal. A token that is limited to
// other networks is refused, or its client unknown.
func TestAddressIsNeverTheClients(t *testing.T) {
	const claimed = "192.0.2.1"
	through(t, append(programs(), variants()...), func(t *testing.T, p program) {
		w := newWorld(t)
		gateway := p.start(t, w)
		token := "Authorization: " + basic("alice", w.token)
		values := map[string]string{"Forwarded": "for=" + claimed}
		forgeries := [][]string{nil}
		for _, name := range addressHeaders {
			value := claimed
			if values[name] != "" {
				value = values[name]
			}
			forgeries = append(forgeries, []string{name + ": " + value}, []string{name + ": " + value, name + ": " + value})
		}
		for _, limited := range []bool{false, true} {
			w.change(func(s *authn.Site) {
				if limited {
					s.Limits.Sources = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
				}
			})
			for _, forged := range forgeries {
				p.judge(t, "with "+strings.Join(forged, ", "), func(fail func(format string, a ...any)) {
					got := w.send(t, gateway, "GET", myself, append(forged, token)...)
					exchanges, _ := w.asked()
					if len(exchanges) != 1 || exchanges[0].Decision.Client.IsValid() && !exchanges[0].Decision.Client.IsLoopback() {
						fail("%d, asked %+v", got.status, exchanges)
					}
					if limited && (got.status != 403 || len(got.seen) != 0) {
						fail("%d, and the product saw %d requests", got.status, len(got.seen))
					}
				})
			}
		}
		for _, forged := range forgeries {
			p.judge(t, "the portal, with "+strings.Join(forged, ", "), func(fail func(format string, a ...any)) {
				got := w.send(t, gateway, "GET", "/rest/api-tokens/latest/", append(forged, token)...)
				_, portal := w.asked()
				if len(portal) != 1 {
					fail("%d, and the portal got %d requests", got.status, len(portal))
					return
				}
				if told := httpheader.Only(portal[0].Header, "X-Real-Ip"); told != "127.0.0.1" && (told != "" || !p.unknown) {
					fail("the portal was told %q", told)
				}
			})
		}
	})
}
