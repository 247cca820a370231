package page_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"apitokens.dev/operator/webhook/portal/page"
)

// hostile returns 500 texts that try to break out of their place in HTML.
func hostile() []string {
	payloads := []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `javascript:alert(1)`, `</textarea><script>alert(1)</script>`,
		`</title><svg onload=alert(1)>`, `<!--`, `-->`, `<![CDATA[`, `]]>`, `{{.}}`, `{{template "page.html"}}`, `&lt;b&gt;`, `&#x3c;script&#x3e;`, `&quot;`,
		"`", `${7*7}`, `</dialog><form action=https://evil.example>`, `" autofocus onfocus="alert(1)`, `<a href="data:text/html,x">`, "\u2028alert(1)\u2029",
		"\u202e\u2066txet\u2069\u202c", "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627", "\U0001F468\u200d\U0001F469\u200d\U0001F467 \U0001F680", "Z\u0351\u0344a\u0348l\u0349g\u0362o",
		strings.Repeat("x", 255), strings.Repeat("\u0416", 255), `<iframe srcdoc="<script>alert(1)</script>">`, `<base href=//evil.example>`, `<meta http-equiv=refresh content=0>`,
		`<style>*{display:none}</style>`, `<link rel=stylesheet href=//evil.example>`, `\"><script>`, `%3Cscript%3E`, `+ADw-script+AD4-`, `<scr<script>ipt>`,
		`<math><mi xlink:href="data:x">`, `<svg/onload=alert(1)>`, `<input name=nonce value=x>`, `x" value="y`, `?dialog=create&id=<b>`,
	}
	frames := []string{"%s", " %s ", "a%sb", "'%s'", `"%s"`, "<%s>", "\">%s", "'>%s", "</b>%s", "%s<!--", "&%s;", "\\%s", "%s\u00a0"}
	var all []string
	for _, frame := range frames {
		for _, payload := range payloads {
			all = append(all, strings.Replace(frame, "%s", payload, 1))
		}
	}
	return all[:500]
}

// shape returns the tags and attributes of a page, and the texts between them.
func shape(t *testing.T, page string) (tags, texts []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		next, err := d.Token()
		if errors.Is(err, io.EOF) {
			return tags, texts
		}
		if err != nil {
			t.Fatalf("%v:\n%s", err, page)
		}
		switch next := next.(type) {
		case xml.StartElement:
			tags = append(tags, next.Name.Local)
			for _, a := range next.Attr {
				// Only `value` may contain input.
				if a.Name.Local == "value" {
					tags, texts = append(tags, " value"), append(texts, a.Value)
					continue
				}
				tags = append(tags, " "+a.Name.Local+"="+a.Value)
			}
		case xml.CharData:
			texts = append(texts, string(next))
		case xml.Comment, xml.ProcInst:
			t.Fatalf("%#v in\n%s", next, page)
		}
	}
}

// Input stays text: it changes no tag and no attribute of any page, and is shown unchanged.
func TestHostileTexts(t *testing.T) {
	plain := map[string][]string{}
	for name, page := range page.Pages(t, "plain") {
		plain[name], _ = shape(t, page)
	}
	for _, typed := range hostile() {
		for name, page := range page.Pages(t, typed) {
			tags, texts := shape(t, page)
			if !slices.Equal(tags, plain[name]) {
				t.Errorf("%s: %q makes of\n%s\nthis:\n%s", name, typed, strings.Join(plain[name], "\n"), strings.Join(tags, "\n"))
			}
			if !slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, typed) }) {
				t.Errorf("%s does not show %q", name, typed)
			}
		}
	}
}

// Labels are shown in their own direction, isolated from the text around them.
func TestDirection(t *testing.T) {
	const label = "\u05e9\u05dc\u05d5\u05dd"
	for name, want := range map[string]string{
		"list":    `<span class="label" id="label-asp_0123456789abcdef" dir="auto">%s</span>`,
		"create":  `<input type="text" id="label" name="label" value="%s" dir="auto"`,
		"rotate":  `<p class="label" dir="auto">%s</p>`,
		"revoke":  `<p class="label" dir="auto">%s</p>`,
		"created": `<p class="label" dir="auto">%s</p>`,
	} {
		if want = fmt.Sprintf(want, label); !strings.Contains(page.Pages(t, label)[name], want) {
			t.Errorf("%s has no %s", name, want)
		}
	}
}
