//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDenied(t *testing.T) {
	t.Parallel()
	o := newOwner(t, "tenant")
	o.create(t)
	tenant, other := o.name, prefix+"nosy"
	o.refusedAs(t, operator, 4, []string{"whoami"}, "rm", o.name, "--force")
	o.refusedAs(t, other, 4, []string{"whoami"}, "info", o.name)
	o.refusedAs(t, other, 4, []string{"whoami"}, "stop", o.name)
	o.refusedAs(t, tenant, 4, []string{"whoami"}, "create", other)
	if got := o.sh(t, "id -un"); got != o.name {
		t.Errorf("after the denied calls, id says %q", got)
	}
	o.wantNothing(t, other)
	for cn, want := range map[string]string{tenant: o.name, other: ""} {
		r := o.as(t, t.Context(), cn, "ls", "-o", "json")
		if r.code != 0 || strings.Contains(r.stdout, `"`+o.name+`"`) != (want != "") || strings.Count(r.stdout, `"username"`) > 1 {
			t.Errorf("ls of %s: %+v", cn, r)
		}
	}
}

func TestAuditLogHasEveryCall(t *testing.T) {
	t.Parallel()
	o := newOwner(t, "audited")
	const cn = "operator-audited"
	pub := o.key.file + ".pub"
	for _, args := range [][]string{
		{"whoami"}, {"ls"}, {"info", o.name}, {"create", o.name, "--ssh-key", pub, "--image", "no/such-image"},
		{"key", "add", o.name, pub}, {"key", "rm", o.name, o.key.fingerprint()}, {"start", o.name}, {"stop", o.name},
		{"restart", o.name}, {"rm", o.name}, {"metrics"}, {"system"},
	} {
		o.as(t, t.Context(), cn, args...)
	}
	want := []string{
		"AuthService/WhoAmI allow OK ",
		"ContainerService/ListContainers allow OK ",
		"ContainerService/GetContainer allow NotFound " + o.name,
		"ContainerService/CreateContainerStream allow NotFound " + o.name,
		"ContainerService/AddSSHKey allow NotFound " + o.name,
		"ContainerService/RemoveSSHKey allow NotFound " + o.name,
		"ContainerService/StartContainer allow NotFound " + o.name,
		"ContainerService/StopContainer allow NotFound " + o.name,
		"ContainerService/RestartContainer allow NotFound " + o.name,
		"ContainerService/ListSnapshots allow NotFound " + o.name, // rm says what goes with it
		"ContainerService/DeleteContainer deny PermissionDenied " + o.name,
		"ContainerService/GetMetrics allow OK ",
		"ContainerService/GetSystemInfo allow OK ",
	}
	data, err := os.ReadFile(auditLog)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	decisions := 0
	// Other tests make calls meanwhile: a last line may not be whole yet.
	for line := range strings.Lines(string(data[:bytes.LastIndexByte(data, '\n')+1])) {
		var record struct{ Event, CN, Method, Decision, Code, Container string }
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch {
		case record.CN != cn:
		case record.Event == "decision":
			decisions++
		default:
			got = append(got, strings.TrimPrefix(record.Method, "/containarium.v1.")+" "+record.Decision+" "+record.Code+" "+record.Container)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if decisions != 6 { // what changes something and was allowed
		t.Errorf("%d decisions were written before the calls acted, want 6", decisions)
	}
	if base64 := strings.Fields(o.key.public)[1]; strings.Contains(string(data), base64) {
		t.Error("the audit log holds a key")
	}
	if info, err := os.Stat(auditLog); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the audit log: %v, %v", info.Mode(), err)
	}
}
