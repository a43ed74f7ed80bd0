package gateway

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func get(t *testing.T, handler http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for pair := range slices.Chunk(header, 2) {
		request.Header.Set(pair[0], pair[1])
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

// TestDocs: the page and its script, whole and packed, and nothing else.
func TestDocs(t *testing.T) {
	docs := Docs()
	page := get(t, docs, "/docs/")
	html := page.Body.String()
	if page.Code != http.StatusOK || !strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") || !strings.Contains(html, `spec-url="../openapi.json"`) {
		t.Errorf("%d of %s: %s", page.Code, page.Header().Get("Content-Type"), html)
	}
	// Nothing that the page has may be from elsewhere, and no script be in it.
	for _, address := range regexp.MustCompile(`(?:src|href|url)="([^"]*)"`).FindAllStringSubmatch(html, -1) {
		if strings.Contains(address[1], "//") {
			t.Errorf("the page fetches %s", address[1])
		}
	}
	if strings.Contains(html, "<script>") || !strings.Contains(html, `load-fonts="false"`) {
		t.Error("the page has a script in it, or fetches fonts")
	}
	if csp := page.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; script-src 'self'; ") || strings.Contains(csp, "http") {
		t.Errorf("policy %q", csp)
	}
	plain, packed := get(t, docs, "/docs/rapidoc-min.js"), get(t, docs, "/docs/rapidoc-min.js", "Accept-Encoding", "gzip, br")
	script := plain.Body.Bytes()
	reader, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(reader)
	if err != nil || !bytes.Equal(unpacked, script) || packed.Header().Get("Content-Encoding") != "gzip" || plain.Header().Get("Content-Encoding") != "" {
		t.Errorf("packed it is another: %v, %v", err, packed.Header())
	}
	// Its only addresses of elsewhere are those of the fonts, which the page switches off
	// and the policy refuses.
	elsewhere := regexp.MustCompile("(?:url\\(|src=|href=|import\\(|fetch\\(|open\\(|Worker\\()[\"'`]?(?:https?:)?//[^\"'`) ]*")
	for _, address := range elsewhere.FindAllString(string(script), -1) {
		if !strings.HasPrefix(address, "url(https://fonts.gstatic.com/") {
			t.Errorf("the script fetches %s", address)
		}
	}
	for accept, coding := range map[string]string{"": "", "br": "", "gzip;q=0": "", "deflate, gzip;q=0.5": "gzip", "gzip": "gzip"} {
		response := get(t, docs, "/docs/rapidoc-min.js", "Accept-Encoding", accept)
		if got := response.Header().Get("Content-Encoding"); got != coding || response.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("who accepts %q gets %q", accept, got)
		}
		again := get(t, docs, "/docs/rapidoc-min.js", "Accept-Encoding", accept, "If-None-Match", response.Header().Get("ETag"))
		if again.Code != http.StatusNotModified {
			t.Errorf("who has it already: %d", again.Code)
		}
	}
	if packed.Header().Get("ETag") == plain.Header().Get("ETag") {
		t.Error("packed and whole have the same ETag")
	}
	// It is what the README says that it is.
	readme, err := os.ReadFile("assets/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(script); !bytes.Contains(readme, []byte(hex.EncodeToString(sum[:]))) {
		t.Errorf("assets/README.md does not have %x", sum)
	}
	for _, path := range []string{"/docs/assets", "/docs/README.md", "/docs/../docs.go", "/docs/rapidoc-min.js.gz"} {
		if response := get(t, docs, path); response.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, response.Code)
		}
	}
}

// TestOpenAPIIsCached by who has it.
func TestOpenAPIIsCached(t *testing.T) {
	first := get(t, OpenAPI(), "/openapi.json")
	if first.Code != http.StatusOK || first.Header().Get("Content-Type") != typeJSON || !bytes.Equal(first.Body.Bytes(), openapi) {
		t.Errorf("%d of %s", first.Code, first.Header().Get("Content-Type"))
	}
	if again := get(t, OpenAPI(), "/openapi.json", "If-None-Match", first.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("what is there already: %d", again.Code)
	}
}
