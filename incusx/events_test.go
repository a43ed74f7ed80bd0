package incusx_test

import (
	"strings"
	"testing"
	"time"

	"github.com/footprintai/containarium/incusx"
)

// A stream whose other end hangs looks like one on which nothing happens, and ends.
func TestSilentEventsEnd(t *testing.T) {
	r := newRig(t)
	events, err := r.Events(t.Context())
	must(t, "listen", err)
	events.Impatient(time.Millisecond, time.Minute)
	alive, ended := make(chan struct{}, 1000), make(chan error, 1)
	go func() {
		ended <- events.Follow(func(e incusx.Event) {
			if e.Username == "" {
				alive <- struct{}{}
			}
		})
	}()
	<-alive
	<-alive
	events.Close()
	wantErr(t, "a stream that was closed", <-ended, incusx.ErrUnavailable)

	r.sim.Silence(true)
	events, err = r.Events(t.Context())
	must(t, "listen", err)
	events.Impatient(time.Millisecond, 50*time.Millisecond)
	wantErr(t, "a stream without a sign of life", events.Follow(func(e incusx.Event) { t.Errorf("event %+v", e) }), incusx.ErrUnavailable)

	r.sim.Down()
	_, err = r.Events(t.Context())
	wantErr(t, "listen to an Incus that is away", err, incusx.ErrUnavailable)
}

// An event is about the user whose container it names; what changes nothing, and
// what is not ours or not to be read, is about nobody.
func TestParseEvent(t *testing.T) {
	lifecycle := func(action, source, rest string) string {
		return `{"type":"lifecycle","timestamp":"2026-11-25T09:00:00Z","project":"p","metadata":{"action":"` + action + `","source":"` + source + `"` + rest + `}}`
	}
	for message, want := range map[string]string{
		lifecycle("instance-created", "/1.0/instances/alice-container", ""):                                                            "alice",
		lifecycle("instance-updated", "/1.0/instances/alice-container?project=p", ""):                                                  "alice",
		lifecycle("instance-of-a-later-incus", "/1.0/instances/alice-container", ""):                                                   "alice",
		lifecycle("instance-renamed", "/1.0/instances/alice-container", `,"context":{"old_name":"bob-container"}`):                     "alice bob",
		lifecycle("instance-renamed", "/1.0/instances/other", `,"context":{"old_name":"bob-container"}`):                               "bob",
		lifecycle("instance-updated", "/1.0/instances/other", ""):                                                                      "",
		lifecycle("instance-updated", "/1.0/instances/-container", ""):                                                                 "",
		lifecycle("instance-exec", "/1.0/instances/alice-container", ""):                                                               "",
		lifecycle("instance-file-pushed", "/1.0/instances/alice-container", ""):                                                        "",
		lifecycle("instance-snapshot-created", "/1.0/instances/alice-container/snapshots/s", ""):                                       "",
		lifecycle("instance-restored", "/1.0/instances/alice-container", ""):                                                           "alice",
		lifecycle("network-updated", "/1.0/networks/alice-container", ""):                                                              "",
		lifecycle("instance-updated", "%zz", ""):                                                                                       "",
		`{"type":"operation","metadata":{"action":"instance-updated","source":"/1.0/instances/alice-container"}}`:                      "",
		`{"type":"lifecycle","metadata":[]}`:                                                                                           "",
		`{`:                                                                                                                            "",
		`{"type":"lifecycle","metadata":{"action":"instance-updated","source":"/1.0/instances/a-container","context":{"old_name":7}}}`: "a",
	} {
		var users []string
		for _, event := range incusx.ParseEvent([]byte(message)) {
			users = append(users, event.Username)
		}
		if got := strings.Join(users, " "); got != want {
			t.Errorf("%s is about %q, want %q", message, got, want)
		}
	}
}
