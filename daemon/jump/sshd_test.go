package jump

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/footprintai/containarium/contrib/test/freeport"
)

// patience bounds every wait; nothing here needs a tenth of it.
const patience = 30 * time.Second

// startSSHD starts the host's sshd on a loopback port, with what its
// configuration says by default and the lines given, and returns its address. Its
// files are in dir, by which newHost finds one that a test which was cut off left.
func startSSHD(t *testing.T, dir string, lines ...string) string {
	t.Helper()
	const sshd = "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		t.Skip("NOT RUN: what sshd itself makes of its configuration: apt-get install openssh-server")
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where it jails what is not authenticated yet
		t.Fatal(err)
	}
	hostKey := filepath.Join(dir, "host_key")
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", hostKey).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	address := freeAddress(t, "127.0.0.1")
	_, port, _ := net.SplitHostPort(address)
	config := filepath.Join(dir, "sshd_config")
	lines = append([]string{"ListenAddress 127.0.0.1", "Port " + port, "HostKey " + hostKey, "PidFile none", "Subsystem sftp internal-sftp", "MaxStartups 100"}, lines...)
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(sshd, "-D", "-e", "-f", config)
	cmd.Stderr = &log
	cmd.WaitDelay = patience // its children may outlive it by a moment, and hold its log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Logf("sshd said:\n%s", &log)
		}
	})
	waitFor(t, "sshd to listen", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("sshd ended: %v", err)
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return address
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-timeout.C:
			t.Fatalf("waited in vain for %s", what)
		case <-ticker.C:
		}
	}
}

