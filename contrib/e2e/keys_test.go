//go:build e2e

package e2e_test

import (
	"strings"
	"testing"
)

func TestKeysReachBothHops(t *testing.T) {
	t.Parallel()
	o := newOwner(t, "keys")
	o.create(t)
	first, second, third, own := o.key, newKey(t, "second"), newKey(t, "third"), newKey(t, "own")
	want := func(when string, key keyPair, host, guest bool) {
		t.Helper()
		if h, g := o.opens(t, key); h != host || g != guest {
			t.Errorf("%s: a key opens the host: %t, the guest: %t; want %t, %t", when, h, g, host, guest)
		}
	}
	want("before it is added", second, false, false)
	o.do(t, "key", "add", o.name, second.file+".pub")
	want("once it is added", second, true, true)
	want("beside another", first, true, true)
	if got := o.sshWith(t, second, "id -un").stdout; strings.TrimSpace(got) != o.name {
		t.Errorf("through both hops with the second key: %q", got)
	}
	if r := o.do(t, "key", "add", o.name, second.file+".pub"); !strings.Contains(r.stderr, "already") {
		t.Errorf("the second key again: %q", r.stderr)
	}

	// What the owner writes into the guest's file is theirs.
	o.sh(t, "echo '"+own.public+"' >>.ssh/authorized_keys && echo '# mine' >>.ssh/authorized_keys")
	o.do(t, "key", "rm", o.name, first.fingerprint())
	want("once it is removed", first, false, false)
	want("the owner's own", own, false, true)
	o.refused(t, []string{"last key"}, "key", "rm", o.name, second.fingerprint())
	want("the last, which stays", second, true, true)

	boot := o.bootedWith(t, second)
	o.do(t, "stop", o.name)
	o.do(t, "key", "add", o.name, third.file+".pub")
	want("added to a stopped container", third, true, false)
	o.do(t, "key", "rm", o.name, second.fingerprint())
	want("removed from a stopped container", second, false, false)
	o.do(t, "start", o.name)
	o.key = third
	o.ready(t, boot)
	want("after the start, the added", third, true, true)
	want("after the start, the removed", second, false, false)
	want("after the start, the owner's own", own, false, true)
	if got := o.sh(t, "grep -c '^# mine$' .ssh/authorized_keys"); got != "1" {
		t.Errorf("the owner's line is there %s times", got)
	}
}

func (o *owner) bootedWith(t *testing.T, key keyPair) string {
	t.Helper()
	r := o.sshWith(t, key, bootOf)
	if r.code != 0 {
		t.Fatalf("ssh: %+v", r)
	}
	return strings.TrimSpace(r.stdout)
}

// What "info" says of the SSH host key is what sshd has, where nobody waited for
// it at the create, and after its owner made another.
func TestHostKeyIsKnown(t *testing.T) {
	t.Parallel()
	o := newOwner(t, "hostkey")
	o.create(t, "--no-wait")
	waitFor(t, "the host key to be learnt", func() bool {
		return o.info(t, o.name).GetNetwork().GetSshHostKey() != ""
	})
	o.container = o.info(t, o.name)
	const inside = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2"
	first := o.container.GetNetwork().GetSshHostKeyFingerprint()
	if got := o.sh(t, inside); got != first {
		t.Errorf("info says %s, the container has %s", first, got)
	}
	second := o.sh(t, "sudo rm /etc/ssh/ssh_host_* && sudo ssh-keygen -A >/dev/null && "+inside)
	if second == first {
		t.Fatal("the host key is still the first")
	}
	o.do(t, "restart", o.name, "--force")
	waitFor(t, "the other host key to be learnt", func() bool {
		return o.info(t, o.name).GetNetwork().GetSshHostKeyFingerprint() == second
	})
	o.container = o.info(t, o.name)
	if got := o.sh(t, inside); got != second {
		t.Errorf("info says %s, the container has %s", second, got)
	}
}
