package incusx_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/footprintai/containarium/incusx"
)

// refusedWait is long enough for the system to refuse a connection, also when it
// is busy.
const refusedWait = 2 * time.Second

// refused checks that sshd at address does not let user in with key: it waits
// until it was refused twice, so that once was seen by WaitSSH.
func (r *rig) refused(t *testing.T, address, user, key string) {
	t.Helper()
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	before := r.sim.KeysRefused()
	ended := make(chan error, 1)
	go func() { _, err := r.WaitSSH(ctx, address, user, []string{key}); ended <- err }()
	until(t, "two refusals", func() bool { return r.sim.KeysRefused() >= before+2 })
	cancel()
	err := <-ended
	wantErr(t, "wait", err, context.Canceled)
	wantText(t, "wait", err, "sshd does not accept the owner's key")
}

// login checks that alice gets in.
func (r *rig) login(t *testing.T, address string, signer ssh.Signer) {
	t.Helper()
	client, err := ssh.Dial("tcp", fmt.Sprintf("%s:%d", address, r.sim.SSHPort()), &ssh.ClientConfig{
		User: "alice", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), //nolint:gosec // of a simulated guest
		Timeout:         10 * time.Second,
	})
	must(t, "log in", err)
	_ = client.Close()
}

func TestWaitSSH(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key, _ := newKey(t)
	other, _ := newKey(t)
	third, _ := newKey(t)
	address := r.runAlice(t, key, other)
	for name, keys := range map[string][]string{
		"the key": {key}, "both": {key, other}, "the other one first": {other, key}, "a stranger's first": {third, key}, "without keys": nil,
	} {
		hostKey, err := r.WaitSSH(bounded(t), address, "alice", keys)
		must(t, name, err)
		parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
		must(t, name, err)
		if parsed.Type() != ssh.KeyAlgoED25519 || strings.Count(hostKey, " ") != 1 {
			t.Errorf("%s: host key %q", name, hostKey)
		}
	}
	r.refused(t, address, "alice", third) // a stranger's key
	r.refused(t, address, "bob", key)     // another user
	_, err := r.WaitSSH(bounded(t), address, "alice", []string{"garbage"})
	wantText(t, "garbage", err, "parse SSH key 1")
}

// TestWaitSSHBoots: sshd that comes up late is waited for; one that never does is
// named, and so is what it did last.
func TestWaitSSHBoots(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key, _ := newKey(t)
	address := r.runAlice(t, key)
	must(t, "stop", r.Stop(t.Context(), "alice", true, 0))
	ended := make(chan error, 1)
	go func() { _, err := r.WaitSSH(bounded(t), address, "alice", []string{key}); ended <- err }()
	must(t, "start", r.Start(t.Context(), "alice")) // the address is pinned
	must(t, "wait", <-ended)

	_, err := r.WaitSSH(within(t, refusedWait), "127.77.200.200", "alice", []string{key})
	wantErr(t, "nobody there", err, context.DeadlineExceeded)
	wantText(t, "nobody there", err, "connection refused")
}

// TestWaitSSHSilent: what takes connections and says nothing is no sshd.
func TestWaitSSHSilent(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, "listen", err)
	t.Cleanup(func() { _ = listener.Close() })
	_, text, err := net.SplitHostPort(listener.Addr().String())
	must(t, "listen", err)
	port, err := strconv.Atoi(text)
	must(t, "listen", err)
	client := incusx.New(incusx.Config{SSHPort: port})
	began := time.Now()
	_, err = client.WaitSSH(within(t, 50*time.Millisecond), "127.0.0.1", "alice", nil)
	wantErr(t, "silent", err, context.DeadlineExceeded)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

// TestWaitSSHLast: the error says what sshd did last, not that the wait's own end
// cut the last attempt off.
func TestWaitSSHLast(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, "listen", err)
	t.Cleanup(func() { _ = listener.Close() })
	_, text, err := net.SplitHostPort(listener.Addr().String())
	must(t, "listen", err)
	port, err := strconv.Atoi(text)
	must(t, "listen", err)
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := incusx.New(incusx.Config{SSHPort: port}).WaitSSH(ctx, "127.0.0.1", "alice", nil)
		ended <- err
	}()
	first, err := listener.Accept()
	must(t, "accept", err)
	_, err = first.Write([]byte("HTTP/1.0 400 wrong door\r\n\r\n"))
	must(t, "write", err)
	_ = first.Close()
	second, err := listener.Accept()
	must(t, "accept", err)
	defer func() { _ = second.Close() }()
	cancel()
	err = <-ended
	wantErr(t, "wait", err, context.Canceled)
	for _, own := range []string{"closed network connection", "operation was canceled"} {
		if err != nil && strings.Contains(err.Error(), own) {
			t.Errorf("the error says nothing of sshd: %v", err)
		}
	}
}

// lateContext has reached its deadline by the clock and does not know it yet, as
// on a machine whose timers are late; it ends some looks at the deadline later.
type lateContext struct {
	context.Context
	looks atomic.Int32
	end   context.CancelFunc
}

func (c *lateContext) Deadline() (time.Time, bool) {
	switch looks := c.looks.Add(1); {
	case looks < 3: // the first attempt looks twice
		return time.Now().Add(time.Minute), true
	case looks > 20:
		c.end()
	}
	return time.Now().Add(-time.Millisecond), true
}

// TestWaitSSHLate: nor does an attempt that the deadline ended before its timer.
func TestWaitSSHLate(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	late := &lateContext{Context: ctx, end: cancel}
	// Nobody listens at port 1.
	_, err := incusx.New(incusx.Config{SSHPort: 1}).WaitSSH(late, "127.77.200.201", "alice", nil)
	wantText(t, "wait", err, "connection refused")
}

// TestNoSSHD: an address without sshd.
func TestNoSSHD(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.init(t, incusx.Spec{Username: "alice", Image: "nosshd"})
	must(t, "start", r.Start(t.Context(), "alice"))
	address, err := r.WaitAddress(bounded(t), "alice", "")
	must(t, "wait for the address", err)
	_, err = r.WaitSSH(within(t, refusedWait), address, "alice", nil)
	wantText(t, "wait", err, "connection refused")
}
