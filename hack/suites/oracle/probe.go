package oracle

import (
	"crypto/hmac"
	"crypto/sha256"
	hexadecimal "encoding/hex"
	"strconv"
	"strings"
	"time"
)

// probePrefix begins what the controller asks with.
const probePrefix = "asp_probe_"

// probeOf is the credential of a probe, as docs/reference/requests.md describes it. It is for any path if there is none.
func probeOf(key string, due time.Time, nonce, path string) string {
	bound := "path"
	if path == "" {
		bound = "any"
	}
	claims := strconv.FormatInt(due.UnixMilli(), 10) + "_" + nonce + "_" + bound
	sum := hmac.New(sha256.New, []byte(key))
	sum.Write([]byte(claims + "_" + path))
	return probePrefix + claims + "_" + hexadecimal.EncodeToString(sum.Sum(nil))
}

// judgeProbe says whether a credential of a probe is due, and for the path that the gateway asks about.
func (w *world) judgeProbe(at siteName, credential, path string) answer {
	parts := strings.Split(credential, "_")
	refused := refusal(401, "probe_refused", "")
	if len(parts) != 6 {
		return refused
	}
	due, err := strconv.ParseInt(parts[2], 10, 64)
	if parts[4] == "any" {
		path = ""
	}
	if err != nil || w.now.UnixMilli() < due || w.probeKeys[at] == "" || credential != probeOf(w.probeKeys[at], time.UnixMilli(due), parts[3], path) {
		return refused
	}
	return refusal(403, "Probe", "")
}
