package daemon_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/footprintai/containarium/daemon/daemontest"
)

const typeNDJSON, typeEvents = "application/x-ndjson", "text/event-stream"

// lines are those of an answer that goes on.
type lines struct {
	body    io.ReadCloser
	scanner *bufio.Scanner
}

// watch begins a watch, of the media type, and hangs up when the test ends.
func watch(t *testing.T, d *daemontest.Daemon, client *http.Client, accept string, change ...func(*http.Request)) *lines {
	t.Helper()
	request := d.Request(t, http.MethodGet, "/v1/containers:watch", "")
	request.Header.Set("Accept", accept)
	for _, f := range change {
		f(request)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != accept {
		t.Fatalf("%s of %s, want %s", response.Status, got, accept)
	}
	return &lines{response.Body, bufio.NewScanner(response.Body)}
}

// until returns the lines up to the one that has the text.
func (l *lines) until(t *testing.T, text string) (read []string) {
	t.Helper()
	late := time.AfterFunc(time.Minute, func() { _ = l.body.Close() })
	defer late.Stop()
	for l.scanner.Scan() {
		read = append(read, l.scanner.Text())
		if strings.Contains(l.scanner.Text(), text) {
			return read
		}
	}
	t.Fatalf("it ended without %s: %v: %q", text, l.scanner.Err(), read)
	return nil
}

// ends reads to the end, which must come.
func (l *lines) ends(t *testing.T) {
	t.Helper()
	late := time.AfterFunc(time.Minute, func() {
		t.Error("the stream goes on")
		_ = l.body.Close()
	})
	defer late.Stop()
	_, _ = io.Copy(io.Discard, l.body)
}

// TestHTTPStreams: each message comes when it is sent, as a line or as an event, and
// a browser resumes where it was.
func TestHTTPStreams(t *testing.T) {
	d := daemontest.Start(t)
	for _, http2 := range []bool{false, true} {
		client := d.HTTPClient(t, d.CA.Client(t, "admin"), http2)
		plain, seen := watch(t, d, client, typeNDJSON), watch(t, d, client, typeEvents)
		for _, stream := range []*lines{plain, seen} {
			stream.until(t, "SYNCED")
		}
		post(t, d, client, "/v1/containers", `{"username": "alice", "noWait": true}`)
		for _, line := range plain.until(t, "alice") {
			if !strings.HasPrefix(line, `{"result":{"change":"WATCH_CHANGE_`) {
				t.Errorf("a line of the stream: %s", line)
			}
		}
		seen.until(t, "alice")
		var id string
		for _, line := range seen.until(t, "SYNCED") {
			if after, ok := strings.CutPrefix(line, "id: "); ok {
				id = after
			}
		}
		resumed := watch(t, d, client, typeEvents, with("Last-Event-ID", id))
		if first := resumed.until(t, "data: "); strings.Contains(strings.Join(first, "\n"), "RESET") {
			t.Errorf("resumed from %q it begins anew: %q", id, first)
		}
		d.Ask(t, client, http.MethodDelete, "/v1/containers/alice?force=true", "")
		resumed.until(t, "WATCH_CHANGE_GONE")
	}
	client := d.HTTPClient(t, d.CA.Client(t, "admin"), true)
	answer := post(t, d, client, "/v1/containers:stream", `{"username": "bob", "noWait": true}`)
	if first, last, _ := strings.Cut(answer, "\n"); !strings.Contains(first, "CREATE_STAGE_IMAGE") || !strings.Contains(last, `"percent":100`) {
		t.Errorf("a create as a stream: %s", answer)
	}
	if answer = post(t, d, client, "/v1/images:prepare", `{}`); !strings.Contains(answer, `"result":{`) {
		t.Errorf("a preparation as a stream: %s", answer)
	}
}

// TestHTTPStopsWithTheDaemon: streams end, and a stop waits for nobody.
func TestHTTPStopsWithTheDaemon(t *testing.T) {
	d := daemontest.Start(t)
	stream := watch(t, d, d.HTTPClient(t, d.CA.Client(t, "admin"), true), typeNDJSON)
	stream.until(t, "SYNCED")
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
	stream.until(t, "SHUTTING_DOWN")
	stream.ends(t)
}