func freeAddress(t *testing.T, host string) string {
	t.Helper()
	address, err := freeport.Address(host)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// echo listens and gives back what it gets, as sshd of a container would answer.
func echo(t *testing.T, network, address string) {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
}

func echoes(conn io.ReadWriter) error {
	if _, err := io.WriteString(conn, "hello"); err != nil {
		return err
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != "hello" {
		return fmt.Errorf("got %q", got)
	}
	return nil
}

func login(t *testing.T, sshd, username string, methods ...ssh.AuthMethod) (*ssh.Client, error) {
	t.Helper()
	client, err := ssh.Dial("tcp", sshd, &ssh.ClientConfig{
		User:            username,
		Auth:            methods,
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), //nolint:gosec // a throw-away server of this test
		Timeout:         patience,
	})
	if err == nil {
		t.Cleanup(func() { _ = client.Close() })
	}
	return client, err
}

// hop is an account on a running sshd, and the places around its container.
type hop struct {
	*Accounts
	sshd             string
	container, other string // HOST:PORT
	signer           ssh.Signer
	key              string
}

func newHop(t *testing.T, lines ...string) *hop {
	t.Helper()
	h := &hop{Accounts: newHost(t)}
	const containerIP, otherIP = "127.77.200.1", "127.77.200.2"
	h.container = freeAddress(t, containerIP)
	_, port, _ := net.SplitHostPort(h.container)
	h.SSHPort, _ = strconv.Atoi(port)
	h.other = net.JoinHostPort(otherIP, port)
	echo(t, "tcp", h.container)
	echo(t, "tcp", h.other)
	echo(t, "tcp", "127.0.0.1:"+port)
	h.signer, h.key = newKey(t)
	h.sshd = startSSHD(t, h.Home, lines...)
	if err := h.Ensure(t.Context(), "ctjt-alice", containerIP, []string{h.key}); err != nil {
		t.Fatal(err)
	}
	return h
}

// bothWays runs a test under either setting of UsePAM, on which it depends what
// sshd thinks of an account without password.
func bothWays(t *testing.T, test func(t *testing.T, usePAM string)) {
	for _, usePAM := range []string{"no", "yes"} {
		t.Run("UsePAM "+usePAM, func(t *testing.T) { test(t, "UsePAM "+usePAM) })
	}
}

func TestHopReachesItsContainerAlone(t *testing.T) {
	bothWays(t, func(t *testing.T, usePAM string) {
		h := newHop(t, usePAM)
		client, err := login(t, h.sshd, "ctjt-alice", ssh.PublicKeys(h.signer))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := client.Dial("tcp", h.container)
		if err != nil {
			t.Fatal(err)
		}
		if err := echoes(conn); err != nil {
			t.Error(err)
		}
		_, port, _ := net.SplitHostPort(h.container)
		host, _, _ := net.SplitHostPort(h.container)
		_, sshdPort, _ := net.SplitHostPort(h.sshd)
		for _, address := range []string{
			h.other, "127.0.0.1:" + port, "localhost:" + port, "[::1]:" + port, "0.0.0.0:" + port, h.sshd,
			net.JoinHostPort(host, sshdPort), host + ":0", "[::ffff:" + host + "]:" + port,
		} {
			if !refused(client, address) {
				t.Errorf("the hop reaches %s", address)
			}
		}
	})
}

// refused reports whether sshd itself forbids a forwarding; that nothing listens
// there is not enough.
func refused(client *ssh.Client, address string) bool {
	host, port, _ := net.SplitHostPort(address)
	number, _ := strconv.ParseUint(port, 10, 16)
	payload := ssh.Marshal(struct { // RFC 4254, 7.2; as the user writes it, not resolved
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}{host, uint32(number), "127.0.0.1", 1})
	channel, _, err := client.OpenChannel("direct-tcpip", payload)
	if err == nil {
		_ = channel.Close()
		return false
	}
	var refusal *ssh.OpenChannelError
	return errors.As(err, &refusal) && refusal.Reason == ssh.Prohibited
}

func TestHopGivesNoShell(t *testing.T) {
	bothWays(t, func(t *testing.T, usePAM string) {
		h := newHop(t, usePAM)
		client, err := login(t, h.sshd, "ctjt-alice", ssh.PublicKeys(h.signer))
		if err != nil {
			t.Fatal(err)
		}
		for name, request := range map[string]struct {
			kind, payload string
		}{
			"shell":   {"shell", ""},
			"command": {"exec", "echo uid=$(id -u)"},
			"sftp":    {"subsystem", "sftp"},
		} {
			var payload []byte
			if request.payload != "" {
				payload = ssh.Marshal(struct{ Text string }{request.payload})
			}
			out, status := session(t, client, request.kind, payload)
			if status == 0 {
				t.Errorf("%s: succeeded", name)
			}
			if got := strings.TrimSpace(out); got != "This account is currently not available." {
				t.Errorf("%s: gives %q", name, got)
			}
		}
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := session.RequestPty("xterm", 24, 80, nil); err == nil {
			t.Error("the hop gives a terminal")
		}
		if ok, _ := session.SendRequest("auth-agent-req@openssh.com", true, nil); ok {
			t.Error("the hop forwards agents")
		}
		x11 := ssh.Marshal(struct {
			Single           bool
			Protocol, Cookie string
			Screen           uint32
		}{false, "MIT-MAGIC-COOKIE-1", "00", 0})
		if ok, _ := session.SendRequest("x11-req", true, x11); ok {
			t.Error("the hop forwards X11")
		}
	})
}

// session starts what kind says, writes to it what a shell and what sftp would
// answer, and returns its output and exit status.
func session(t *testing.T, client *ssh.Client, kind string, payload []byte) (string, uint32) {
	t.Helper()
	channel, requests, err := client.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	status := make(chan uint32, 1)
	go func() {
		for request := range requests {
			var exit struct{ Status uint32 }
			if request.Type == "exit-status" && ssh.Unmarshal(request.Payload, &exit) == nil {
				status <- exit.Status
			}
		}
		close(status)
	}()
	if _, err := channel.SendRequest(kind, true, payload); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(channel, "\x00\x00\x00\x05\x01\x00\x00\x00\x03echo uid=$(id -u)\n")
	_ = channel.CloseWrite()
	out, err := io.ReadAll(channel)
	if err != nil {
		t.Fatal(err)
	}
	_ = channel.Close()
	code, ok := <-status
	if !ok {
		t.Errorf("%s: no exit status", kind)
	}
	return string(out), code
}

func TestHopListensNowhere(t *testing.T) {
	bothWays(t, func(t *testing.T, usePAM string) {
		h := newHop(t, usePAM)
		client, err := login(t, h.sshd, "ctjt-alice", ssh.PublicKeys(h.signer))
		if err != nil {
			t.Fatal(err)
		}
		_, free, _ := net.SplitHostPort(freeAddress(t, "127.0.0.1"))
		port, _ := strconv.ParseUint(free, 10, 16)
		for _, host := range []string{"", "localhost", "127.0.0.1", "0.0.0.0", "*", "::"} {
			for _, port := range []uint32{0, 1, uint32(port)} {
				payload := ssh.Marshal(struct { // RFC 4254, 7.1
					Host string
					Port uint32
				}{host, port})
				if ok, _, err := client.SendRequest("tcpip-forward", true, payload); ok || err != nil {
					t.Errorf("the hop listens on %q, port %d (%v)", host, port, err)
				}
			}
		}
	})
}

func TestHopTakesTheOwnersKeyAlone(t *testing.T) {
	bothWays(t, func(t *testing.T, usePAM string) {
		h := newHop(t, usePAM, "PasswordAuthentication yes", "PermitEmptyPasswords yes", "MaxAuthTries 1")
		another, anothersKey := newKey(t)
		var wg sync.WaitGroup
		for name, method := range map[string]ssh.AuthMethod{
			"another key": ssh.PublicKeys(another),
			"no password": ssh.Password(""),
			"the star":    ssh.Password("*"),
			"an empty answer": ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
				return make([]string, len(questions)), nil
			}),
		} {
			wg.Go(func() { // PAM makes each of them wait
				if _, err := login(t, h.sshd, "ctjt-alice", method); err == nil {
					t.Errorf("%s: logged in", name)
				}
			})
		}
		wg.Wait()
		ip, _, _ := net.SplitHostPort(h.container)
		if err := h.Ensure(t.Context(), "ctjt-alice", ip, []string{anothersKey}); err != nil {
			t.Fatal(err)
		}
		if _, err := login(t, h.sshd, "ctjt-alice", ssh.PublicKeys(another)); err != nil {
			t.Errorf("the new key: %v", err)
		}
		if _, err := login(t, h.sshd, "ctjt-alice", ssh.PublicKeys(h.signer)); err == nil {
			t.Error("the old key still opens")
		}
	})
}

