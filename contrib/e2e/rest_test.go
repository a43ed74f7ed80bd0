//go:build e2e

package e2e_test

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// curl asks the HTTP port as cn, and returns the status and the body.
func (s *site) curl(t *testing.T, cn, method, path string, more ...string) (status, body string) {
	t.Helper()
	if _, err := os.Stat(issued(cn, "tls.crt")); err != nil {
		s.as(t, t.Context(), cn, "whoami") // which has it issued
	}
	args := append([]string{
		"--silent", "--show-error", "--globoff", "--cert", issued(cn, "tls.crt"), "--key", issued(cn, "tls.key"), "--cacert", issued(cn, "ca.crt"),
		"--request", method, "--write-out", "%{http_code}", "https://" + s.http + path,
	}, more...)
	r := run(t, t.Context(), "", nil, "curl", args...)
	if r.code != 0 {
		t.Fatalf("curl %s %s: exit code %d: %s", method, path, r.code, r.stderr)
	}
	cut := len(r.stdout) - 3
	return r.stdout[cut:], r.stdout[:cut]
}

func body(json string) []string {
	return []string{"--header", "Content-Type: application/json", "--data", json}
}

// TestREST is the life of a real container by curl alone, and a login in between.
func TestREST(t *testing.T) {
	t.Parallel()
	o := newOwner(t, "rest")
	must := func(status, body string) string {
		t.Helper()
		if status != "200" {
			t.Fatalf("status %s: %s", status, body)
		}
		return body
	}
	stream := must(o.curl(t, admin, "POST", "/v1/containers:stream", body(`{"username": "`+o.name+`", "sshKeys": ["`+o.key.public+`"], "labels": {"by": "curl"}}`)...))
	lines := strings.Split(strings.TrimSpace(stream), "\n")
	var last pb.CreateContainerStreamResponse
	result, ok := strings.CutPrefix(lines[len(lines)-1], `{"result":`)
	if err := protojson.Unmarshal([]byte(strings.TrimSuffix(result, "}")), &last); err != nil || !ok || last.GetPercent() != 100 {
		t.Fatalf("the stream ends with %s: %v", lines[len(lines)-1], err)
	}
	if !strings.Contains(stream, "CREATE_STAGE_INSTANCE") || !strings.Contains(stream, "CREATE_STAGE_SSH") {
		t.Errorf("the stages: %s", stream)
	}
	o.container = last.GetResult().GetContainer()
	if got := o.sh(t, "whoami"); got != o.name {
		t.Errorf("by SSH it is %q", got)
	}
	if list := must(o.curl(t, admin, "GET", "/v1/containers?states=CONTAINER_STATE_RUNNING&labels[by]=curl")); !strings.Contains(list, o.container.GetNetwork().GetIpAddress()) {
		t.Errorf("the list: %s", list)
	}
	if status, answer := o.curl(t, "mallory", "DELETE", "/v1/containers/"+o.name+"?force=true"); status != "403" || !strings.Contains(answer, "container.delete") {
		t.Errorf("a tenant deletes another's: %s %s", status, answer)
	}
	if stopped := must(o.curl(t, admin, "POST", "/v1/containers/"+o.name+":stop", body(`{"force": true}`)...)); !strings.Contains(stopped, "CONTAINER_STATE_STOPPED") {
		t.Errorf("stopped: %s", stopped)
	}
	must(o.curl(t, admin, "DELETE", "/v1/containers/"+o.name))
	o.wantNothing(t, o.name)
	// Without a certificate there is no answer at all.
	if r := run(t, t.Context(), "", nil, "curl", "--silent", "--show-error", "--cacert", issued(admin, "ca.crt"), "https://"+o.http+"/healthz"); r.code == 0 || r.stdout != "" {
		t.Errorf("without a certificate: exit code %d, %s", r.code, r.stdout)
	}
}
