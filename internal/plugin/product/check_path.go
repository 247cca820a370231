package product

import (
	"fmt"
	"net/http"
	"strings"
)

// runs returns an error unless a target, below the context path, runs the who-am-I resource.
func (k *kit) runs(target string) error {
	if err := k.signedIn(k.get(target, bearer(k.pat))); err != nil {
		return fmt.Errorf("%s does not run %s: %w", target, k.who(), err)
	}
	return nil
}

// runsNot returns an error if a target runs the who-am-I resource.
func (k *kit) runsNot(target string) error {
	if err := k.notSignedIn(k.get(target, bearer(k.pat))); err != nil {
		return fmt.Errorf("%s runs %s: %w", target, k.who(), err)
	}
	return nil
}

// escaped returns the path with its last character escaped, as it is written with this sign for the percent sign.
func escaped(path, sign string) string {
	last := len(path) - 1
	return fmt.Sprintf("%s%s%02x", path[:last], sign, path[last])
}

// malformed is a check that a path is refused which has something in it.
func malformed(id, what, text string) check {
	return check{id: id, says: "A path with " + what + " is answered with 400.", run: func(k *kit) error {
		return k.get("/rest/"+text+"/x", bearer(k.pat)).is(http.StatusBadRequest)
	}}
}

var pathChecks = []check{
	{id: "path-parameters", says: "`;parameters` of segments are cut before the path is matched.", run: func(k *kit) error {
		return k.runs(strings.Replace(k.who(), "/api", ";a=b/api;c", 1) + ";d=e")
	}},
	{id: "path-decoded", says: "`%xx` in a path is decoded.", run: func(k *kit) error { return k.runs(escaped(k.who(), "%")) }},
	{id: "path-decoded-once", says: "`%xx` in a path is decoded once only.",
		run: func(k *kit) error { return k.runsNot(escaped(k.who(), "%25")) }},
	{id: "path-slashes", says: "Several slashes count as one.", run: func(k *kit) error {
		return k.runs(strings.ReplaceAll(k.who(), "/rest/", "//rest///"))
	}},
	{id: "path-dots", says: "`.` and `..` are resolved, even if they are escaped or have parameters.", run: func(k *kit) error {
		return all(k.runs("/a/.."+k.who()), k.runs("/a/%2e%2e;b/./%2e"+k.who()))
	}},
	{id: "path-context", says: "The context path is matched by whole segments.", run: func(k *kit) error {
		if k.base.Path == "" {
			return notTriedError("the product has no context path")
		}
		return k.notSignedIn(k.send(k.base.EscapedPath()+"x"+k.who(), bearer(k.pat)))
	}},
	{id: "path-rewriting", says: "`/s/{anything}/_/{path}` runs `/{path}`.", run: func(k *kit) error { return k.runs("/s/1/2/_" + k.who()) }},
	{id: "path-rewriting-case", says: "The case of `s` in `/s/{anything}/_/{path}` does not matter.", run: func(k *kit) error {
		return k.runs("/S/1/_" + k.who())
	}},
	{id: "path-rewriting-raw", says: "The rule about `/s/` is applied to the path as it was sent: it knows neither parameters nor `%2e`.",
		run: func(k *kit) error {
			return all(k.runsNot("/s;a/1/_"+k.who()), k.runsNot("/a/%2e%2e/s/1/_"+k.who()))
		}},
	{id: "path-rewriting-normalised", says: "The rule about `/s/` is applied after `..` is resolved.", run: func(k *kit) error {
		return k.runs("/a/../s/1/_" + k.who())
	}},
	malformed("path-encoded-slash", "`%2f`", "a%2Fb"),
	malformed("path-backslash", "a backslash", `a\b`),
	malformed("path-encoded-backslash", "`%5c`", "a%5Cb"),
	malformed("path-null", "`%00`", "a%00b"),
	malformed("path-unescaped", "a character that has to be escaped", "a{b"),
	{id: "path-above-root", says: "A path that leads above the root is answered with 400.", run: func(k *kit) error {
		return k.get(strings.Repeat("/..", 1+strings.Count(k.base.Path, "/"))+"/x", bearer(k.pat)).is(http.StatusBadRequest)
	}},
	{id: "path-slash-at-the-end", says: "A slash at the end of a resource's path does not matter.",
		run: func(k *kit) error { return k.runs(k.who() + "/") }},
	{id: "path-unknown-page", says: "An unknown path outside `/rest` is answered with 404 and a page.", run: func(k *kit) error {
		a := k.get("/apitoken-doctor", bearer(k.pat))
		return all(a.is(http.StatusNotFound), a.isPage())
	}},
	{id: "path-unknown-resource", says: "An unknown resource is answered with 404, `status-code` and `message`: `null for uri`.",
		run: func(k *kit) error {
			a := k.get("/rest/apitoken-doctor/1.0/x", bearer(k.pat))
			return all(a.is(http.StatusNotFound), a.keys("message", "status-code"), a.shows("null for uri"))
		}},
	{id: "path-method", says: "A method that a resource does not have is answered with 405.", run: func(k *kit) error {
		return k.get(k.who(), bearer(k.pat), sends(map[string]string{})).is(http.StatusMethodNotAllowed)
	}},
}
