package gateway

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// openapi is made from proto/ by make generate.
//
//go:embed openapi.swagger.json
var openapi []byte

//go:embed assets/index.html assets/rapidoc-min.js.gz
var assets embed.FS

// docsPolicy lets the page run its own script and ask its own host, and nothing else.
// The script writes styles into the page.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// OpenAPI serves the description of the API (Swagger 2.0).
func OpenAPI() http.Handler { return newFile(typeJSON, openapi, nil) }

// Docs serves the page that shows it to people, below /docs/, with all that it needs.
func Docs() http.Handler {
	page, script := asset("index.html"), asset("rapidoc-min.js.gz")
	index := newFile("text/html; charset=utf-8", page, nil)
	files := map[string]http.Handler{
		"/docs/":               index,
		"/docs/index.html":     index,
		"/docs/rapidoc-min.js": newFile("text/javascript; charset=utf-8", unpack(script), script),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file := files[r.URL.Path]
		if file == nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Security-Policy", docsPolicy)
		file.ServeHTTP(w, r)
	})
}

func asset(name string) []byte {
	data, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // it was there when this was built
	}
	return data
}

func unpack(packed []byte) []byte {
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		panic(err) // it was good when this was built
	}
	data, err := io.ReadAll(reader)
	if err != nil {
		panic(err)
	}
	return data
}

// newFile serves a file that never changes while the daemon runs: who has it asks by
// its ETag. Packed is the same by gzip, or nil.
func newFile(media string, data, packed []byte) http.Handler {
	sum := sha256.Sum256(data)
	tag := hex.EncodeToString(sum[:16])
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", media)
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", `"`+tag+`"`)
		body := data
		if packed != nil {
			h.Set("Vary", "Accept-Encoding")
			if takesGzip(r.Header.Values("Accept-Encoding")) {
				h.Set("Content-Encoding", "gzip")
				h.Set("ETag", `"`+tag+`-gzip"`)
				body = packed
			}
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	})
}

// takesGzip reports whether a client names gzip, and not at weight 0.
func takesGzip(accept []string) bool {
	for coding := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if strings.TrimSpace(name) == "gzip" {
			q, given := strings.CutPrefix(strings.TrimSpace(weight), "q=")
			value, err := strconv.ParseFloat(q, 64)
			return !given || err == nil && value > 0
		}
	}
	return false
}
