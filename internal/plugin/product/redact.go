package product

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// hidden replaces what a report must not have. The zero value hides nothing.
type hidden struct {
	texts map[string]string // what, by text
	words []word
	done  *strings.Replacer
}

// word is replaced only where it is a whole word: a user may be named "a".
type word struct {
	text    string
	pattern *regexp.Regexp
	with    string
}

// secret hides a secret, in every form in which it may be written.
func (h *hidden) secret(text, what string) {
	if text == "" {
		return
	}
	escaped, _ := json.Marshal(text) // of a string
	for _, form := range []string{
		text, url.QueryEscape(text), url.PathEscape(text), html.EscapeString(text), unquoted(string(escaped)), unquoted(inJSON(text)),
		base64.StdEncoding.EncodeToString([]byte(text)), base64.RawURLEncoding.EncodeToString([]byte(text)),
	} {
		h.text(form, "<"+what+">")
	}
}

func (h *hidden) text(text, with string) {
	if h.texts == nil {
		h.texts = map[string]string{}
	}
	h.texts[text], h.done = with, nil
}

// identity hides which product and which user it was.
func (h *hidden) identity(base *url.URL, user string) {
	for _, form := range []string{base.Host, url.QueryEscape(base.Host)} {
		h.text(form, "product.example")
	}
	h.word(base.Hostname(), "product.example")
	h.word(user, "USER")
}

func (h *hidden) word(text, with string) {
	if text == "" {
		return
	}
	for _, form := range []string{text, url.QueryEscape(text)} {
		pattern := regexp.QuoteMeta(form)
		if wordEnds.MatchString(form) {
			pattern = `\b` + pattern + `\b`
		}
		h.words = append(h.words, word{form, regexp.MustCompile(pattern), with})
	}
}

// wordEnds matches what begins and ends with a letter or digit that regexp takes for a part of a word.
var wordEnds = regexp.MustCompile(`^[0-9A-Za-z](.*[0-9A-Za-z])?$`)

// from returns a text without what is hidden. Longer texts go first: one may be a part of another.
func (h *hidden) from(text string) string {
	if h.done == nil {
		forms := make([]string, 0, len(h.texts))
		for form := range h.texts {
			forms = append(forms, form)
		}
		slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
		var pairs []string
		for _, form := range forms {
			pairs = append(pairs, form, h.texts[form])
		}
		h.done = strings.NewReplacer(pairs...)
	}
	text = h.done.Replace(text)
	for _, w := range h.words {
		if strings.Contains(text, w.text) { // the search for words takes long
			text = w.pattern.ReplaceAllLiteralString(text, w.with)
		}
	}
	text = authority.ReplaceAllStringFunc(text, func(found string) string {
		at := authority.FindStringSubmatch(found)
		if at[2] == "example.com" || at[2] == "product.example" { // the checks' own
			return found
		}
		return at[1] + "HOST"
	})
	return ipAddress.ReplaceAllString(text, "ADDRESS")
}

var (
	// authority matches the host in a URL. The base URL of a product is often not the address at which it is asked.
	authority = regexp.MustCompile(`(?i)(https?(?:://|%3A%2F%2F))([^\s/"'<>;,%?]+(?:%3A[0-9]+)?)`)
	ipAddress = regexp.MustCompile(`\b[0-9]{1,3}(\.[0-9]{1,3}){3}\b`)
)

// report hides in a whole report, once all secrets of the run are known.
func (h *hidden) report(r *Report) {
	r.Version, r.Note = h.from(r.Version), h.from(r.Note)
	for i := range r.Results {
		result := &r.Results[i]
		result.Detail = h.from(result.Detail)
		for _, e := range result.exchanges {
			result.Traffic = append(result.Traffic, e.shown(h))
		}
		result.exchanges = nil
	}
	for i := range r.Left {
		r.Left[i] = h.from(r.Left[i])
	}
}

// exchange is one request with its answer.
type exchange struct {
	request *request
	answer  *answer
}

