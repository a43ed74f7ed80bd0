package daemon_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/footprintai/containarium/daemon/daemontest"
)

// with sets headers of a request, in pairs.
func with(pairs ...string) func(*http.Request) {
	return func(r *http.Request) {
		for i := 0; i < len(pairs); i += 2 {
			r.Header.Set(pairs[i], pairs[i+1])
		}
	}
}

const evil = "https://evil.example"

// The page of another site makes the browser of an admin send these, with the admin's
// certificate. Each must come to nothing, and be audited as the admin's.
func TestRequestsOfAnotherSitesPage(t *testing.T) {
	d := daemontest.Start(t)
	client := d.HTTPClient(t, d.CA.Client(t, "admin"), true)
	post(t, d, client, "/v1/containers", `{"username":"alice","noWait":true}`)
	const create = `{"username":"mallory"}`
	attacks := map[string]struct {
		method, path, body string
		change             func(*http.Request)
		status             int
	}{
		"fetch with JSON, past the preflight": {
			http.MethodPost, "/v1/containers", create,
			with("Origin", evil, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"), http.StatusForbidden,
		},
		"an old browser, that sends the origin alone": {http.MethodPost, "/v1/containers", create, with("Origin", evil), http.StatusForbidden},
		"a frame in a sandbox":                        {http.MethodPost, "/v1/containers", create, with("Origin", "null"), http.StatusForbidden},
		"another port of this host": {
			http.MethodDelete, "/v1/containers/alice?force=true", "", with("Origin", "https://127.0.0.1:1", "Sec-Fetch-Site", "same-site"), http.StatusForbidden,
		},
		"a form of text that is JSON": {
			http.MethodPost, "/v1/containers", create,
			with("Content-Type", "text/plain", "Origin", evil, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"), http.StatusForbidden,
		},
		// The same of a browser that says nothing of where it comes from.
		"a silent form of text that is JSON": {http.MethodPost, "/v1/containers", create, with("Content-Type", "text/plain"), http.StatusUnsupportedMediaType},
		"a silent form": {
			http.MethodPost, "/v1/containers", "username=mallory", with("Content-Type", "application/x-www-form-urlencoded"), http.StatusUnsupportedMediaType,
		},
		"a silent form with files": {
			http.MethodPost, "/v1/containers", "--x\r\n\r\n" + create + "\r\n--x--", with("Content-Type", "multipart/form-data; boundary=x"), http.StatusUnsupportedMediaType,
		},
		"a body of no type": {http.MethodPost, "/v1/containers", create, func(r *http.Request) { r.Header["Content-Type"] = nil }, http.StatusUnsupportedMediaType},
		"another method by a header": {
			http.MethodPost, "/v1/containers/alice", "force=true",
			with("Content-Type", "application/x-www-form-urlencoded", "X-HTTP-Method-Override", "DELETE"), http.StatusUnsupportedMediaType,
		},
		"another method by a header, without a body": {
			http.MethodPost, "/v1/containers/alice", "", with("X-HTTP-Method-Override", "DELETE"), http.StatusMethodNotAllowed,
		},
		"a form for what is read": {
			http.MethodPost, "/v1/system", "", with("Content-Type", "application/x-www-form-urlencoded"), http.StatusMethodNotAllowed,
		},
		"a form with a query for what is started": {http.MethodPost, "/v1/containers/alice:stop?force=true", "", nil, http.StatusBadRequest},
		"reading, to take the time": {
			http.MethodGet, "/v1/containers", "", with("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"), http.StatusForbidden,
		},
		"a link to what is no page": {
			http.MethodGet, "/v1/containers", "", with("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"), http.StatusForbidden,
		},
		"a page in a frame": {http.MethodGet, "/docs/", "", with("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"), http.StatusForbidden},
		"a preflight": {
			http.MethodOptions, "/v1/containers", "",
			with("Origin", evil, "Sec-Fetch-Site", "cross-site", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type"), http.StatusForbidden,
		},
	}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			before := len(d.Audit(t))
			change := attack.change
			if change == nil {
				change = with()
			}
			response, body := d.Ask(t, client, attack.method, attack.path, attack.body, change)
			if response.StatusCode != attack.status || !strings.Contains(body, `"message":`) {
				t.Errorf("%s: %s, want %d", response.Status, body, attack.status)
			}
			checkAnswer(t, response)
			records := d.Audit(t)
			if last := records[len(records)-1]; len(records) != before+1 || last.CN != "admin" || last.Code == "OK" {
				t.Errorf("it left %d audit lines, the last %+v", len(records)-before, last)
			}
		})
	}
	if _, list := d.Ask(t, client, http.MethodGet, "/v1/containers", ""); strings.Contains(list, "mallory") || !strings.Contains(list, "CONTAINER_STATE_RUNNING") {
		t.Errorf("an attack changed something: %s", list)
	}
}

// checkAnswer looks for what a browser is told with every answer.
func checkAnswer(t *testing.T, response daemontest.Answer) {
	t.Helper()
	for name := range response.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s lets another site read: %v", name, response.Header[name])
		}
	}
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if csp := response.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("it may be shown in a frame: %q", csp)
	}
}

// What our own page, a person and a program send is none of that.
func TestRequestsOfOurOwn(t *testing.T) {
	d := daemontest.Start(t)
	client := d.HTTPClient(t, d.CA.Client(t, "admin"), true)
	post(t, d, client, "/v1/containers", `{"username":"alice","noWait":true}`)
	for name, ask := range map[string]struct {
		method, path, body string
		change             func(*http.Request)
	}{
		"our page reads":     {http.MethodGet, "/v1/containers", "", with("Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors")},
		"our page writes":    {http.MethodPost, "/v1/containers/alice:stop", `{"force":true}`, with("Sec-Fetch-Site", "same-origin", "Origin", d.URL)},
		"a person types":     {http.MethodGet, "/docs/", "", with("Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate")},
		"a link to the docs": {http.MethodGet, "/docs/", "", with("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate")},
		"a program":          {http.MethodPost, "/v1/containers/alice:start", "", with()},
		"a charset":          {http.MethodPost, "/v1/containers/alice:restart", `{"force":true}`, with("Content-Type", "application/json; charset=utf-8")},
	} {
		if response, body := d.Ask(t, client, ask.method, ask.path, ask.body, ask.change); response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s %s", name, response.Status, body)
		}
	}
}
