package incusx_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
	"golang.org/x/crypto/ssh"

	"github.com/footprintai/containarium/incusx"
)

// life is the story of one container: each state, what can be done in it, and
// what can not.
func (s *site) life(t *testing.T) {
	ctx := bounded(t)
	user := newUser()
	key, signer := newKey(t)
	events := s.listen(t)
	limits := incusx.Limits{CPU: "1.5", Memory: "512MiB", Disk: "2GiB"}
	spec := incusx.Spec{Username: user, Limits: limits, SSHKeys: []string{key}, Labels: map[string]string{"team": "a b"}, Docker: true, AutoStart: true}

	s.create(t, spec)
	events.want(t, user, api.EventLifecycleInstanceCreated)
	s.created(t, spec)
	image, err := s.client.FindImage(ctx, s.image)
	must(t, "find the image", err)
	_, err = s.client.Init(ctx, spec, image, nil)
	wantErr(t, "create again", err, incusx.ErrExists)

	wantErr(t, "stop what is stopped", s.client.Stop(ctx, user, false, time.Second), incusx.ErrStopped)
	wantErr(t, "stop by force what is stopped", s.client.Stop(ctx, user, true, 0), incusx.ErrStopped)
	_, err = s.client.EnsureAccount(ctx, user, spec.SSHKeys)
	wantErr(t, "exec in what is stopped", err, incusx.ErrStopped)

	must(t, "start", s.client.Start(ctx, user))
	events.want(t, user, api.EventLifecycleInstanceStarted)
	wantErr(t, "start what runs", s.client.Start(ctx, user), incusx.ErrRunning)
	wantErr(t, "delete what runs", s.wait(s.raw.DeleteInstance(incusx.InstanceName(user))), incusx.ErrRunning)

	s.home(t, user)
	s.accounts(t, user, key)
	s.account(t, user, key)
	address, err := s.client.WaitAddress(ctx, user, "")
	must(t, "wait for the address", err)
	hostKey, err := s.client.WaitSSH(ctx, address, user, []string{key})
	must(t, "wait for sshd", err)
	s.wrongKey(t, address, user)
	connection := s.login(t, address, user, signer)

	container, err := s.client.Finish(ctx, user, incusx.Result{Address: address, HostKey: hostKey})
	must(t, "finish", err)
	events.want(t, user, api.EventLifecycleInstanceUpdated)
	if container.State != incusx.StateRunning || container.Address != address || container.HostKey != hostKey || !container.KeysInGuest {
		t.Errorf("finish returned %+v", container)
	}
	// The address is pinned under a running guest: its connections are to survive.
	if got := runSSH(t, connection, "id -un"); got != user {
		t.Errorf("id -un over SSH after the pin: got %q, want %q", got, user)
	}
	s.exec(t, user)
	s.used(t, user)

	must(t, "stop", s.client.Stop(ctx, user, false, 30*time.Second))
	events.want(t, user, api.EventLifecycleInstanceShutdown)
	s.state(t, user, incusx.StateStopped)
	must(t, "start again", s.client.Start(ctx, user))
	again, err := s.client.WaitAddress(ctx, user, "")
	must(t, "wait for the address again", err)
	if again != address {
		t.Errorf("address after a restart: got %s, want %s", again, address)
	}
	sameKey, err := s.client.WaitSSH(ctx, again, user, []string{key})
	must(t, "wait for sshd again", err)
	if sameKey != hostKey {
		t.Errorf("host key after a restart: got %s, want %s", sameKey, hostKey)
	}

	must(t, "remove what runs", s.client.Remove(ctx, user))
	events.want(t, user, api.EventLifecycleInstanceStopped)
	events.want(t, user, api.EventLifecycleInstanceDeleted)
	_, err = s.client.Get(ctx, user)
	wantErr(t, "get what was removed", err, incusx.ErrNotFound)
}

