package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"time"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

// staticPath is the path of the page's own files, below the page.
const staticPath = "/static/"

//go:embed static
var static embed.FS

// types maps each file to its media type.
var types = map[string]string{
	"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8",
	// It draws the block in the profile, which is a page of the product.
	"profile.js": "text/javascript; charset=utf-8",
}

// serveFile serves one of the page's own files. Browsers may cache it and must revalidate it, because two versions of the portal
// serve at the same time during an update.
func (c *call) serveFile(name string) error {
	media, ok := types[name]
	if !ok {
		return &selfservice.Problem{Kind: selfservice.NotFound, Message: "There is no such file."}
	}
	if !c.reads() {
		return notAllowed(http.MethodGet, http.MethodHead)
	}
	content, err := static.ReadFile("static/" + name)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	h := c.w.Header()
	h.Set("Content-Type", media)
	h.Set("Cache-Control", "public, no-cache")
	h.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	http.ServeContent(c.w, c.r, name, time.Time{}, bytes.NewReader(content))
	return nil
}
