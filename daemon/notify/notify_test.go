package notify_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/daemon/notify"
)

// patience bounds every wait for a message.
const patience = 30 * time.Second

// systemd listens as systemd does, and returns what it hears, message by message.
func systemd(t *testing.T, address string) (next func() string) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", address)
	return func() string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 4096)
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}
}

func newNotifier(t *testing.T) *notify.Notifier {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	n, err := notify.FromEnvironment(log)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMessages(t *testing.T) {
	addresses := map[string]string{"a path": filepath.Join(t.TempDir(), "notify")}
	if runtime.GOOS == "linux" {
		addresses["an abstract socket"] = "@containarium-notify-test-" + strconv.Itoa(os.Getpid())
	}
	for name, address := range addresses {
		t.Run(name, func(t *testing.T) {
			next := systemd(t, address)
			n := newNotifier(t)
			n.Ready("serving")
			n.Status("one\nREADY=1 more")
			n.Stopping("draining")
			got := []string{next(), next(), next()}
			// What an error quotes is no message of ours.
			want := []string{"READY=1\nSTATUS=serving", "STATUS=one READY=1 more", "STOPPING=1\nSTATUS=draining"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("systemd heard (-want +got):\n%s", diff)
			}
			n.Reloading()
			if got := next(); !regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]+$`).MatchString(got) {
				t.Errorf("a reload begins with %q", got)
			}
			// What the daemon starts does not speak for it.
			for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
				if value, there := os.LookupEnv(name); there {
					t.Errorf("%s=%s is left for programs that are started", name, value)
				}
			}
		})
	}
}

// Nobody is told where nobody listens: it is no reason to fail.
func TestWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	n := newNotifier(t)
	n.Ready("serving")
	n.Reloading()
	n.Stopping("draining")
	n.Watch(t.Context(), func(context.Context) error { return errors.New("asked whether it is alive") })

	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	n = newNotifier(t)
	n.Ready("serving")
}

// Of what can not be followed the start fails: systemd would wait for the daemon in
// vain, or kill it, and nobody would know why.
func TestBadEnvironment(t *testing.T) {
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	for name, set := range map[string][2]string{
		"a socket without a path": {"notify", "1000"},
		"a socket of vsock":       {"vsock:2:1234", "1000"},
		"no number":               {"/run/notify", "often"},
		"a negative time":         {"/run/notify", "-1"},
		"no time":                 {"/run/notify", "0"},
		"a time beyond all":       {"/run/notify", "9223372036854775807"},
	} {
		t.Setenv("NOTIFY_SOCKET", set[0])
		t.Setenv("WATCHDOG_USEC", set[1])
		if n, err := notify.FromEnvironment(quiet); err == nil {
			t.Errorf("%s: %v, want an error", name, n)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q is more than a line", name, err)
		}
	}
}

// It says that it is alive only while those who do the work answer.
func TestWatch(t *testing.T) {
	next := systemd(t, filepath.Join(t.TempDir(), "notify"))
	t.Setenv("WATCHDOG_USEC", "2000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	n := newNotifier(t)
	ctx, cancel := context.WithCancel(t.Context())
	answers := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.Watch(ctx, func(ctx context.Context) error {
			select {
			case <-answers:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	for range 3 {
		answers <- struct{}{}
		if got := next(); got != "WATCHDOG=1" {
			t.Errorf("systemd heard %q", got)
		}
	}
	// No answer any more: what comes next is not from the watchdog.
	n.Status("hangs")
	if got := next(); got != "STATUS=hangs" {
		t.Errorf("without an answer systemd heard %q", got)
	}
	cancel()
	<-ended
}

// A watchdog that is for another process, as one that started this, is not ours.
func TestWatchOfAnother(t *testing.T) {
	systemd(t, filepath.Join(t.TempDir(), "notify"))
	t.Setenv("WATCHDOG_USEC", "2000")
	t.Setenv("WATCHDOG_PID", "1")
	newNotifier(t).Watch(t.Context(), func(context.Context) error {
		t.Error("asked whether it is alive")
		return context.Canceled
	})
}