// The ssh that users have: -W is what -J does.
func TestHopWithOpenSSH(t *testing.T) {
	h := newHop(t)
	identity := filepath.Join(t.TempDir(), "id")
	private, key := newPEM(t)
	if err := os.WriteFile(identity, private, 0o600); err != nil {
		t.Fatal(err)
	}
	ip, _, _ := net.SplitHostPort(h.container)
	if err := h.Ensure(t.Context(), "ctjt-alice", ip, []string{key}); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(h.sshd)
	run := func(input string, args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "ssh", append([]string{"-F", "none", "-i", identity, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
			"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-p", port, "-l", "ctjt-alice"}, args...)...)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("hello", "-W", h.container, "127.0.0.1"); err != nil || out != "hello" {
		t.Errorf("ssh -W to the container: %q, %v", out, err)
	}
	if out, err := run("hello", "-W", h.other, "127.0.0.1"); err == nil || !strings.Contains(out, "stdio forwarding failed") {
		t.Errorf("ssh -W elsewhere: %q, %v", out, err)
	}
	if out, err := run("", "127.0.0.1"); err == nil || !strings.Contains(out, "not available") {
		t.Errorf("ssh: %q, %v", out, err)
	}
	if out, err := run("", "127.0.0.1", "id"); err == nil || strings.Contains(out, "uid=") {
		t.Errorf("ssh id: %q, %v", out, err)
	}
	if out, err := run("", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "-N", "127.0.0.1"); err == nil || !strings.Contains(out, "remote port forwarding failed") {
		t.Errorf("ssh -R: %q, %v", out, err)
	}
}

