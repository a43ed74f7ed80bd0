package incusx_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	incus "github.com/lxc/incus/v6/client"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

// TestSyncKeysWithoutACommand: nothing runs in the guest, unless its owner has
// changed what the keys need.
func TestSyncKeysWithoutACommand(t *testing.T) {
	const file = "/home/alice/.ssh/authorized_keys"
	for name, test := range map[string]struct {
		path, kind, content string
		execs               int
	}{
		"as it was made":        {},
		"other keys beside":     {path: file, content: "# mine\n"},
		"a link":                {path: file, kind: "symlink", content: "/etc/hostname", execs: 1},
		"more than is read":     {path: file, content: strings.Repeat("# mine\n", 200_000), execs: 1},
		"no such user":          {path: "/etc/passwd", content: "root:x:0:0:root:/root:/bin/bash\n", execs: 1},
		"a user without a home": {path: "/etc/passwd", content: "alice:x:1000:1000:::/bin/bash\n", execs: 1},
		"another user's name":   {path: "/etc/passwd", content: "malice:x:0:0::/home/alice:/bin/bash\nalice:x:1000\n", execs: 1},
		"a home elsewhere":      {path: "/etc/passwd", content: "alice:x:1000:1000::/nowhere:/bin/bash\n", execs: 1},
	} {
		r := newRig(t)
		key, _ := newKey(t)
		r.runAlice(t)
		if test.path != "" {
			must(t, "write "+test.path, r.raw.CreateInstanceFile("alice-container", test.path, incus.InstanceFileArgs{
				Content: strings.NewReader(test.content), Type: test.kind, WriteMode: "overwrite",
			}))
		}
		container, err := r.SetKeys(t.Context(), "alice", []string{key})
		must(t, name+": set the keys", err)
		r.sim.Forget()
		must(t, name+": sync the keys", r.SyncKeys(bounded(t), container))
		if execs := r.sim.Requests("POST", "/1.0/instances/*/exec"); execs != test.execs {
			t.Errorf("%s: %d commands in the guest, want %d", name, execs, test.execs)
		}
		body, _, err := r.raw.GetInstanceFile("alice-container", file)
		must(t, "read the keys", err)
		got := new(strings.Builder)
		if _, err := io.Copy(got, body); err != nil || !strings.HasSuffix(got.String(), "# BEGIN containarium\n"+key+"\n# END containarium\n") {
			t.Errorf("%s: %d bytes of keys, %v", name, got.Len(), err)
		}
	}
}

// TestSyncKeysEnds: a guest that does not answer holds no call longer than its
// context lasts, and no failure is taken for keys that are there.
func TestSyncKeysEnds(t *testing.T) {
	r := newRig(t)
	r.runAlice(t)
	key, _ := newKey(t)
	container, err := r.SetKeys(t.Context(), "alice", []string{key})
	must(t, "set the keys", err)
	const sftp = "/1.0/instances/*/sftp"
	for name, test := range map[string]struct {
		fault incustest.Fault
		kind  error
	}{
		"no answer":     {incustest.Fault{Path: sftp, Delay: time.Hour}, context.DeadlineExceeded},
		"a cut":         {incustest.Fault{Path: sftp, Drop: true}, incusx.ErrUnavailable},
		"busy":          {incustest.Fault{Path: sftp, Status: 503, Message: "busy"}, incusx.ErrUnavailable},
		"gone":          {incustest.Fault{Path: sftp, Status: 404, Message: "Instance not found"}, incusx.ErrNotFound},
		"note it fails": {incustest.Fault{Method: "PATCH", Path: "/1.0/instances/*", Drop: true}, incusx.ErrUnavailable},
	} {
		clear := r.sim.Fail(test.fault)
		wantErr(t, name, r.SyncKeys(within(t, 300*time.Millisecond), container), test.kind)
		clear()
		if now, err := r.Get(t.Context(), "alice"); err != nil || now.KeysInGuest {
			t.Errorf("%s: keys in the guest: %t, %v", name, now.KeysInGuest, err)
		}
	}
	must(t, "sync the keys", r.SyncKeys(bounded(t), container))
}
