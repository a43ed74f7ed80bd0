//go:build e2e

package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lxc/incus/v6/shared/api"
)

// What "systemd-analyze security" says of our units at most, of 10: more is a
// sandbox that somebody opened. The daemon makes accounts, as root.
const (
	maxExposure      = 3.1
	maxExposureRenew = 2.2
	// soon is how long a daemon that ended may be away; a quiet machine needs two
	// seconds.
	soon = 20 * time.Second
)

// A host that has our package and was made a jump server: it boots, serves, and
// comes back whatever ended it.
func TestBootedHost(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "boot")
	m.giveIncus(t)
	m.install(t, buildPackage(t, ""))
	m.certify(t, m.incusConfig())
	m.copy(t, "/etc/ssh/sshd_config.d/containarium.conf", 0o644, "../sshd/containarium.conf")
	m.must(t, "systemctl", "reload", "ssh")
	m.must(t, "systemctl", "enable", "--now", unitName, renewTimer)
	if r := m.whoami(t, admin); r.code != 0 {
		t.Fatalf("once systemd has started it: %s", r.stderr)
	}
	t.Run("sandboxed", m.testSandbox)
	t.Run("accounts are made from inside the sandbox", m.testAccounts)
	t.Run("a certificate that is renewed", m.testRenewal)
	t.Run("killed", func(t *testing.T) {
		took := m.comesBack(t, "signal", func(pid string) { m.must(t, "kill", "-KILL", pid) })
		t.Logf("back %s after SIGKILL", took.Round(10*time.Millisecond))
		if got := m.unit(t, "StartLimitIntervalUSec"); got != "0" {
			t.Errorf("StartLimitIntervalUSec = %s: killed often enough it would stay away", got)
		}
	})
	t.Run("hanging", m.testWatchdog)
	t.Run("booted anew", m.testReboot)
}

// incusConfig is a configuration for the machine's Incus, and otherwise all defaults.
func (m *machine) incusConfig() string { return fmt.Sprintf("[incus]\nproject = %q\n", m.project) }

func (m *machine) testSandbox(t *testing.T) {
	for unit, most := range map[string]float64{unitName: maxExposure, renewService: maxExposureRenew} {
		out := m.must(t, "systemd-analyze", "security", "--no-pager", unit)
		found := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("systemd-analyze says %s", out)
		}
		t.Log(found[0])
		if exposure, err := strconv.ParseFloat(found[1], 64); err != nil || exposure > most {
			t.Errorf("%s is exposed by %s, want at most %.1f:\n%s", unit, found[1], most, out)
		}
	}
	// From inside, as the daemon sees it.
	pid := m.unit(t, "MainPID")
	for path, writable := range map[string]bool{"/etc": true, "/home": true, "/usr": false, "/root": false, "/etc/systemd": false, "/etc/ssh": false, "/var/lib": false} {
		r := m.exec(t, "nsenter", "-t", pid, "-m", "--", "sh", "-c", "touch "+path+"/probe && rm "+path+"/probe")
		if (r.code == 0) != writable {
			t.Errorf("the daemon can write %s: %t, want %t: %s", path, r.code == 0, writable, r.stderr)
		}
	}
}

// create makes a container for a user, who then logs in through the machine.
func (m *machine) create(t *testing.T, username string) keyPair {
	t.Helper()
	key := newKey(t, username)
	if r := m.as(t, admin, "create", username, "--ssh-key", key.file+".pub"); r.code != 0 {
		t.Fatalf("create: %s", r.stderr)
	}
	m.logsIn(t, username, key)
	return key
}

func (m *machine) logsIn(t *testing.T, username string, key keyPair) {
	t.Helper()
	r := m.as(t, admin, "ssh", username, "-i", key.file, "--", "id", "-un;", "hostname")
	if want := username + "\n" + username + "-container\n"; r.stdout != want {
		t.Errorf("%s through the jump host: %+v, want %q", username, r, want)
	}
}