// What a key's options can not refuse, contrib/sshd does, and the hop works with it.
func TestHopWithTheSnippet(t *testing.T) {
	snippet, err := os.ReadFile("../../contrib/sshd/containarium.conf")
	if err != nil {
		t.Fatal(err)
	}
	forGroup := strings.Replace(string(snippet), "Match Group containarium\n", "Match Group "+testGroup+"\n", 1)
	bothWays(t, func(t *testing.T, usePAM string) {
		h := newHop(t, usePAM, forGroup)
		socket := filepath.Join(h.Home, "socket") // one of the host's that the account may open
		echo(t, "unix", socket)
		if err := os.Chmod(socket, 0o666); err != nil {
			t.Fatal(err)
		}
		client, err := login(t, h.sshd, "ctjt-alice", ssh.PublicKeys(h.signer))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := client.Dial("tcp", h.container)
		if err != nil {
			t.Fatal(err)
		}
		if err := echoes(conn); err != nil {
			t.Error(err)
		}
		if !refused(client, h.other) {
			t.Error("the hop reaches another container")
		}
		if _, err := client.Dial("unix", socket); err == nil {
			t.Error("the hop reaches unix sockets of the host")
		}
		anybodys := filepath.Join(h.Home, "anybodys") // as /tmp is
		if err := errors.Join(os.Mkdir(anybodys, 0o700), os.Chmod(anybodys, 0o777)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.ListenUnix(filepath.Join(anybodys, "listen")); err == nil {
			t.Error("the hop listens on unix sockets of the host")
		}
		if out, status := session(t, client, "exec", ssh.Marshal(struct{ Text string }{"id"})); status == 0 || strings.Contains(out, "uid=") {
			t.Errorf("the hop runs commands: %q", out)
		}
		if err := echoes(conn); err != nil {
			t.Errorf("after all of that the hop is gone: %v", err)
		}
	})
}

func newPEM(t *testing.T) (private []byte, public string) {
	t.Helper()
	key, signer := newPrivate(t)
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

func TestRemoveEndsLiveSessions(t *testing.T) {
	bothWays(t, func(t *testing.T, usePAM string) {
		h := newHop(t, usePAM)
		ip, _, _ := net.SplitHostPort(h.container)
		if err := h.Ensure(t.Context(), "ctjt-bob", ip, []string{h.key}); err != nil {
			t.Fatal(err)
		}
		open := func(username string) (*ssh.Client, net.Conn) {
			client, err := login(t, h.sshd, username, ssh.PublicKeys(h.signer))
			if err != nil {
				t.Fatal(err)
			}
			conn, err := client.Dial("tcp", h.container)
			if err != nil {
				t.Fatal(err)
			}
			if err := echoes(conn); err != nil {
				t.Fatal(err)
			}
			return client, conn
		}
		one, throughOne := open("ctjt-alice")
		two, throughTwo := open("ctjt-alice")
		_, throughBob := open("ctjt-bob")

		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := h.Remove(ctx, "ctjt-alice"); err != nil {
			t.Fatal(err)
		}
		for _, client := range []*ssh.Client{one, two} {
			ended := make(chan error, 1)
			go func() { ended <- client.Wait() }()
			select {
			case <-ended:
			case <-ctx.Done():
				t.Fatal("a session goes on without its account")
			}
		}
		for _, conn := range []net.Conn{throughOne, throughTwo} {
			if err := echoes(conn); err == nil {
				t.Error("the container is still reached")
			}
		}
		if got := state(t, h.Accounts, "ctjt-alice"); got != "" {
			t.Errorf("left of alice:\n%s", got)
		}
		if _, err := login(t, h.sshd, "ctjt-alice", ssh.PublicKeys(h.signer)); err == nil {
			t.Error("alice can still log in")
		}
		if err := echoes(throughBob); err != nil {
			t.Errorf("bob's session ended too: %v", err)
		}
	})
}

// A container without a user namespace has users with the numbers of the host's:
// its processes are not sessions.
func TestOtherNamespacesAreLeftAlone(t *testing.T) {
	a := newHost(t)
	if _, err := a.Prepare(t.Context(), "ctjt-alice"); err != nil {
		t.Fatal(err)
	}
	alice, err := lookup(t.Context(), "ctjt-alice")
	if err != nil {
		t.Fatal(err)
	}
	start := func(flags uintptr) (*exec.Cmd, chan error) {
		cmd := exec.Command("cat") // it waits for its input
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Credential: &syscall.Credential{Uid: alice.uid, Gid: 65534}}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		return cmd, ended
	}
	elsewhere, elsewhereEnded := start(syscall.CLONE_NEWPID)
	_, hereEnded := start(0)
	if err := endSessions(t.Context(), alice.uid); err != nil {
		t.Fatal(err)
	}
	if err := <-hereEnded; err == nil || err.Error() != "signal: killed" {
		t.Errorf("the process on the host ended with %v, want killed", err)
	}
	select {
	case err := <-elsewhereEnded:
		t.Fatalf("the process in the container ended: %v", err)
	default:
	}
	if err := elsewhere.Process.Kill(); err != nil {
		t.Error(err)
	}
	<-elsewhereEnded
}
