//go:build e2e

package e2e_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	incus "github.com/lxc/incus/v6/client"
)

const bootstrap = "../cloud/bootstrap.sh"

// newBareMachine boots a machine that has nothing of ours, and that can have an Incus
// and containers of its own.
func newBareMachine(t *testing.T, name string) *machine {
	t.Helper()
	m := &machine{site: theSite(t), name: prefix + name, pki: filepath.Join(t.TempDir(), "pki")}
	m.launch(t, m.name, map[string]string{"security.nesting": "true"})
	m.comesUp(t)
	m.canNest(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log:\n%s", m.exec(t, "tail", "-n", "50", "/var/log/containarium-bootstrap.log").stdout)
		}
	})
	return m
}

// canNest gives the machine what its containers need and a real host has: ids that
// are a part of its own, and each cgroup controller mounted, where systemd mounts
// none that this host keeps apart from its usual companion.
func (m *machine) canNest(t *testing.T) {
	t.Helper()
	m.must(t, "sh", "-c", `for file in /etc/subuid /etc/subgid; do echo root:1000000:65536000 >$file; done
mount -o remount,rw /sys/fs/cgroup
cut -d: -f2 /proc/self/cgroup | sed '/^$/d; /=/d' | while read -r c; do
	mountpoint -q /sys/fs/cgroup/$c || { rm -f /sys/fs/cgroup/$c && mkdir -p /sys/fs/cgroup/$c && mount -t cgroup -o $c cgroup /sys/fs/cgroup/$c; } || exit
done`)
}

// giveImage puts the site's image into the machine's Incus, which has no image
// server to ask.
func (m *machine) giveImage(t *testing.T) {
	t.Helper()
	alias, _, err := m.incus().GetImageAlias(m.image)
	if err != nil {
		t.Fatal(err)
	}
	parts := make([]*os.File, 2)
	for i := range parts {
		if parts[i], err = os.Create(filepath.Join(t.TempDir(), "part")); err != nil {
			t.Fatal(err)
		}
		defer parts[i].Close() //nolint:errcheck // only for this test
	}
	if _, err := m.incus().GetImageFile(alias.Target, incus.ImageFileRequest{MetaFile: parts[0], RootfsFile: parts[1]}); err != nil {
		t.Fatal(err)
	}
	m.copy(t, "/root/image", 0o600, parts[0].Name())
	m.copy(t, "/root/image.root", 0o600, parts[1].Name())
	m.must(t, "incus", "image", "import", "/root/image", "/root/image.root", "--alias", m.image)
}

