package examples_test

import (
	"strings"
	"testing"
)

func TestCurl(t *testing.T) {
	tool(t, "apt-get install curl", "curl")
	tool(t, "apt-get install jq", "jq")
	s := newSite(t)
	calls := func(cn string) ran {
		t.Helper()
		files := s.admin
		if cn != "admin" {
			files = s.files(t, cn)
		}
		return s.run(t, []string{"CERT=" + files.Cert, "KEY=" + files.Key, "CA=" + files.CA}, "curl/calls.sh", s.servers["jump-1"].URL, "alice", s.key)
	}
	wantLife(t, s, calls("admin"))
	// An operator may not delete, and nobody without a role may do anything.
	for cn, want := range map[string]string{"operator-1": "\nalice CONTAINER_STATE_STOPPED\n", "nobody": ""} {
		if r := calls(cn); r.code != 22 || !strings.HasSuffix("\n"+r.out, want) || !strings.Contains(r.errs, "403") {
			t.Errorf("by %s: %+v, want 403 after %q", cn, r, want)
		}
	}
}

// wantLife checks what the examples say that make a container, stop it and remove it,
// call by call.
func wantLife(t *testing.T, s *site, r ran) {
	t.Helper()
	for _, want := range []string{
		"I am admin, admin", "there are 0 containers", "alice CONTAINER_STATE_RUNNING 1GiB", "alice CONTAINER_STATE_STOPPED", "deleted alice",
	} {
		if !strings.Contains("\n"+r.out, "\n"+want+"\n") {
			t.Errorf("it does not say %q", want)
		}
	}
	if r.code != 0 || !strings.Contains(r.out, "% CREATE_STAGE_START\n") || !strings.Contains(r.out, "\ncreated alice at 127.") || s.state(t, "jump-1", "alice") != "gone" {
		t.Errorf("the life of a container: %+v", r)
	}
}
