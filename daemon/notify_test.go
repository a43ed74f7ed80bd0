package daemon_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/daemon/notify"
)

// systemd gives the test a systemd that watches: next is the next message that is
// neither the watchdog's nor a mere status, and beats waits for the watchdog's.
func systemd(t *testing.T) (n *notify.Notifier, next func() string, beats func()) {
	t.Helper()
	address := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", address)
	t.Setenv("WATCHDOG_USEC", "20000")
	log := logrus.New()
	log.SetOutput(t.Output())
	if n, err = notify.FromEnvironment(log); err != nil {
		t.Fatal(err)
	}
	until := func(wanted func(string) bool) string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for buffer := make([]byte, 4096); ; {
			n, err := conn.Read(buffer)
			if err != nil {
				t.Fatal(err)
			}
			if message := string(buffer[:n]); wanted(message) {
				return message
			}
		}
	}
	next = func() string {
		t.Helper()
		return until(func(m string) bool { return m != "WATCHDOG=1" && !strings.HasPrefix(m, "STATUS=") })
	}
	beats = func() {
		t.Helper()
		until(func(m string) bool { return m == "WATCHDOG=1" })
	}
	return n, next, beats
}

// systemd hears of each step, and in "systemctl status" an operator reads why a
// reload came to nothing.
func TestSystemdIsTold(t *testing.T) {
	n, next, beats := systemd(t)
	d := daemontest.StartWith(t, daemontest.Options{Notify: n})
	if got, want := next(), "READY=1\nSTATUS=serving at "+d.Address+", generation 1"; !strings.HasPrefix(got, want) {
		t.Errorf("after the start: %q, want %q", got, want)
	}
	beats()
	beats()

	d.SetPolicy(t, strings.Replace(daemontest.Policy, "system.read", "system.raed", 1))
	if err := d.Reload(); err == nil {
		t.Fatal("a bad policy was loaded")
	}
	if got := next(); !strings.HasPrefix(got, "RELOADING=1\n") {
		t.Errorf("a reload begins with %q", got)
	}
	if got := next(); !strings.HasPrefix(got, "READY=1\n") || !strings.Contains(got, "generation 1") || !strings.Contains(got, "system.raed") {
		t.Errorf("a reload that failed ends with %q", got)
	}
	beats()

	d.SetPolicy(t, daemontest.Policy)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	next()
	if got := next(); !strings.HasPrefix(got, "READY=1\n") || strings.Contains(got, "not loaded") {
		t.Errorf("a reload ends with %q", got)
	}
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
	if got := next(); !strings.HasPrefix(got, "STOPPING=1\n") {
		t.Errorf("a stop begins with %q", got)
	}
}
