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

// staticPath is where the page's own files are, below it.
const staticPath = "/static/"

//go:embed static
var static embed.FS

// types are the media types of the files there are.
var types = map[string]string{"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}

// serveFile serves a file that is the same for everybody. It may be kept, but is asked for anew each time: of two versions that
// serve side by side during an update, each page gets files that are there.
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
