package examples_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGo(t *testing.T) {
	s := newSite(t)
	both := []string{"-server", "jump-1,jump-2", "-key", s.key, "alice"}
	first := s.must(t, nil, example(t), both...)
	for _, server := range []string{"jump-1", "jump-2"} {
		for _, want := range []string{server + ": created alice at 127.", server + ": alice runs\n", server + ":alice CONTAINER_STATE_RUNNING 127."} {
			if !strings.Contains(first, want) {
				t.Errorf("it does not say %q", want)
			}
		}
	}
	if again := s.must(t, nil, example(t), both...); strings.Contains(again, "created") || strings.Contains(again, "started") {
		t.Error("the second run changed something")
	}

	// What stands still is started; a server that is down keeps no other from it.
	s.must(t, nil, containarium(t), "stop", "jump-2:alice", "--force")
	s.enter(t, s.admin, nobody(t), s.address("jump-2"))
	third := s.run(t, nil, example(t), both...)
	if third.code != 1 || !strings.HasPrefix(third.errs, "jump-1: Unavailable: ") || !strings.Contains(third.out, "jump-2: started alice\njump-2: alice runs\n") {
		t.Error("with jump-1 down it did not do its work on jump-2, and say so")
	}
	if r := s.run(t, nil, example(t)); r.code != 2 || !strings.HasPrefix(r.errs, "usage: ") {
		t.Error("without a user it is no usage error")
	}
}

func TestPython(t *testing.T) {
	const install = "apt-get install python3-grpcio protobuf-compiler protobuf-compiler-grpc libprotobuf-dev"
	protoc, plugin := tool(t, install, "protoc"), tool(t, install, "grpc_python_plugin")
	python := withGRPC(t, install)
	s := newSite(t)
	generated := t.TempDir()
	s.must(t, nil, "python/generate.sh", generated)
	t.Logf("made by %s and %s", protoc, plugin)
	env := []string{"PYTHONPATH=" + generated}
	call := func(address, cn string, args ...string) ran {
		t.Helper()
		files := s.admin
		if cn != "admin" {
			files = s.files(t, cn)
		}
		return s.run(t, env, python, append([]string{"python/containers.py", "--server", address, "--cert", files.Cert, "--key", files.Key, "--ca", files.CA}, args...)...)
	}
	server := s.address("jump-1")
	if r := call(server, "admin", "list"); r != (ran{}) {
		t.Errorf("of nothing: %+v", r)
	}
	create := []string{"create", "alice", "--ssh-key", s.key, "--memory", "1GiB"}
	first := call(server, "admin", create...)
	if first.code != 0 || !strings.HasPrefix(first.out, "alice running 127.") {
		t.Errorf("create: %+v", first)
	}
	for _, again := range [][]string{create, {"list"}} {
		if r := call(server, "admin", again...); r.code != 0 || r.out != first.out {
			t.Errorf("%s: %+v, want the same container", again[0], r)
		}
	}

	// A server that comes back in the middle of it: reads wait for that.
	proxy, refused := flaky(t, server, 1)
	if r := call(proxy, "admin", "list"); r.code != 0 || r.out != first.out || !strings.Contains(r.errs, "; trying again\n") || refused.Load() != 1 {
		t.Errorf("with a server that is away at first: %+v, %d connections were refused", r, refused.Load())
	}

	if r := call(server, "bob", "create", "bob"); r.code != 4 || !strings.HasPrefix(r.errs, server+": PERMISSION_DENIED: ") {
		t.Errorf("a tenant's create: %+v", r)
	}
	if r := call(server, "admin", "delete", "alice"); r.code != 1 || !strings.HasPrefix(r.errs, server+": FAILED_PRECONDITION: ") {
		t.Errorf("delete of what runs: %+v", r)
	}
	for range 2 { // gone is gone
		if r := call(server, "admin", "delete", "alice", "--force"); r != (ran{}) {
			t.Errorf("delete: %+v", r)
		}
	}
	if state := s.state(t, "jump-1", "alice"); state != "gone" {
		t.Errorf("alice's is %s", state)
	}
}

// withGRPC finds a Python that has grpcio: Debian's package is for /usr/bin/python3
// alone, which need not be the first.
func withGRPC(t *testing.T, install string) string {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import grpc, google.protobuf").Run() == nil {
			return python
		}
	}
	t.Skipf("NOT RUN: the example, which needs grpcio: %s", install)
	return ""
}

// flaky passes connections on to an address, but for the first few, which it cuts.
func flaky(t *testing.T, address string, cut int64) (proxy string, refused *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	refused = &atomic.Int64{}
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			if refused.Load() < cut {
				refused.Add(1)
				_ = from.Close()
				continue
			}
			to, err := net.Dial("tcp", address)
			if err != nil {
				_ = from.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
				go func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				}()
			}
		}
	}()
	return listener.Addr().String(), refused
}