// shown returns what a report may have of it.
func (e *exchange) shown(h *hidden) (t Traffic) {
	r, a := e.request, e.answer
	t = Traffic{Request: h.from(r.method + " " + r.target)}
	for _, line := range r.shown {
		t.Headers = append(t.Headers, h.from(line))
	}
	if r.body != "" {
		t.Body = h.from(r.body)
	}
	if a.err != nil {
		t.Answer = h.from(a.err.Error())
		return t
	}
	t.Answer = fmt.Sprintf("HTTP %d %s", a.status, http.StatusText(a.status))
	for _, name := range shownHeaders {
		for _, value := range a.header.Values(name) {
			switch {
			case name == "Location":
				value = target(value)
			case strings.HasPrefix(name, "Content-Security-Policy"):
				value = keywords(value)
			}
			t.AnswerHeaders = append(t.AnswerHeaders, name+": "+h.from(value))
		}
	}
	for _, c := range a.cookies() {
		t.AnswerHeaders = append(t.AnswerHeaders, h.from(fmt.Sprintf("Set-Cookie: %s=<COOKIE>; Path=%s; HttpOnly=%t", c.Name, c.Path, c.HttpOnly)))
	}
	t.AnswerBody = h.from(shape(a))
	return t
}

// shownHeaders are the headers of an answer that the checks look at.
var shownHeaders = []string{"Content-Type", "Location", "Allow", "WWW-Authenticate", "X-AUSERNAME", "X-Seraph-LoginReason",
	"Content-Security-Policy", "Content-Security-Policy-Report-Only"}

// keywords returns a content security policy without its sources, which are hosts, nonces and hashes.
func keywords(policy string) string {
	var directives []string
	for directive := range strings.SplitSeq(policy, ";") {
		words := strings.Fields(directive)
		for i, word := range words {
			keyword := strings.HasPrefix(word, "'") && !strings.HasPrefix(word, "'nonce-") && !strings.HasPrefix(word, "'sha")
			if i > 0 && !keyword {
				words[i] = "SOURCE"
			}
		}
		directives = append(directives, strings.Join(words, " "))
	}
	return strings.Join(directives, "; ")
}

// shownTexts are the keys whose texts are shown. All other texts and numbers of an answer are somebody's.
var shownTexts = []string{
	"type", "message", "errorMessages", "errors", "reason", "version", "deploymentType", "createdAt", "expiringAt", "lastAccessedAt", "serverTime",
	"status-code", "statusCode", "start", "limit", "size",
}

// shape returns what an answer looks like: of JSON its keys, of all else its size.
func shape(a *answer) string {
	var value any
	switch {
	case len(a.body) == 0:
		return ""
	case json.Unmarshal(a.body, &value) != nil:
		return fmt.Sprintf("<%d bytes>", len(a.body))
	}
	return inJSON(shaped(value, false))
}

// inJSON returns a value, which was decoded from JSON, with only those characters escaped that have to be.
func inJSON(value any) string {
	var text strings.Builder
	encode := json.NewEncoder(&text)
	encode.SetEscapeHTML(false)
	_ = encode.Encode(value)
	return strings.TrimSpace(text.String())
}

// unquoted returns a string of JSON without the quotes around it.
func unquoted(text string) string { return text[1 : len(text)-1] }

// mostItems is how many items of a list are shown.
const mostItems = 2

func shaped(value any, shown bool) any {
	switch v := value.(type) {
	case map[string]any:
		for key, one := range v {
			v[key] = shaped(one, shown || slices.Contains(shownTexts, key))
		}
		return v
	case []any:
		if len(v) > mostItems {
			v = append(v[:mostItems:mostItems], fmt.Sprintf("<%d more>", len(v)-mostItems))
		}
		for i := range v {
			if text, ok := v[i].(string); !ok || !strings.HasSuffix(text, " more>") {
				v[i] = shaped(v[i], shown)
			}
		}
		return v
	case string:
		if !shown {
			return "<text>"
		}
	case float64:
		if !shown {
			return "<number>"
		}
	}
	return value
}
