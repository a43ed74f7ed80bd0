//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/footprintai/containarium/contrib/test/freeport"
)

// process is a program of the site that runs: the daemon or the sshd.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // once it ended
}

// start starts a program that says what it does in a log of the site's folder.
// It ends with the tests, however they end.
func start(log, name string, args ...string) (*process, error) {
	out, err := os.OpenFile(filepath.Join(siteDir, log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(context.Background(), name, args...), ended: make(chan struct{})}
	p.cmd.Stderr = out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The kernel sends that signal when the thread ends that started the program.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer out.Close() //nolint:errcheck // the program has it, too
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.ended)
		}
	}()
	return p, <-started
}

// listening waits until something accepts connections at the address.
func (p *process) listening(ctx context.Context, address string) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if conn, err := net.Dial("tcp", address); err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended: %w", p.cmd.Path, p.err)
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen at %s: %w", p.cmd.Path, address, ctx.Err())
		case <-ticker.C:
		}
	}
}

// end sends a signal and returns how the program ended.
func (p *process) end(signal os.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return p.err
}

// configure writes the daemon's configuration, with the Incus profile given.
func (s *site) configure(profile string) error {
	policy, err := filepath.Abs("../policy/policy.toml")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(siteDir, "config.toml"), fmt.Appendf(nil, `[server]
address = %q
cert = %q
key  = %q
ca   = %q
[http]
address = %q
[policy]
file = %q
[audit]
file = %q
[incus]
socket  = %q
project = %q
profile = %q
[containers]
image = %q
create_timeout = "2m"
[jump]
group   = %q
home    = %q
address = %q
host_keys = %q
`, s.address, issued("jump-1", "tls.crt"), issued("jump-1", "tls.key"), issued("jump-1", "ca.crt"), s.http, policy,
		auditLog, s.socket, siteName, profile, s.image, siteGroup, homes, s.jump, filepath.Join(siteDir, "ssh_host_key.pub")), 0o600)
}

const auditLog = siteDir + "/audit.log"

func (s *site) startDaemon(ctx context.Context) error {
	var err error
	if s.daemon, err = start("daemon.log", s.binary, "daemon", "--config", filepath.Join(siteDir, "config.toml")); err != nil {
		return err
	}
	return s.daemon.listening(ctx, s.address)
}

// withDaemon gives a test the daemon for itself, to end and to start; the next
// one finds it running as it was. Such a test is not parallel.
func (s *site) withDaemon(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := lasting(t)
		defer cancel()
		_ = s.daemon.end(syscall.SIGTERM)
		if err := errors.Join(s.configure("default"), s.startDaemon(ctx)); err != nil {
			t.Error(err)
		}
	})
}

// restartDaemon starts the daemon after it ended.
func (s *site) restartDaemon(t *testing.T) {
	t.Helper()
	if err := s.startDaemon(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// startSSHD starts the jump host's sshd: the one of this machine, with the
// snippet that we ship and otherwise with everything open, so that what is
// refused is refused by us.
func (s *site) startSSHD(ctx context.Context) error {
	snippet, err := os.ReadFile("../sshd/containarium.conf")
	if err != nil {
		return err
	}
	const match = "Match Group containarium\n"
	if !bytes.Contains(snippet, []byte(match)) {
		return fmt.Errorf("the snippet for sshd has no line %q", match)
	}
	included := filepath.Join(siteDir, "sshd_containarium.conf")
	snippet = bytes.Replace(snippet, []byte(match), []byte("Match Group "+siteGroup+","+clusterGroup+"\n"), 1)
	if err := os.WriteFile(included, snippet, 0o600); err != nil {
		return err
	}
	hostKey := filepath.Join(siteDir, "ssh_host_key")
	if err := quiet(exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", hostKey)); err != nil {
		return err
	}
	public, err := os.ReadFile(hostKey + ".pub")
	if err != nil {
		return err
	}
	s.jumpKey = strings.Join(strings.Fields(string(public))[:2], " ")
	if s.jump, err = freeport.Address("127.0.0.1"); err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(s.jump)
	config := filepath.Join(siteDir, "sshd_config")
	lines := []string{
		"Include " + included, "ListenAddress " + host, "Port " + port, "HostKey " + hostKey, "PidFile none", "UsePAM yes", "UseDNS no",
		"MaxStartups 100", "Subsystem sftp internal-sftp", "AllowTcpForwarding yes", "AllowStreamLocalForwarding yes", "PermitTunnel yes",
	}
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where it jails what is not authenticated yet
		return err
	}
	if s.sshd, err = start("sshd.log", "/usr/sbin/sshd", "-D", "-e", "-f", config); err != nil {
		return err
	}
	return s.sshd.listening(ctx, s.jump)
}
