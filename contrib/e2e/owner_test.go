//go:build e2e

package e2e_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// keyPair is a user's SSH key, as files and for Go's client.
type keyPair struct {
	file, public string // the private key's file, the line of authorized_keys
	signer       ssh.Signer
}

func newKey(t testing.TB, comment string) keyPair {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " " + comment
	k := keyPair{filepath.Join(t.TempDir(), "id"), line, signer}
	for file, content := range map[string][]byte{k.file: pem.EncodeToMemory(block), k.file + ".pub": []byte(line + "\n")} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func (k keyPair) fingerprint() string { return ssh.FingerprintSHA256(k.signer.PublicKey()) }

// owner is a user with a key, and their container once it is created.
type owner struct {
	*site
	name      string
	key       keyPair
	container *pb.Container
	warnings  []string
}

// newOwner returns a user of whom nothing is left when the test has ended.
func newOwner(t testing.TB, name string) *owner {
	t.Helper()
	o := &owner{site: theSite(t), name: prefix + name}
	o.key = newKey(t, name)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", end(siteDir+"/daemon.log", 4000))
		}
		ctx, cancel := lasting(t)
		defer cancel()
		if r := o.as(t, ctx, admin, "rm", o.name, "--force"); r.code != 0 && !strings.Contains(r.stderr, "has no container") {
			t.Errorf("clean up: %s", r.stderr)
		}
	})
	return o
}

// end returns the last bytes of a file.
func end(file string, n int) string {
	data, _ := os.ReadFile(file)
	return string(data[max(0, len(data)-n):])
}

// create creates the user's container.
func (o *owner) create(t testing.TB, flags ...string) {
	t.Helper()
	response := get(t, o.site, new(pb.CreateContainerResponse), append([]string{"create", o.name, "--ssh-key", o.key.file + ".pub"}, flags...)...)
	o.container, o.warnings = response.GetContainer(), response.GetWarnings()
}

// address is the container's, host and port.
func (o *owner) address() string {
	return net.JoinHostPort(o.container.GetNetwork().GetIpAddress(), "22")
}

// sshConfig writes what ssh needs to know beside the command that "create"
// prints: the key, and the host keys of both hops, which must be the ones.
func (o *owner) sshConfig(t testing.TB, key keyPair) string {
	t.Helper()
	dir := t.TempDir()
	known, config := filepath.Join(dir, "known_hosts"), filepath.Join(dir, "config")
	host, port, _ := net.SplitHostPort(o.jump)
	network := o.container.GetNetwork()
	for file, content := range map[string]string{
		known: fmt.Sprintf("[%s]:%s %s\n%s %s\n", host, port, o.jumpKey, network.GetIpAddress(), network.GetSshHostKey()),
		config: fmt.Sprintf("IdentityFile %s\nIdentitiesOnly yes\nBatchMode yes\nUserKnownHostsFile %s\nGlobalKnownHostsFile none\n"+
			"StrictHostKeyChecking yes\nLogLevel ERROR\nConnectTimeout 30\n", key.file, known),
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return config
}

// hops are the arguments of ssh that lead into the container.
func (o *owner) hops() []string {
	return []string{"-J", o.name + "@" + o.jump, o.name + "@" + o.container.GetNetwork().GetIpAddress()}
}

// sshWith runs a command in the container, through the jump host.
func (o *owner) sshWith(t testing.TB, key keyPair, command string) result {
	t.Helper()
	args := append([]string{"-F", o.sshConfig(t, key)}, o.hops()...)
	return run(t, t.Context(), "", nil, "ssh", append(args, command)...)
}

func (o *owner) ssh(t testing.TB, command string) result {
	t.Helper()
	return o.sshWith(t, o.key, command)
}

// sh runs a command in the container that must succeed, and returns its output.
func (o *owner) sh(t testing.TB, command string) string {
	t.Helper()
	r := o.ssh(t, command)
	if r.code != 0 {
		t.Fatalf("ssh %s: %s: exit code %d: %s%s", o.name, command, r.code, r.stdout, r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

// login connects to one hop as the user, and nowhere further.
func (o *owner) login(t testing.TB, address, hostKey string, key keyPair) (*ssh.Client, error) {
	t.Helper()
	want, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
	if err != nil {
		t.Fatalf("host key %q: %v", hostKey, err)
	}
	client, err := ssh.Dial("tcp", address, &ssh.ClientConfig{
		User:              o.name,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(key.signer)},
		HostKeyCallback:   ssh.FixedHostKey(want),
		HostKeyAlgorithms: []string{want.Type()},
		Timeout:           patience,
	})
	if err == nil {
		t.Cleanup(func() { _ = client.Close() })
	}
	return client, err
}

// opens reports whether a key opens the jump account and the account in the
// container, each without the other.
func (o *owner) opens(t testing.TB, key keyPair) (host, guest bool) {
	t.Helper()
	_, err := o.login(t, o.jump, o.jumpKey, key)
	host = err == nil
	_, err = o.login(t, o.address(), o.container.GetNetwork().GetSshHostKey(), key)
	return host, err == nil
}

// booted tells one boot of the container from another.
func (o *owner) booted(t testing.TB) string {
	t.Helper()
	return o.sh(t, bootOf)
}

// bootOf prints when the guest's init started, in ticks since the host's boot.
const bootOf = "cut -d' ' -f22 /proc/1/stat"

// gone reports what is still there of a user, "" for nothing.
func (s *site) left(t testing.TB, username string) string {
	t.Helper()
	var left []string
	instances, err := s.incus().GetInstanceNames("")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range instances {
		if name == username+"-container" {
			left = append(left, "the instance "+name)
		}
	}
	if hasAccount(username) {
		left = append(left, "the account "+username)
	}
	if hasHome(username) {
		left = append(left, "the home of "+username)
	}
	return strings.Join(left, ", ")
}

// wantNothing fails where anything of a user is there.
func (s *site) wantNothing(t testing.TB, username string) {
	t.Helper()
	if left := s.left(t, username); left != "" {
		t.Errorf("left of %s: %s", username, left)
	}
}
