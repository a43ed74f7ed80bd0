package daemontest

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/footprintai/containarium/pki/pkitest"
)

// HTTPClient returns a client of the HTTP port that is the pair, by HTTP/2 where that
// is wanted, until the test ends. It follows no redirect.
func (d *Daemon) HTTPClient(t testing.TB, pair pkitest.Pair, http2 bool) *http.Client {
	t.Helper()
	config := d.CA.ClientConfig(pair)
	config.Time = d.CA.Now
	config.NextProtos = nil // the transport's own
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	transport := &http.Transport{TLSClientConfig: config, Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Answer is how an answer of the HTTP port begins.
type Answer struct {
	Status     string // as "200 OK"
	StatusCode int
	Header     http.Header
}

// Request is one to the HTTP port. A body is sent as JSON.
func (d *Daemon) Request(t testing.TB, method, path, body string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, d.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	return request
}

// Ask asks the HTTP port and returns the answer and its body. Each of change may
// change the request.
func (d *Daemon) Ask(t testing.TB, client *http.Client, method, path, body string, change ...func(*http.Request)) (Answer, string) {
	t.Helper()
	request := d.Request(t, method, path, body)
	for _, f := range change {
		f(request)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return Answer{response.Status, response.StatusCode, response.Header}, string(data)
}
