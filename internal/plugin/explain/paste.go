package explain

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"

	"apitokens.dev/operator/internal/token"
)

// pasted is a request as a person pastes it. It holds secrets: nothing of it is printed but what hide has seen.
type pasted struct {
	authorization, cookies []string
	method                 string
	// target is the raw path with the query. host is empty if only a path is known.
	host, target string
	// alone is a token without a request.
	alone string
}

// errNothing means that a pasted text is no request.
var errNothing = errors.New("that is no token id, no token, no curl line and no header: see --help")

// read reads a pasted text: a curl line, a request or headers as they are sent, or a token alone.
func read(text string) (p pasted, err error) {
	text = strings.TrimSpace(strings.ReplaceAll(text, "\\\n", " "))
	switch {
	case strings.HasPrefix(text, "curl ") || strings.HasPrefix(text, "$ curl "):
		err = p.readCurl(words(strings.TrimPrefix(text, "$ "))[1:])
	case isRequestLine(firstLine(text)) || isHeader(firstLine(text)):
		p.readHeaders(text)
	default:
		found, ok := token.Find(text)
		if !ok || found.Start != 0 || strings.ContainsAny(text, " \t\n") {
			return pasted{}, errNothing
		}
		p.alone = text
	}
	if err == nil && p.alone == "" && p.authorization == nil && p.cookies == nil && p.target == "" {
		err = errNothing
	}
	return p, err
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return unmarked(line)
}

// unmarked returns a line without the mark of curl -v.
func unmarked(line string) string {
	return strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(line), "<> "))
}

func isRequestLine(line string) bool {
	parts := strings.Fields(line)
	return len(parts) == 3 && strings.HasPrefix(parts[2], "HTTP/")
}

func isHeader(line string) bool {
	name, _, ok := strings.Cut(line, ":")
	return ok && name != "" && !strings.ContainsAny(name, " \t/")
}

// readHeaders reads a request as it is sent, or some of its headers.
func (p *pasted) readHeaders(text string) {
	for line := range strings.Lines(text) {
		line = unmarked(line)
		if isRequestLine(line) {
			parts := strings.Fields(line)
			p.method, p.target = parts[0], parts[1]
			continue
		}
		p.header(line)
	}
}

func (p *pasted) header(line string) {
	name, value, _ := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "authorization":
		p.authorization = append(p.authorization, value)
	case "cookie":
		p.cookies = append(p.cookies, value)
	case "host":
		p.host = value
	}
}

// Options of curl that take a value. All others take none.
const valued = "AbCcDdEeFHhKmoPQrTtUuwXxYyz"

var longValued = map[string]bool{
	"data": true, "data-raw": true, "data-binary": true, "data-urlencode": true, "form": true, "json": true, "output": true, "max-time": true,
	"connect-timeout": true, "cacert": true, "cert": true, "key": true, "proxy": true, "resolve": true, "retry": true, "user-agent": true, "write-out": true,
	"referer": true, "upload-file": true, "netrc-file": true, "interface": true,
	"user": true, "header": true, "request": true, "url": true, "cookie": true, "oauth2-bearer": true,
}

// readCurl reads the arguments of curl.
func (p *pasted) readCurl(args []string) error {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name, value, attached := option(arg)
		if name == "" {
			if err := p.url(arg); err != nil {
				return err
			}
			continue
		}
		if takesValue(name) && !attached {
			if len(args) == 0 {
				return errors.New("the curl line ends behind an option: paste all of it")
			}
			value, args = args[0], args[1:]
		}
		if err := p.curlOption(name, value); err != nil {
			return err
		}
	}
	if p.method == "" {
		p.method = "GET"
	}
	return nil
}

func takesValue(name string) bool {
	return longValued[name] || len(name) == 1 && strings.IndexByte(valued, name[0]) >= 0
}

// option returns the name of an option, and its value if that is attached. An argument that is no option has no name.
func option(arg string) (name, value string, attached bool) {
	if long, ok := strings.CutPrefix(arg, "--"); ok {
		return strings.Cut(long, "=")
	}
	short, ok := strings.CutPrefix(arg, "-")
	if !ok || short == "" {
		return "", "", false
	}
	for i := range len(short) { // -sSu alice:…: the last one may have a value
		if name = short[i : i+1]; takesValue(name) {
			return name, short[i+1:], short[i+1:] != ""
		}
	}
	return name, "", false
}

func (p *pasted) curlOption(name, value string) error {
	switch name {
	case "u", "user":
		user, password, _ := strings.Cut(value, ":")
		p.authorization = append(p.authorization, basic(user, password))
	case "oauth2-bearer":
		p.authorization = append(p.authorization, "Bearer "+value)
	case "H", "header":
		p.header(value)
	case "b", "cookie":
		p.cookies = append(p.cookies, value)
	case "X", "request":
		p.method = value
	case "I", "head":
		p.method = "HEAD"
	case "url":
		return p.url(value)
	case "d", "data", "data-raw", "data-binary", "data-urlencode", "F", "form", "json":
		if p.method == "" {
			p.method = "POST"
		}
	case "T", "upload-file":
		p.method = "PUT"
	}
	return nil
}

func (p *pasted) url(text string) error {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("the URL of the curl line cannot be read") // the error of the parser has the URL, and a secret may be in it
	}
	if u.User != nil {
		password, _ := u.User.Password()
		p.authorization = append(p.authorization, basic(u.User.Username(), password))
	}
	_, after, _ := strings.Cut(text, "://")
	p.host, p.target = u.Host, "/"
	if slash := strings.IndexAny(after, "/?"); slash >= 0 {
		p.target, _, _ = strings.Cut(after[slash:], "#")
	}
	return nil
}

// words splits a line as a shell does, as far as curl lines need it.
func words(line string) (all []string) {
	var word strings.Builder
	inWord, quote := false, rune(0)
	escaped := false
	for _, c := range line {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, inWord = c, true
		case quote == 0 && strings.ContainsRune(" \t\r\n", c):
			if inWord {
				all = append(all, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if inWord {
		all = append(all, word.String())
	}
	return all
}

// tokens returns each part of the request that has the shape of a token.
func (p pasted) tokens() (found []token.Found) {
	for _, text := range append(p.plain(), p.alone, p.target) {
		if f, ok := token.Find(text); ok {
			found = append(found, f)
		}
	}
	return found
}

// plain returns the credentials, with Basic decoded.
func (p pasted) plain() (texts []string) {
	for _, header := range p.authorization {
		scheme, value, _ := strings.Cut(header, " ")
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
		if strings.EqualFold(scheme, "Basic") && err == nil {
			texts = append(texts, string(decoded))
			continue
		}
		texts = append(texts, header)
	}
	return texts
}

// hide replaces the secret of each token in a text, in any spelling.
func hide(text string) string {
	found, ok := token.Find(text)
	if !ok {
		return text
	}
	return text[:found.Start] + found.ID + "_***" + hide(text[found.End:])
}

func lowerFirst(text string) string { return strings.ToLower(text[:1]) + text[1:] }
