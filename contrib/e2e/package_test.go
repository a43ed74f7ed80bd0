//go:build e2e

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// packages are the .deb of each version that a test asked for.
var packages = struct {
	sync.Mutex
	built map[string]string
}{built: map[string]string{}}

// buildPackage builds our package as "make packages" does, of the version given or
// that of the program, and returns the .deb.
func buildPackage(t *testing.T, version string) string {
	t.Helper()
	theSite(t) // whose folder they are in
	packages.Lock()
	defer packages.Unlock()
	if deb := packages.built[version]; deb != "" {
		return deb
	}
	dir := filepath.Join(siteDir, "packages", version)
	build := exec.CommandContext(t.Context(), "../packaging/build.sh", dir)
	build.Env = append(os.Environ(), "VERSION="+version)
	for _, step := range []*exec.Cmd{exec.CommandContext(t.Context(), "make", "-C", "../..", "bin/tools/nfpm"), build} {
		if err := quiet(step); err != nil {
			t.Fatal(err)
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("there are the packages %q, %v", found, err)
	}
	packages.built[version] = found[0]
	return found[0]
}

// install installs a package as an administrator does, and returns what apt says.
func (m *machine) install(t *testing.T, deb string) string {
	t.Helper()
	m.copy(t, "/root/containarium.deb", 0o644, deb)
	return m.must(t, "apt-get", "install", "-y", "/root/containarium.deb")
}

// enabled says of our units what systemd does.
func (m *machine) enabled(t *testing.T) string {
	t.Helper()
	return strings.Join(strings.Fields(m.exec(t, "systemctl", "is-enabled", unitName, renewTimer).stdout), " ")
}

// init1 is the first process of a user's container, by its number on the site: as
// long as it is the same, the container was left alone.
func (m *machine) init1(t *testing.T, username string) int64 {
	t.Helper()
	state, _, err := m.incus().UseProject(m.project).GetInstanceState(username + "-container")
	if err != nil {
		t.Fatal(err)
	}
	return state.Pid
}

// From the first install to a purge, with a user who notices nothing of it.
func TestPackage(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "package")
	m.giveIncus(t)
	const logrotate, config = "/etc/logrotate.d/containarium", "/etc/containarium/config.toml"

	// Nothing runs, and nothing will, before the host is made a jump server.
	said := m.install(t, buildPackage(t, "0.0.0~0older"))
	if !strings.Contains(said, "containarium init") {
		t.Errorf("the install does not say what comes next: %s", said)
	}
	if got := m.enabled(t); got != "disabled disabled" {
		t.Errorf("after the install the units are %s", got)
	}
	m.must(t, "systemctl", "start", unitName, renewService)
	if state, result := m.unit(t, "ActiveState"), m.unit(t, "ConditionResult"); state != "inactive" || result != "no" {
		t.Errorf("without a configuration the daemon is %s, its condition met: %s", state, result)
	}
	m.must(t, "getent", "group", "containarium")
	for path, want := range map[string]string{"/etc/containarium": "755 root", "/var/log/containarium": "750 root", "/usr/bin/containarium": "755 root", logrotate: "644 root"} {
		if got := strings.TrimSpace(m.must(t, "stat", "-c", "%a %U", path)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}

	m.certify(t, m.incusConfig()+"# by the administrator\n")
	m.must(t, "systemctl", "enable", "--now", unitName, renewTimer)
	key := m.create(t, "dora")
	pid, container := m.unit(t, "MainPID"), m.init1(t, "dora")

	// The upgrade. What an administrator changed stays, without a question.
	m.must(t, "sed", "-i", "s/rotate 52/rotate 99/", logrotate)
	before := m.must(t, "sha256sum", logrotate, config, policyFile)
	m.install(t, buildPackage(t, ""))
	if after := m.must(t, "sha256sum", logrotate, config, policyFile); after != before {
		t.Errorf("the upgrade changed\n%sto\n%s", before, after)
	}
	if now := m.unit(t, "MainPID"); now == pid || now == "0" {
		t.Errorf("after the upgrade the daemon is process %s, before %s", now, pid)
	}
	if r := m.whoami(t, admin); r.code != 0 {
		t.Errorf("after the upgrade: %s", r.stderr)
	}
	if got := m.enabled(t); got != "enabled enabled" {
		t.Errorf("after the upgrade the units are %s", got)
	}
	program := strings.Fields(m.must(t, "containarium", "version"))[1]
	if version := m.must(t, "dpkg-query", "-W", "-f", "${Version}", "containarium"); !sameVersion(version, program) {
		t.Errorf("the package is %s, the program in it %s", version, program)
	}
	m.logsIn(t, "dora", key)
	list := filepath.Join(t.TempDir(), "containers")
	if r := m.as(t, admin, "ssh-config", "--output-file", list, "--identity", key.file); r.code != 0 {
		t.Fatal(r.stderr)
	}

	// A removal stops and disables; what the administrator wrote stays.
	m.must(t, "apt-get", "remove", "-y", "containarium")
	if r := m.exec(t, "pgrep", "-x", "containarium"); r.code == 0 {
		t.Errorf("after the removal there runs process %s", r.stdout)
	}
	if left := m.must(t, "find", "/etc/systemd/system", "/usr/bin", "/usr/lib/systemd", "-name", "containarium*"); left != "" {
		t.Errorf("after the removal there is %s", left)
	}
	if after := m.must(t, "sha256sum", logrotate, config, policyFile); after != before {
		t.Errorf("the removal changed\n%sto\n%s", before, after)
	}

	// A purge removes what init and the daemon made, but not what can not be made
	// again.
	m.must(t, "install", "-D", "-m", "0600", "/dev/null", "/etc/containarium/pki/root.key")
	m.must(t, "touch", "/etc/containarium/notes")
	said = m.must(t, "apt-get", "purge", "-y", "containarium")
	if !strings.Contains(said, "/etc/containarium/pki") {
		t.Errorf("the purge does not say that the CA is kept: %s", said)
	}
	left := strings.Fields(m.must(t, "sh", "-c", "find /etc/containarium /etc/logrotate.d/containarium* /var/log/containarium* -not -type d 2>/dev/null; true"))
	if got := strings.Join(left, " "); got != "/etc/containarium/pki/root.key /etc/containarium/notes" && got != "/etc/containarium/notes /etc/containarium/pki/root.key" {
		t.Errorf("the purge leaves %s", got)
	}
	// The user goes on: neither the container nor the way to it are the package's.
	if now := m.init1(t, "dora"); now != container {
		t.Errorf("the container was started anew: process %d, before %d", now, container)
	}
	if r := run(t, t.Context(), "", nil, "ssh", "-F", list, "-o", "BatchMode=yes", "dora", "id", "-un"); r.stdout != "dora\n" {
		t.Errorf("after the purge dora's own way leads to %+v", r)
	}
}

// sameVersion reports whether a package's version is that of the program.
func sameVersion(deb, program string) bool {
	plain := strings.NewReplacer("v", "", "~git", ".", "-", ".", "~", ".").Replace
	return plain(deb) == plain(program)
}