// serveFrom serves the machine what a cloud does, at an address of this host's.
func (m *machine) serveFrom(t *testing.T, handler http.Handler) (hostPort string) {
	t.Helper()
	gateway := strings.Fields(m.must(t, "ip", "-4", "route", "show", "default"))[2]
	listener, err := net.Listen("tcp", net.JoinHostPort(gateway, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return listener.Addr().String()
}

// takeAdmin takes the administrator's certificate out of the machine, as its
// administrator does.
func (m *machine) takeAdmin(t *testing.T) {
	t.Helper()
	dir := filepath.Join("issued", admin)
	if err := os.MkdirAll(filepath.Join(m.pki, dir), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"tls.crt", "tls.key", "ca.crt"} {
		data := m.must(t, "cat", filepath.Join("/etc/containarium/pki", dir, file))
		if err := os.WriteFile(filepath.Join(m.pki, dir, file), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// all is everything on the machine that a bootstrap makes.
func (m *machine) all(t *testing.T) string {
	t.Helper()
	return m.must(t, "sh", "-c", `find /etc /usr /root/.config /var/lib/containarium-bootstrap /var/log/containarium-bootstrap.log -printf '%p %T@ %s\n' | sort
dpkg-query -W
for what in storage network profile 'network acl'; do incus $what list; done
systemctl show -P MainPID incus.service containarium.service ssh.service`)
}

// From a bare Debian to a daemon that answers, a container in it and a user in that,
// by the script alone. It is told what to do as Google's Compute Engine does, and
// first has to stop at each mistake.
func TestBootstrap(t *testing.T) {
	t.Parallel()
	m := newBareMachine(t, "bootstrap")
	deb, err := os.ReadFile(buildPackage(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	metadata := map[string]string{
		"containarium-preseed": "name = \"jump-9\"\nsan = [\"jump-9.example.org\"]\nadmin = \"" + admin + "\"\n",
	}
	cloud := m.serveFrom(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, ok := metadata[strings.TrimPrefix(r.URL.Path, "/computeMetadata/v1/instance/attributes/")]
		switch {
		case r.URL.Path == "/containarium.deb":
			_, _ = w.Write(deb)
		case r.Header.Get("Metadata-Flavor") != "Google":
			w.WriteHeader(http.StatusForbidden)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = io.WriteString(w, value)
		}
	}))
	metadata["containarium-package"] = "http://" + cloud + "/containarium.deb"
	m.copy(t, "/root/bootstrap.sh", 0o755, bootstrap)
	start := func() result { return m.exec(t, "env", "-i", "GCE_METADATA_HOST="+cloud, "/root/bootstrap.sh") }
	stops := func(step, why string) {
		t.Helper()
		r := start()
		if want := "bootstrap: " + step + " failed: "; r.code != 1 || !strings.Contains(r.stderr, want) || !strings.Contains(r.stderr, why) ||
			!strings.HasSuffix(r.stderr, "run this again: it goes on from there\n") {
			t.Fatalf("exit code %d, want 1 and %q of %q: %s%s", r.code, step, why, r.stdout, r.stderr)
		}
	}

	stops("settings", "PACKAGE_SHA256")
	metadata["containarium-package-sha256"] = strings.Repeat("0", 64)
	// As a boot's own apt may have the lists.
	m.must(t, "sh", "-c", `mkdir -p /var/lib/apt/lists
perl -e 'use Fcntl; open F, ">/var/lib/apt/lists/lock" or die; my $l = pack("s s l! l! i x4", F_WRLCK, 0, 0, 0, 0); fcntl(F, F_SETLK, $l) or die; sleep 10' >/dev/null 2>&1 &`)
	if m.driver == "btrfs" { // then there are loop devices
		disk := m.addDisk(t, "ext4")
		metadata["containarium-data-disk"] = disk
		stops("incus", "it has ext4: nothing is formatted")
		delete(metadata, "containarium-data-disk")
		if found := m.must(t, "blkid", "-p", "-s", "TYPE", "-o", "value", disk); found != "ext4\n" {
			t.Errorf("the disk has %s after that", found)
		}
	}
	stops("containarium", "it was not installed")
	if r := m.exec(t, "dpkg-query", "-W", "containarium"); r.code == 0 {
		t.Errorf("a package with another checksum is installed: %s", r.stdout)
	}
	m.giveImage(t)
	metadata["containarium-package-sha256"] = fmt.Sprintf("%x", sha256.Sum256(deb))

	r := start()
	if want := "bootstrap: done, the daemon answers; 2 steps changed something\n"; r.code != 0 || !strings.HasSuffix(r.stdout, want) {
		t.Fatalf("exit code %d, want the end %q: %s%s", r.code, want, r.stdout, r.stderr)
	}
	m.takeAdmin(t)
	m.is(t, admin, "admin")
	m.create(t, "alice")

	// A user's container reads no metadata; what else the machine has, it reaches.
	m.must(t, "ip", "address", "add", "169.254.169.254/32", "dev", "lo")
	for address, reaches := range map[string]bool{"169.254.169.254": false, m.address: true} {
		r := m.exec(t, "incus", "exec", "alice-container", "--", "timeout", "5", "bash", "-c", "</dev/tcp/"+address+"/22")
		if (r.code == 0) != reaches {
			t.Errorf("a container reaches %s: %t, want %t: %s", address, r.code == 0, reaches, r.stderr)
		}
	}

	before := m.all(t)
	r = start()
	if want := "bootstrap: done, the daemon answers; nothing was changed\n"; r.code != 0 || !strings.HasSuffix(r.stdout, want) || r.stderr != "" {
		t.Errorf("exit code %d, want the end %q: %s%s", r.code, want, r.stdout, r.stderr)
	}
	if after := m.all(t); after != before {
		t.Errorf("a second run changed\n%s", difference(before, after))
	}
	m.is(t, admin, "admin")
}

// addDisk gives the machine a disk with a filesystem, and returns its device.
func (m *machine) addDisk(t *testing.T, filesystem string) string {
	t.Helper()
	file := filepath.Join(siteDir, m.name+".disk")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(file, nil, 0o600))
	must(os.Truncate(file, 64<<20))
	must(quiet(exec.CommandContext(t.Context(), "mkfs."+filesystem, "-q", file)))
	out, err := exec.CommandContext(t.Context(), "losetup", "--find", "--show", file).Output()
	must(err)
	loop := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		ctx, cancel := lasting(t)
		defer cancel()
		if err := sweepDisks(ctx); err != nil {
			t.Error(err)
		}
	})
	instance, etag, err := m.incus().GetInstance(m.name)
	must(err)
	const device = "/dev/containers"
	instance.Devices["containers"] = map[string]string{"type": "unix-block", "source": loop, "path": device}
	m.finish(t)(m.incus().UpdateInstance(m.name, instance.Writable(), etag))
	return device
}

// sweepDisks takes the files of the site from the loop devices, also those of a run
// that was cut off.
func sweepDisks(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").Output()
	if err != nil { // then this machine has none
		return nil //nolint:nilerr // and nothing to sweep
	}
	var errs []error
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], siteDir+"/") {
			errs = append(errs, quiet(exec.CommandContext(ctx, "losetup", "--detach", fields[0])))
		}
	}
	return errors.Join(errs...)
}

// difference has the lines that only one of two texts has.
func difference(before, after string) string {
	var lines []string
	for sign, texts := range map[string][2]string{"-": {before, after}, "+": {after, before}} {
		for line := range strings.Lines(texts[0]) {
			if !strings.Contains(texts[1], line) {
				lines = append(lines, sign+line)
			}
		}
	}
	return strings.Join(lines, "")
}