func TestShell(t *testing.T) {
	tool(t, "apt-get install jq", "jq")
	s, env := newSite(t), withCLI(t)
	off := map[string]string{"nightly": "off"}
	s.make(t, "jump-1", "alice", off)
	s.make(t, "jump-2", "bob", off)
	s.make(t, "jump-2", "carol", nil)
	const script = "shell/stop-labelled.sh"

	// A server that does not answer keeps none of the others from it.
	s.enter(t, s.admin, nobody(t), s.address("jump-2"))
	if r := s.run(t, env, script, "nightly=off", "--all"); r.code != 3 || r.out != "jump-2:bob\n" || !strings.Contains(r.errs, "containarium: ls on jump-1: ") {
		t.Errorf("with jump-1 down: %+v", r)
	}
	s.enter(t, s.files(t, "nobody"), s.address("jump-1"), s.address("jump-2"))
	if r := s.run(t, env, script, "nightly=off"); r.code != 4 || r.out != "" {
		t.Errorf("without a role: %+v", r)
	}
	// bob may see his own alone, and so has nothing to stop here.
	s.enter(t, s.files(t, "bob"), s.address("jump-1"), s.address("jump-2"))
	if r := s.run(t, env, script, "nightly=off"); r.code != 0 || r.out != "" {
		t.Errorf("by bob: %+v", r)
	}
	s.enter(t, s.admin, s.address("jump-1"), s.address("jump-2"))
	if out := s.must(t, env, script, "nightly=off"); out != "alice\n" {
		t.Errorf("on the default server it stopped %q", out)
	}
	if out := s.must(t, env, script, "nightly=off", "--all"); out != "" {
		t.Errorf("the second time it stopped %q", out)
	}
	got := []string{s.state(t, "jump-1", "alice"), s.state(t, "jump-2", "bob"), s.state(t, "jump-2", "carol")}
	if diff := cmp.Diff([]string{"stopped", "stopped", "running"}, got); diff != "" {
		t.Errorf("alice, bob, carol (-want +got):\n%s", diff)
	}
	if r := s.run(t, env, script); r.code != 2 {
		t.Errorf("without a label: %+v", r)
	}
}

func TestGRPCurl(t *testing.T) {
	tool(t, "apt-get install jq", "jq")
	grpcurl := tool(t, "make bin/tools/grpcurl", "../../bin/tools/grpcurl", "grpcurl")
	s := newSite(t)
	calls := func(cn string) ran {
		t.Helper()
		files := s.files(t, cn)
		return s.run(t, []string{"CERT=" + files.Cert, "KEY=" + files.Key, "CA=" + files.CA, "GRPCURL=" + grpcurl}, "grpcurl/calls.sh", s.address("jump-1"), "alice", s.key)
	}
	wantLife(t, s, calls("admin"))
	// An operator may not delete, and nobody without a role may do anything.
	for cn, want := range map[string]string{"operator-1": "\nalice CONTAINER_STATE_STOPPED\n", "nobody": ""} {
		if r := calls(cn); r.code != 64+7 || !strings.HasSuffix("\n"+r.out, want) || !strings.Contains(r.errs, "PermissionDenied") {
			t.Errorf("by %s: %+v, want PermissionDenied after %q", cn, r, want)
		}
	}
	// By reflection, where the role has that.
	out := s.must(t, nil, grpcurl, "-cert", s.admin.Cert, "-key", s.admin.Key, "-cacert", s.admin.CA, s.address("jump-1"), "list")
	if !strings.Contains(out, "containarium.v1.ContainerService\n") {
		t.Error("the services are not told")
	}
}