func (m *machine) testAccounts(t *testing.T) {
	key := m.create(t, "alice")
	fields := strings.Split(strings.TrimSpace(m.must(t, "getent", "passwd", "alice")), ":")
	if len(fields) != 7 || fields[5] != "/home/alice" || fields[6] != "/usr/sbin/nologin" {
		t.Errorf("the account is %q", fields)
	}
	if got := m.must(t, "id", "-gn", "alice"); got != "containarium\n" {
		t.Errorf("its group is %s", got)
	}
	for path, want := range map[string]string{"/home/alice": "755 root", "/home/alice/.ssh/authorized_keys": "644 root", "/etc/passwd": "644 root", "/etc/shadow": "640 root"} {
		if got := strings.TrimSpace(m.must(t, "stat", "-c", "%a %U", path)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if keys := m.must(t, "cat", "/home/alice/.ssh/authorized_keys"); !strings.HasPrefix(keys, "restrict,") || !strings.Contains(keys, key.public) {
		t.Errorf("the keys are %s", keys)
	}
	second := newKey(t, "second")
	if r := m.as(t, admin, "key", "add", "alice", second.file+".pub"); r.code != 0 {
		t.Errorf("key add: %s", r.stderr)
	}
	m.logsIn(t, "alice", second)

	// Another one goes, and their session with them.
	bob := m.create(t, "bob")
	session := m.background(t, admin, "ssh", "bob", "-i", bob.file, "--", "sleep", "infinity")
	uid := strings.TrimSpace(m.must(t, "id", "-u", "bob"))
	waitFor(t, "bob's session", func() bool { return m.exec(t, "pgrep", "-u", uid).code == 0 })
	if r := m.as(t, admin, "rm", "bob", "--force"); r.code != 0 {
		t.Errorf("rm: %s", r.stderr)
	}
	<-session
	if r := m.exec(t, "sh", "-c", "getent passwd bob || pgrep -u "+uid+" || ls -d /home/bob"); r.code == 0 || r.stdout != "" {
		t.Errorf("left of bob: %s", r.stdout)
	}
}

// testRenewal has the timer's service bring the daemon a certificate that the CA, on
// the same host, has made since.
func (m *machine) testRenewal(t *testing.T) {
	archive, err := exec.CommandContext(t.Context(), "tar", "-c", "-C", m.pki, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	m.put(t, "/root/pki.tar", 0o600, archive)
	m.must(t, "mkdir", "-m", "0700", "/etc/containarium/pki")
	m.must(t, "tar", "-x", "--no-same-owner", "-C", "/etc/containarium/pki", "-f", "/root/pki.tar")
	before := m.presents(t)
	m.must(t, "systemctl", "start", renewService)
	if now := m.presents(t); now != before {
		t.Errorf("a certificate that is fresh was renewed: %s, before %s", now, before)
	}
	m.must(t, "containarium", "pki", "renew", "jump-2")
	m.must(t, "systemctl", "start", renewService)
	waitFor(t, "the daemon to take the other certificate", func() bool { return m.presents(t) != before })
}

// presents returns the serial number of the certificate that the daemon shows.
func (m *machine) presents(t *testing.T) string {
	t.Helper()
	roots, err := os.ReadFile(m.server(admin).CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}
	conn, err := dialer.DialContext(t.Context(), "tcp", m.server(admin).Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing was sent
	secured, ok := conn.(*tls.Conn)
	if !ok {
		t.Fatalf("the connection is a %T", conn)
	}
	return secured.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// comesBack ends the daemon in a way that systemd gives the name, and returns how
// long it was away.
func (m *machine) comesBack(t *testing.T, how string, end func(pid string)) time.Duration {
	t.Helper()
	pid, start := m.unit(t, "MainPID"), time.Now()
	end(pid)
	waitFor(t, "another daemon", func() bool {
		now := m.unit(t, "MainPID")
		return now != pid && now != "0" && m.unit(t, "ActiveState") == "active"
	})
	took := time.Since(start)
	if took > soon {
		t.Errorf("it was away for %s", took)
	}
	if r := m.whoami(t, admin); r.code != 0 {
		t.Errorf("once it is back: %s", r.stderr)
	}
	if log := m.must(t, "journalctl", "-q", "-b", "-u", unitName, "-o", "cat"); !strings.Contains(log, "Failed with result '"+how+"'") {
		t.Errorf("systemd does not say that it ended by %s", how)
	}
	return took
}

func (m *machine) testWatchdog(t *testing.T) {
	if got := m.unit(t, "WatchdogUSec"); got != "30s" {
		t.Errorf("the daemon is watched every %s", got)
	}
	// As shipped, but for the patience.
	m.must(t, "mkdir", "-p", "/run/systemd/system/"+unitName+".d")
	m.put(t, "/run/systemd/system/"+unitName+".d/watchdog.conf", 0o644, []byte("[Service]\nWatchdogSec=3s\n"))
	m.must(t, "systemctl", "daemon-reload")
	m.must(t, "systemctl", "restart", unitName)
	// Systemd hears of it, and lets it live.
	pid, beats := m.unit(t, "MainPID"), map[string]bool{}
	waitFor(t, "the third sign of life", func() bool {
		beats[m.unit(t, "WatchdogTimestampMonotonic")] = true
		return len(beats) > 3
	})
	if now := m.unit(t, "MainPID"); now != pid || m.unit(t, "NRestarts") != "0" {
		t.Errorf("a daemon that is alive was killed: process %s, before %s", now, pid)
	}
	took := m.comesBack(t, "watchdog", func(pid string) { m.must(t, "kill", "-STOP", pid) })
	t.Logf("back %s after it hung, with a watchdog of 3s", took.Round(10*time.Millisecond))
}

func (m *machine) testReboot(t *testing.T) {
	before := strings.TrimSpace(m.must(t, "cut", "-d ", "-f22", "/proc/1/stat"))
	m.finish(t)(m.incus().UpdateInstanceState(m.name, api.InstanceStatePut{Action: "restart", Timeout: -1}, ""))
	m.comesUp(t)
	if now := strings.TrimSpace(m.must(t, "cut", "-d ", "-f22", "/proc/1/stat")); now == before {
		t.Fatal("the machine was not booted anew")
	}
	m.is(t, admin, "admin")
	for _, unit := range []string{unitName, renewTimer} {
		if got := m.exec(t, "systemctl", "is-active", unit).stdout; got != "active\n" {
			t.Errorf("after the boot %s is %s", unit, got)
		}
	}
	if got := m.unit(t, "NRestarts"); got != "0" {
		t.Errorf("it took %s restarts", got)
	}
	// Whom it had an account for has one, and new ones are made.
	waitFor(t, "Incus to answer", func() bool { return !strings.Contains(m.unit(t, "StatusText"), "Incus") })
	if r := m.as(t, admin, "ls", "-o", "json"); !strings.Contains(r.stdout, `"alice"`) {
		t.Errorf("ls shows %s%s", r.stdout, r.stderr)
	}
	m.create(t, "carol")
}
