//go:build e2e

package e2e_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/client"
)

// machine is a container that stands for a host with systemd, whose daemon runs as
// our unit has it.
type machine struct {
	*site
	name, address string
	pki           string // the directory of a CA of its own, out here
	project       string // where its daemon makes containers, once it has an Incus
}

const (
	unitPolicy = `[roles.admin]
allow = ["*"]
[roles.guest]
allow = ["system.read"]
[identities]
"ops-laptop" = "admin"
"thief" = "guest"
`
	unitName     = "containarium.service"
	renewService = "containarium-renew.service"
	renewTimer   = "containarium-renew.timer"
	policyFile   = "/etc/containarium/policy.toml"
)

// newMachine boots a machine, until the test ends.
func newMachine(t *testing.T, name string) *machine {
	t.Helper()
	m := &machine{site: theSite(t), name: prefix + name, pki: filepath.Join(t.TempDir(), "pki")}
	m.launch(t, m.name, nil)
	m.comesUp(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the journal:\n%s", m.exec(t, "journalctl", "--no-pager", "-u", unitName).stdout)
		}
	})
	return m
}

// comesUp waits until the machine has an address and systemd started what there is.
func (m *machine) comesUp(t *testing.T) {
	t.Helper()
	m.address = ""
	waitFor(t, "the address of "+m.name, func() bool {
		state, _, err := m.incus().GetInstanceState(m.name)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range state.Network["eth0"].Addresses {
			if a.Family == "inet" && a.Scope == "global" {
				m.address = a.Address
			}
		}
		return m.address != ""
	})
	waitFor(t, "systemd", func() bool {
		r := m.exec(t, "systemctl", "is-system-running")
		return r.stdout == "running\n" || r.stdout == "degraded\n"
	})
}

// exec runs a command in the machine.
func (m *machine) exec(t *testing.T, argv ...string) result {
	t.Helper()
	var out, errs closer
	finished := make(chan bool)
	op, err := m.incus().ExecInstance(m.name, api.InstanceExecPost{
		Command: argv, WaitForWS: true, Environment: map[string]string{"LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "cat", "DEBIAN_FRONTEND": "noninteractive"},
	}, &incus.InstanceExecArgs{Stdin: new(closer), Stdout: &out, Stderr: &errs, DataDone: finished})
	m.finish(t)(op, err)
	<-finished
	code, _ := op.Get().Metadata["return"].(float64)
	return result{out.String(), errs.String(), int(code)}
}

type closer struct{ bytes.Buffer }

func (*closer) Close() error { return nil }

// must runs a command in the machine that must succeed.
func (m *machine) must(t *testing.T, argv ...string) string {
	t.Helper()
	r := m.exec(t, argv...)
	if r.code != 0 {
		t.Fatalf("%s: exit code %d: %s%s", strings.Join(argv, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// put replaces a file of the machine, at once and as a whole.
func (m *machine) put(t *testing.T, path string, mode int, data []byte) {
	t.Helper()
	err := m.incus().CreateInstanceFile(m.name, path+".new", incus.InstanceFileArgs{Content: bytes.NewReader(data), Mode: mode, Type: "file"})
	if err != nil {
		t.Fatal(err)
	}
	m.must(t, "mv", path+".new", path)
}

// copy puts a file of this machine there.
func (m *machine) copy(t *testing.T, path string, mode int, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	m.put(t, path, mode, data)
}

// ca runs a command of the CA.
func (m *machine) ca(t *testing.T, args ...string) {
	t.Helper()
	if err := quiet(exec.CommandContext(t.Context(), m.binary, append(append([]string{"pki"}, args...), "--pki-dir", m.pki)...)); err != nil {
		t.Fatal(err)
	}
}

// server is the daemon, as a client with the name asks it.
func (m *machine) server(cn string) client.Server {
	file := func(name string) string { return filepath.Join(m.pki, "issued", cn, name) }
	return client.Server{Address: net.JoinHostPort(m.address, "50051"), Cert: file("tls.crt"), Key: file("tls.key"), CA: file("ca.crt")}
}

// as runs containarium out here, as a client with the name.
func (m *machine) as(t *testing.T, cn string, args ...string) result {
	t.Helper()
	s := m.server(cn)
	return run(t, t.Context(), "", []string{
		"CONTAINARIUM_SERVER=" + s.Address, "CONTAINARIUM_CERT=" + s.Cert, "CONTAINARIUM_KEY=" + s.Key, "CONTAINARIUM_CA=" + s.CA,
		"XDG_STATE_HOME=" + filepath.Join(filepath.Dir(m.pki), "state"),
	}, m.binary, args...)
}

// background is as without the wait; the channel is closed when it has ended.
func (m *machine) background(t *testing.T, cn string, args ...string) (ended <-chan struct{}) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.as(t, cn, args...)
	}()
	t.Cleanup(func() { <-done })
	return done
}

// whoami asks the daemon over the network.
func (m *machine) whoami(t *testing.T, cn string) result {
	t.Helper()
	return m.as(t, cn, "whoami")
}

// is waits until the daemon gives cn the role.
func (m *machine) is(t *testing.T, cn, role string) {
	t.Helper()
	want := regexp.MustCompile(`(?m)^role: +` + role + `$`)
	waitFor(t, cn+" to be "+role, func() bool { return want.MatchString(m.whoami(t, cn).stdout) })
}

// unit returns a property of the daemon's unit.
func (m *machine) unit(t *testing.T, property string) string {
	t.Helper()
	return strings.TrimSpace(m.must(t, "systemctl", "show", "-P", property, unitName))
}

// certify makes a CA, the daemon's certificate and those of clients, and puts what
// the daemon needs into the machine: with config.toml it is a jump server.
func (m *machine) certify(t *testing.T, config string) {
	t.Helper()
	m.ca(t, "init")
	m.ca(t, "issue", "jump-2", "--server", "--san", m.address)
	for _, cn := range []string{admin, "thief"} {
		m.ca(t, "issue", cn)
	}
	m.ca(t, "crl")
	m.must(t, "mkdir", "-p", "/etc/containarium/tls")
	for file, mode := range map[string]int{"tls.crt": 0o644, "tls.key": 0o600, "ca.crt": 0o644} {
		m.copy(t, "/etc/containarium/tls/"+file, mode, filepath.Join(m.pki, "issued", "jump-2", file))
	}
	m.copy(t, "/etc/containarium/tls/crl.pem", 0o644, filepath.Join(m.pki, "crl.pem"))
	m.put(t, policyFile, 0o644, []byte(unitPolicy))
	m.put(t, "/etc/containarium/config.toml", 0o644, []byte(config))
}