// TestAnsibleModule runs the module as Ansible does.
func TestAnsibleModule(t *testing.T) {
	python := tool(t, "apt-get install python3", "python3")
	s, env := newSite(t), withCLI(t)
	task := func(arguments string) ran {
		t.Helper()
		file := filepath.Join(t.TempDir(), "arguments.json")
		if err := os.WriteFile(file, []byte(arguments), 0o600); err != nil {
			t.Fatal(err)
		}
		return s.run(t, env, python, "ansible/library/containarium_container.py", file)
	}
	key := fmt.Sprintf("%q", strings.Replace(aliceKey, "alice@example", "another, comment", 1))
	for _, step := range []struct{ arguments, says, state string }{
		{`"state": "absent"`, `as it should be`, "gone"},
		{`"_ansible_check_mode": true, "state": "started"`, `would be created`, "gone"},
		{`"state": "started", "cpu": 1.5, "memory": "4GiB", "labels": {"team": "web"}, "ssh_keys": ["` + aliceKey + `"], "_ansible_version": "2"`, `created`, "running"},
		{`"state": "started", "cpu": "1.50", "memory": "4096MiB", "labels": {"team": "web"}, "ssh_keys": [` + key + `]`, `as it should be`, "running"},
		{`"_ansible_check_mode": true, "state": "stopped", "memory": "2GiB", "force": "yes"`, `would be changed, stopped`, "running"},
		{`"state": "stopped", "memory": "2GiB", "labels": {"team": "db, web"}, "force": true`, `changed, stopped`, "stopped"},
		{`"state": "stopped", "memory": "2GiB", "labels": {"team": "db, web"}`, `as it should be`, "stopped"},
		{`"memory": "2GiB"`, `as it should be`, "stopped"},
		{`"memory": "none", "cpu": "none"`, `changed`, "stopped"},
		{`"memory": "none", "cpu": "none"`, `as it should be`, "stopped"},
		{`"ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPBodGwFrV3TLW8ztONLx4bBd2FZGJGVKeRHg9Zdrsru"]`, `given a key`, "stopped"},
		{`"state": "started"`, `started`, "running"},
		{`"state": "absent", "_ansible_check_mode": true`, `would be removed`, "running"},
		{`"state": "absent", "force": true`, `removed`, "gone"},
		{`"state": "stopped", "ssh_keys": [` + key + `], "force": true, "server": "jump-1"`, `created, stopped`, "stopped"},
	} {
		r := task(`{"name": "alice", ` + step.arguments + `}`)
		changed := fmt.Sprintf(`{"changed": %t, "msg": "alice: %s", `, step.says != "as it should be", step.says)
		if r.code != 0 || !strings.HasPrefix(r.out, changed) {
			t.Errorf("%s: %+v, want %s", step.arguments, r, changed)
		}
		if state := s.state(t, "jump-1", "alice"); state != step.state {
			t.Errorf("%s: it is %s, want %s", step.arguments, state, step.state)
		}
	}
	// What would be done is told with what is there.
	if r := task(`{"name": "alice", "state": "absent", "_ansible_check_mode": true}`); r.code != 0 || !strings.Contains(r.out, `"container": {"`) {
		t.Errorf("%+v", r)
	}
	// What fails changes nothing: a server that is down is no reason to say that
	// there is no container.
	s.enter(t, s.admin, s.address("jump-1"), nobody(t))
	for arguments, says := range map[string]string{
		`"name": "alice", "state": "absent", "server": "jump-2"`: `containarium: ls on jump-2: `,
		`"name": "alice", "server": "jump-9"`:                    `jump-9`,
		`"name": "alice", "memry": "4GiB"`:                       `unknown arguments: memry`,
		`"name": "alice", "image": "another"`:                    `which can not be changed: remove it first`,
		`"name": "alice", "state": "running"`:                    `must be one of present, absent, started, stopped`,
		`"name": "--all"`:                                        `must be a user name`,
		`"name": "alice", "memory": "much"`:                      `memory`,
		`"name": "alice", "program": "no-such-program"`:          `no-such-program`,
	} {
		r := task(`{` + arguments + `}`)
		if r.code != 1 || !strings.HasPrefix(r.out, `{"failed": true, "msg": "`) || !strings.Contains(r.out, says) {
			t.Errorf("%s: %+v, want %q", arguments, r, says)
		}
	}
	if state := s.state(t, "jump-1", "alice"); state != "stopped" {
		t.Errorf("it is %s after tasks that failed", state)
	}
}

// TestAnsiblePlaybook has Ansible itself run the playbook: what it would do, it
// does, once.
func TestAnsiblePlaybook(t *testing.T) {
	playbook := tool(t, "apt-get install ansible-core", "ansible-playbook")
	s, env := newSite(t), withCLI(t)
	s.make(t, "jump-1", "carol", nil)
	for _, step := range []struct {
		args        []string
		does, state string
	}{
		{[]string{"--check"}, "changed", "gone"}, {nil, "changed", "stopped"}, {nil, "ok", "stopped"},
	} {
		out := s.must(t, env, playbook, append([]string{"ansible/playbook.yml"}, step.args...)...)
		for _, user := range []string{"alice", "bob", "carol"} {
			if want := step.does + ": [localhost] => (item=" + user + ")\n"; !strings.Contains(out, want) {
				t.Errorf("%q does not say %q", step.args, want)
			}
		}
		if state := s.state(t, "jump-1", "bob"); state != step.state {
			t.Errorf("%q: bob's is %s, want %s", step.args, state, step.state)
		}
	}
	if got := []string{s.state(t, "jump-1", "alice"), s.state(t, "jump-1", "carol")}; !slices.Equal(got, []string{"running", "gone"}) {
		t.Errorf("alice's and carol's are %q", got)
	}
}
