//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestFailedCreatesLeaveNothing(t *testing.T) {
	t.Parallel()
	o := newOwner(t, "failed")
	fails := func(t *testing.T, words []string, flags ...string) {
		o.refused(t, words, append([]string{"create", o.name, "--ssh-key", o.key.file + ".pub"}, flags...)...)
		o.wantNothing(t, o.name)
		if c := o.listed(t, o.name); c != nil {
			t.Errorf("ls shows %v", c)
		}
	}
	t.Run("no such image", func(t *testing.T) {
		fails(t, []string{"stage image", "nothing of it is left"}, "--image", "no/such-image")
	})
	t.Run("an image that can not be mended", func(t *testing.T) {
		const alias = prefix + "noapt"
		// The package is there, as far as the distribution knows.
		o.makeImageWithout(t, "/usr/sbin/sshd", alias)
		fails(t, []string{"stage prepare", "step install", "still has no sshd", "nothing of it is left"}, "--image", alias)
	})
	t.Run("a bad request", func(t *testing.T) {
		r := o.as(t, t.Context(), admin, "create", o.name, "--cpu", "0", "--memory", "much", "--label", "A=b")
		if r.code != 1 || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("exit code %d: %s", r.code, r.stderr)
		}
		for _, flag := range []string{"--cpu", "--memory", "--label"} {
			if !strings.Contains(r.stderr, flag) {
				t.Errorf("%q does not name %s", r.stderr, flag)
			}
		}
		o.wantNothing(t, o.name)
	})
	// The name is as free as before.
	o.create(t)
	if got := o.sh(t, "id -un"); got != o.name {
		t.Errorf("id says %q", got)
	}
	key := newKey(t, "mallory")
	o.refused(t, []string{"has a container"}, "create", o.name, "--ssh-key", key.file+".pub")
	if host, guest := o.opens(t, key); host || guest {
		t.Error("the key of a create that was refused opens the container")
	}
	if got := o.sh(t, "id -un"); got != o.name {
		t.Errorf("after the refused create, id says %q", got)
	}
}

func TestTenCreatesAtOnce(t *testing.T) {
	owners := make([]*owner, 10)
	for i := range owners {
		owners[i] = newOwner(t, fmt.Sprintf("ten-%d", i))
	}
	var wg sync.WaitGroup
	for _, o := range owners {
		wg.Go(func() { o.create(t) })
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	addresses := map[string]bool{}
	for _, o := range owners {
		addresses[o.address()] = true
		wg.Go(func() {
			if got := o.sh(t, `echo "$(id -un) $(sudo -n id -u)"`); got != o.name+" 0" {
				t.Errorf("%s: %q", o.name, got)
			}
		})
	}
	wg.Wait()
	if len(addresses) != len(owners) {
		t.Errorf("%d addresses for %d containers", len(addresses), len(owners))
	}
	var names []string
	for _, o := range owners {
		names = append(names, o.name)
	}
	owners[0].do(t, append([]string{"rm", "--force"}, names...)...)
	for _, o := range owners {
		o.wantNothing(t, o.name)
	}
}
