//go:build e2e

package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// hostPages are the pages with commands for a host, in the order in which an
// administrator comes to them: each goes on where the one before ended.
var hostPages = []string{"install.md", "config.md", "ssh.md", "audit.md", "network.md", "upgrade.md"}

// hostBlock is a block of commands for a host, or what a file has for them.
var hostBlock = regexp.MustCompile("(?ms)^```(sh host|[a-z]+ [a-z0-9.-]+[.][a-z]+)\n(.*?)^```$")

// TestPages runs what the pages of contrib/doc have an administrator type on a host,
// in a machine with systemd: "sh host". TestDocs in cmd/containarium runs the rest.
func TestPages(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../doc/*.md")
	if err != nil {
		t.Fatal(err)
	}
	scripts, hosts := map[string]string{}, map[string]bool{}
	for _, page := range pages {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range hostBlock.FindAllStringSubmatch(string(data), -1) {
			text := block[2]
			if block[1] == "sh host" {
				hosts[filepath.Base(page)] = true
			} else {
				text = "cat >" + strings.Fields(block[1])[1] + " <<'END_OF_FILE'\n" + text + "END_OF_FILE\n"
			}
			scripts[filepath.Base(page)] += text
		}
	}
	m := newMachine(t, "pages")
	m.giveIncus(t)
	m.copy(t, "/root/containarium.deb", 0o644, buildPackage(t, ""))
	m.must(t, "apt-get", "update")
	for _, page := range hostPages {
		script := scripts[page]
		delete(scripts, page)
		if script == "" {
			t.Errorf("%s has no commands for a host any more", page)
			continue
		}
		m.put(t, "/root/page.sh", 0o755, []byte("set -eux -o pipefail\ncd /root\n"+script))
		// The machine's Incus has a project of its own for it.
		r := m.exec(t, "env", "HOME=/root", "INCUS_PROJECT="+m.project, "bash", "/root/page.sh")
		if r.code != 0 {
			t.Fatalf("%s: exit code %d\n%s%s", page, r.code, r.stdout, r.stderr)
		}
		t.Logf("%s:\n%s", page, strings.TrimSpace(r.stdout))
	}
	for page := range scripts {
		if hosts[page] {
			t.Errorf("%s has commands for a host, and is not in the list", page)
		}
	}
}