// created looks at a container that was made and not yet started.
func (s *site) created(t *testing.T, spec incusx.Spec) {
	t.Helper()
	ctx := bounded(t)
	containers, err := s.client.List(ctx)
	must(t, "list", err)
	got, err := s.client.Get(ctx, spec.Username)
	must(t, "get", err)
	listed := incusx.Container{}
	for _, container := range containers {
		if container.Username == spec.Username {
			listed = container
		}
	}
	if diff := cmp.Diff(got, listed); diff != "" {
		t.Errorf("list and get differ (-get +list):\n%s", diff)
	}
	if age := time.Since(got.CreatedAt); age < 0 || age > time.Minute {
		t.Errorf("created at %s, %s ago", got.CreatedAt, age)
	}
	if got.MAC == "" || got.Network == "" || got.ImageFingerprint == "" {
		t.Errorf("MAC %q, network %q, fingerprint %q: want all", got.MAC, got.Network, got.ImageFingerprint)
	}
	want := incusx.Container{
		Name: incusx.InstanceName(spec.Username), Username: spec.Username, State: incusx.StateCreating, Limits: spec.Limits,
		DiskEnforced: got.DiskEnforced, SSHKeys: spec.SSHKeys, MAC: got.MAC, Interface: "eth0", Network: got.Network,
		CreatedAt: got.CreatedAt, Labels: spec.Labels, Image: s.image, ImageFingerprint: got.ImageFingerprint, Docker: true, AutoStart: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("container (-want +got):\n%s", diff)
	}
	instance, _, err := s.raw.GetInstance(got.Name)
	must(t, "get the instance", err)
	config := map[string]string{}
	for _, key := range []string{"limits.cpu", "limits.cpu.allowance", "limits.memory", "boot.autostart", "security.nesting", "security.privileged"} {
		config[key] = instance.ExpandedConfig[key]
	}
	if diff := cmp.Diff(map[string]string{
		"limits.cpu": "2", "limits.cpu.allowance": "150ms/100ms", "limits.memory": "512MiB",
		"boot.autostart": "true", "security.nesting": "true", "security.privileged": "",
	}, config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if instance.Project != s.project || instance.StatusCode != api.Stopped {
		t.Errorf("project %q, status %s", instance.Project, instance.Status)
	}
	elsewhere := s.raw.UseProject("default")
	if s.project != "default" {
		_, _, err := elsewhere.GetInstance(got.Name)
		wantErr(t, "get from another project", incusx.Classify("", err), incusx.ErrNotFound)
	}
}

// account: the script may run any number of times, and keeps what others wrote.
func (s *site) account(t *testing.T, user, key string) {
	t.Helper()
	ctx := bounded(t)
	name := incusx.InstanceName(user)
	path := "/home/" + user + "/.ssh/authorized_keys"
	foreign, _ := newKey(t)
	for range 2 {
		docker, err := s.client.EnsureAccount(ctx, user, []string{key})
		must(t, "ensure the account", err)
		if docker {
			t.Error("the image has a Docker engine; the suite wants one without")
		}
	}
	// Somebody adds a line and leaves it open at the end.
	must(t, "append to authorized_keys", s.raw.CreateInstanceFile(name, path, incus.InstanceFileArgs{
		Content: strings.NewReader(foreign), UID: -1, GID: -1, Mode: -1, WriteMode: "append",
	}))
	for range 2 {
		_, err := s.client.EnsureAccount(ctx, user, []string{key})
		must(t, "ensure the account again", err)
	}
	body, meta, err := s.raw.GetInstanceFile(name, path)
	must(t, "read authorized_keys", err)
	content, err := io.ReadAll(body)
	must(t, "read authorized_keys", err)
	_ = body.Close()
	want := foreign + "\n# BEGIN containarium\n" + key + "\n# END containarium\n"
	if diff := cmp.Diff(want, string(content)); diff != "" {
		t.Errorf("authorized_keys (-want +got):\n%s", diff)
	}
	if meta.Mode != 0o600 {
		t.Errorf("mode of authorized_keys: got %o, want 600", meta.Mode)
	}
}

// wrongKey: sshd does not take a key that nobody put there.
func (s *site) wrongKey(t *testing.T, address, user string) {
	t.Helper()
	wrong, _ := newKey(t)
	ctx, cancel := context.WithTimeout(bounded(t), 3*time.Second)
	defer cancel()
	_, err := s.client.WaitSSH(ctx, address, user, []string{wrong})
	wantErr(t, "wait with a wrong key", err, context.DeadlineExceeded)
	if err != nil && !strings.Contains(err.Error(), "does not accept the owner's key") {
		t.Errorf("wait with a wrong key: %v", err)
	}
}

func (s *site) login(t *testing.T, address, user string, signer ssh.Signer) *ssh.Client {
	t.Helper()
	client, err := ssh.Dial("tcp", fmt.Sprintf("%s:%d", address, s.client.SSHPort()), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), //nolint:gosec // WaitSSH learns it
		Timeout:         10 * time.Second,
	})
	must(t, "log in", err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func runSSH(t *testing.T, client *ssh.Client, command string) string {
	t.Helper()
	session, err := client.NewSession()
	must(t, "open a session", err)
	defer func() { _ = session.Close() }()
	out, err := session.Output(command)
	must(t, command, err)
	return strings.TrimSpace(string(out))
}

// home leaves what a script leaves that was cut off: a home that is root's.
// The login of life shows that it becomes the user's.
func (s *site) home(t *testing.T, user string) {
	t.Helper()
	must(t, "make the home", s.raw.CreateInstanceFile(incusx.InstanceName(user), "/home/"+user, incus.InstanceFileArgs{
		Type: "directory", Mode: 0o700,
	}))
}

// accounts: two at once, as where Incus lost sight of the first.
func (s *site) accounts(t *testing.T, user, key string) {
	t.Helper()
	ended := make(chan error)
	for range 2 {
		go func() { _, err := s.client.EnsureAccount(bounded(t), user, []string{key}); ended <- err }()
	}
	for range 2 {
		must(t, "ensure the account twice at once", <-ended)
	}
}

// exec: codes and streams come whole, and a command ends with its context.
func (s *site) exec(t *testing.T, user string) {
	t.Helper()
	big := strings.Repeat("0123456789abcdef", incusx.OutputMost/16)
	for _, c := range []struct {
		name, stdin    string
		argv           []string
		code           int
		stdout, stderr string
	}{
		{name: "true", argv: []string{"true"}},
		{name: "code", argv: []string{"sh", "-c", "exit 7"}, code: 7},
		{name: "streams", argv: []string{"sh", "-c", "echo out; echo err >&2; exit 3"}, code: 3, stdout: "out\n", stderr: "err"},
		{name: "stdin", argv: []string{"cat"}, stdin: "in\n", stdout: "in\n"},
		{name: "much", argv: []string{"cat"}, stdin: big, stdout: big},
		{name: "too much", argv: []string{"cat"}, stdin: big + "more", stdout: big},
		{name: "root", argv: []string{"id", "-un"}, stdout: "root\n"},
	} {
		code, stdout, stderr, err := s.client.Exec(bounded(t), user, c.argv, c.stdin)
		if err != nil || code != c.code || stdout != c.stdout || stderr != c.stderr {
			t.Errorf("%s: got code %d, %d bytes of stdout, stderr %q, error %v", c.name, code, len(stdout), stderr, err)
		}
	}
	for _, argv := range [][]string{{"containarium-no-such-command"}, {"sh", "-c", "containarium-no-such-command"}} {
		_, _, _, err := s.client.Exec(bounded(t), user, argv, "")
		if err == nil || !strings.Contains(err.Error(), "Command not found") {
			t.Errorf("%q: got error %v, want one that says that there is no such command", argv, err)
		}
	}
	ctx, cancel := context.WithTimeout(bounded(t), 500*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, _, _, err := s.client.Exec(ctx, user, []string{"sleep", "60"}, "")
	wantErr(t, "a command that outlives its context", err, context.DeadlineExceeded)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a command that outlives its context: took %s", took)
	}
}

func (s *site) state(t *testing.T, user string, want incusx.State) {
	t.Helper()
	container, err := s.client.Get(bounded(t), user)
	must(t, "get", err)
	if container.State != want {
		t.Errorf("state: got %s, want %s", container.State, want)
	}
	usage, err := s.client.Usage(bounded(t), user)
	must(t, "usage", err)
	if want == incusx.StateStopped && (usage.CPUNanoseconds != nil || usage.MemoryBytes != nil) {
		t.Errorf("usage of a stopped container: %+v, want none", usage)
	}
}

// listening is an event stream's lifecycle events so far.
type listening struct{ seen chan api.EventLifecycle }

func (s *site) listen(t *testing.T) *listening {
	t.Helper()
	stream, err := s.connect(t, false).GetEventsByType([]string{api.EventTypeLifecycle})
	must(t, "listen to events", err)
	t.Cleanup(stream.Disconnect)
	l := &listening{seen: make(chan api.EventLifecycle, 1000)}
	_, err = stream.AddHandler(nil, func(event api.Event) {
		var lifecycle api.EventLifecycle
		if json.Unmarshal(event.Metadata, &lifecycle) == nil {
			l.seen <- lifecycle
		}
	})
	must(t, "listen to events", err)
	return l
}

// want waits for an event about a user's container.
func (l *listening) want(t *testing.T, user, action string) {
	t.Helper()
	ctx := bounded(t)
	for {
		select {
		case event := <-l.seen:
			if event.Name == incusx.InstanceName(user) && event.Action == action {
				return
			}
		case <-ctx.Done():
			t.Fatalf("no event %s of %s", action, user)
		}
	}
}
