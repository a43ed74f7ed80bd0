//go:build e2e

package e2e_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lxc/incus/v6/shared/api"
)

// What cloud-init finds on a cloud's image, as far as a container has it: its
// settings, its data, and a network that it does not make.
var seed = map[string]string{
	"/etc/cloud/cloud.cfg.d/90-machine.cfg":   "datasource_list: [NoCloud]\nnetwork: {config: disabled}\napt: {preserve_sources_list: true}\n",
	"/var/lib/cloud/seed/nocloud/meta-data":   "instance-id: jump-9\nlocal-hostname: jump-9\n",
	"/var/lib/cloud/seed/nocloud/vendor-data": "",
}

// A new machine becomes a jump server by cloud-init, from our user-data; and a host
// from which our package was removed becomes one again by Ansible.
func TestBootstrapByCloudInit(t *testing.T) {
	t.Parallel()
	m := newBareMachine(t, "cloud")
	m.must(t, "apt-get", "update")
	m.must(t, "apt-get", "install", "-y", "--no-install-recommends", "cloud-init")
	deb := buildPackage(t, "")
	data, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	host := m.serveFrom(t, http.FileServer(http.Dir(filepath.Dir(deb))))
	preseed := filepath.Join(t.TempDir(), "jump-9.toml")
	if err := os.WriteFile(preseed, []byte("name = \"jump-9\"\nadmin = \""+admin+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	generate := exec.CommandContext(t.Context(), "../cloud/user-data.sh")
	generate.Env = append(os.Environ(), "PACKAGE=http://"+host+"/"+filepath.Base(deb), fmt.Sprintf("PACKAGE_SHA256=%x", sha256.Sum256(data)), "PRESEED="+preseed)
	userData, err := generate.Output()
	if err != nil {
		t.Fatal(err)
	}
	m.must(t, "mkdir", "-p", "/var/lib/cloud/seed/nocloud")
	m.put(t, "/var/lib/cloud/seed/nocloud/user-data", 0o600, userData)
	for path, text := range seed {
		m.put(t, path, 0o644, []byte(text))
	}
	m.must(t, "cloud-init", "schema", "--config-file", "/var/lib/cloud/seed/nocloud/user-data")

	m.finish(t)(m.incus().UpdateInstanceState(m.name, api.InstanceStatePut{Action: "restart", Force: true, Timeout: -1}, ""))
	waitFor(t, "cloud-init to start", func() bool { return m.exec(t, "test", "-e", "/run/cloud-init/status.json").code == 0 })
	if r := m.exec(t, "cloud-init", "status", "--wait", "--long"); r.code != 0 || !strings.Contains(r.stdout, "status: done\n") {
		t.Fatalf("cloud-init: exit code %d: %s%s\n%s", r.code, r.stdout, r.stderr, m.exec(t, "tail", "-n", "30", "/var/log/cloud-init-output.log").stdout)
	}
	m.comesUp(t)
	if said := m.must(t, "cat", "/var/log/cloud-init-output.log"); !strings.Contains(said, "bootstrap: done, the daemon answers; 4 steps changed something\n") {
		t.Errorf("the script says %s", said)
	}
	m.takeAdmin(t)
	m.is(t, admin, "admin")
	t.Run("Ansible", func(t *testing.T) { testAnsible(t, m, deb) })
}

// testAnsible has Ansible make the machine a jump server again.
func testAnsible(t *testing.T, m *machine, deb string) {
	m.must(t, "containarium", "init", "--undo", "--yes")
	m.must(t, "apt-get", "purge", "-y", "containarium")
	key := newKey(t, "deploy")
	m.must(t, "useradd", "--create-home", "--shell", "/bin/bash", "deploy")
	m.must(t, "mkdir", "-p", "/home/deploy/.ssh")
	m.put(t, "/home/deploy/.ssh/authorized_keys", 0o644, []byte(key.public+"\n"))
	m.put(t, "/etc/sudoers.d/deploy", 0o440, []byte("deploy ALL=(ALL) NOPASSWD: ALL\n"))

	inventory := filepath.Join(t.TempDir(), "inventory.yml")
	text := fmt.Sprintf(`jump_servers:
  hosts:
    %s:
      ansible_user: deploy
      ansible_ssh_private_key_file: %s
      ansible_python_interpreter: /usr/bin/python3
      containarium_preseed: {name: jump-9, san: [jump-9.example.org], admin: %s}
`, m.address, key.file, admin)
	if err := os.WriteFile(inventory, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	play := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "ansible-playbook", append([]string{"-i", inventory, "../cloud/ansible/playbook.yml", "-e", "containarium_package=" + deb}, args...)...)
		cmd.Env = append(os.Environ(), "ANSIBLE_HOST_KEY_CHECKING=false", "ANSIBLE_NOCOLOR=1", "ANSIBLE_HOME="+t.TempDir(), "ANSIBLE_SSH_CONTROL_PATH_DIR="+siteDir+"/ansible")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("ansible-playbook %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	changed := regexp.MustCompile(`\bchanged=([0-9]+) `)
	if out := play("--check"); len(changed.FindAllString(out, -1)) != 1 || strings.Contains(out, "changed=0") {
		t.Errorf("--check would change nothing: %s", out)
	}
	if r := m.exec(t, "sh", "-c", "command -v containarium || ls /var/lib/containarium-bootstrap/package.deb"); r.code == 0 {
		t.Errorf("--check has made %s", r.stdout)
	}
	play()
	m.takeAdmin(t)
	m.is(t, admin, "admin")
	if out := play(); !strings.Contains(out, " changed=0 ") {
		t.Errorf("a second run changes something: %s", out)
	}
}
