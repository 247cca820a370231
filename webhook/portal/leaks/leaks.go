// Package leaks takes messages about leaked tokens from the secret scanning of GitHub and GitLab, and has the tokens revoked.
package leaks

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

// Path is below the context path of every site. It does not matter at which site a message arrives.
const Path = selfservice.APIPath + "/latest/leaks"

const (
	// maxBody is the largest message, in bytes, and maxFinds is how many finds it may have.
	maxBody  = 256 << 10
	maxFinds = 500
)

// Options are the files that make the portal take messages. They are read for each message, so that a new key counts at once.
// An empty name turns messages of that service off.
type Options struct {
	// GitHubKeys has the public keys of GitHub's secret scanning, as GitHub's API returns them.
	GitHubKeys string
	// GitLabToken has the token that GitLab sends.
	GitLabToken string
}

// Check reads the files, so that a mistake is found when the portal starts.
func (o Options) Check() error {
	if o.GitHubKeys != "" {
		if _, err := readKeys(o.GitHubKeys); err != nil {
			return err
		}
	}
	if o.GitLabToken != "" {
		if _, err := readSecret(o.GitLabToken); err != nil {
			return err
		}
	}
	return nil
}

// intake serves the messages.
type intake struct {
	*selfservice.Service

	options Options
	finds   *prometheus.CounterVec
	// unreadable limits, by scanner, the lines about a file that cannot be read: anyone may send messages.
	unreadable map[string]*rate.Sometimes
}

// The names of the services, for logs, Events and metrics.
const gitHub, gitLab = "GitHub", "GitLab"

// Routes returns the handlers of the messages that are on, by their paths below the context path.
func Routes(s *selfservice.Service, o Options, r prometheus.Registerer) map[string]http.Handler {
	in := newIntake(s, o, r)
	routes := map[string]http.Handler{}
	if o.GitHubKeys != "" {
		in.prepare(gitHub)
		routes[Path+"/github"] = handler(http.MethodPost, in.takeFromGitHub)
	}
	if o.GitLabToken != "" {
		in.prepare(gitLab)
		routes[Path+"/gitlab/v1/revocable_token_types"] = handler(http.MethodGet, in.listTypes)
		routes[Path+"/gitlab/v1/revoke_tokens"] = handler(http.MethodPost, in.takeFromGitLab)
	}
	return routes
}

func newIntake(s *selfservice.Service, o Options, r prometheus.Registerer) *intake {
	in := &intake{Service: s, options: o, unreadable: map[string]*rate.Sometimes{}, finds: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "apitoken_portal_leaks_total",
		Help: "Leaked texts that secret scanning reported, and tokens that were revoked because of them.",
	}, []string{"scanner", "result"})}
	r.MustRegister(in.finds)
	for _, scanner := range []string{gitHub, gitLab} {
		in.unreadable[scanner] = &rate.Sometimes{Interval: time.Minute}
	}
	return in
}

// The results of finds.
const reported, revoked, refused = "reported", "revoked", "refused"

// prepare makes the counters of a scanner exist from the start.
func (in *intake) prepare(scanner string) {
	for _, result := range []string{reported, revoked, refused} {
		in.finds.WithLabelValues(scanner, result)
	}
}

// refusal is an answer to a message that is not taken.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

var (
	errUnauthenticated = &refusal{http.StatusUnauthorized, "This message is not authenticated."}
	errTooLarge        = &refusal{http.StatusRequestEntityTooLarge, "Send at most 500 finds, in at most 256 KiB."}
	errMalformed       = &refusal{http.StatusBadRequest, "The message is not the JSON that is documented."}
)

// handler runs take for one method, and writes its error.
func handler(method string, take func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			refuse(w, &refusal{http.StatusMethodNotAllowed, "Use " + method + "."})
			return
		}
		if err := take(w, r); err != nil {
			refuse(w, err)
		}
	})
}

var statuses = map[selfservice.Kind]int{selfservice.NotFound: http.StatusNotFound, selfservice.Unavailable: http.StatusServiceUnavailable}

func refuse(w http.ResponseWriter, err error) {
	known := (*refusal)(nil)
	if !errors.As(err, &known) {
		p := selfservice.AsProblem(err)
		known = &refusal{statuses[p.Kind], p.Message}
	}
	if known.status == 0 {
		known.status = http.StatusInternalServerError
	}
	if known.status == http.StatusServiceUnavailable {
		selfservice.RetryAfter(w.Header())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(known.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": known.message}) // the client may have disconnected
}

// read returns the body of a message.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, errMalformed
	}
	return body, nil
}

// decode reads the finds of a message.
func decode[T any](body []byte) (finds []T, err error) {
	if err := json.Unmarshal(body, &finds); err != nil {
		return nil, errMalformed
	}
	if len(finds) > maxFinds {
		return nil, errTooLarge
	}
	return finds, nil
}

// refuses counts an error of authentication. Its details are for the log only.
func (in *intake) refuses(scanner string, err error) error {
	in.finds.WithLabelValues(scanner, refused).Inc()
	if err != nil {
		in.unreadable[scanner].Do(func() {
			in.Logger.Error(err, "Messages about leaked tokens cannot be checked; this is logged once a minute at most", "scanner", scanner)
		})
		return err
	}
	return errUnauthenticated
}

// revoke revokes the tokens that were found.
func (in *intake) revoke(r *http.Request, scanner string, finds []selfservice.Find) error {
	name, _ := selfservice.Mounted(r)
	site, err := in.Site(name)
	if err != nil {
		return err
	}
	in.finds.WithLabelValues(scanner, reported).Add(float64(len(finds)))
	n, err := in.RevokeFound(r.Context(), r, site, scanner, finds)
	in.finds.WithLabelValues(scanner, revoked).Add(float64(n))
	if err != nil {
		in.Logger.Error(err, "Revoking leaked tokens failed", "scanner", scanner, "revoked", n)
	}
	return err
}

// only returns the value of a header that a request has exactly once.
func only(r *http.Request, name string) (value string, ok bool) {
	values := r.Header.Values(name)
	if len(values) != 1 {
		return "", false
	}
	return strings.TrimSpace(values[0]), true
}
