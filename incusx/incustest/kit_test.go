package incustest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
	"golang.org/x/crypto/ssh"
)

// connect returns the official client, unchanged, on a simulator.
func connect(t *testing.T, s *Server) incus.InstanceServer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	server, err := incus.ConnectIncusUnixWithContext(ctx, s.Socket(), &incus.ConnectionArgs{SkipGetEvents: true, SkipGetServer: true})
	must(t, err)
	return server
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(time.Minute)
	for !condition() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func done(op incus.Operation, err error) error {
	if err != nil {
		return err
	}
	return op.Wait()
}

// wantText fails the test unless err has text.
func wantText(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %v, want one with %q", err, text)
	}
}

func postOf(name, image string, start bool) api.InstancesPost {
	return api.InstancesPost{
		Name: name, Type: api.InstanceTypeContainer, Start: start, Source: api.InstanceSource{Type: "image", Alias: image},
		InstancePut: api.InstancePut{Profiles: []string{"default"}},
	}
}

func create(t *testing.T, server incus.InstanceServer, name, image string, start bool) {
	t.Helper()
	must(t, done(server.CreateInstance(postOf(name, image, start))))
}

func setState(server incus.InstanceServer, name, action string, force bool) error {
	return done(server.UpdateInstanceState(name, api.InstanceStatePut{Action: action, Force: force, Timeout: -1}, ""))
}

// account makes a user in a guest as incusx does, and returns what logs in.
func account(t *testing.T, server incus.InstanceServer, name, user string) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	code, _, _ := runIn(t, server, name, "", "/bin/sh", "-c", "the script", "containarium-account", user, key)
	if code != 0 {
		t.Fatalf("make the account of %s: code %d", user, code)
	}
	return signer
}

// runIn runs a command and returns its code and its streams.
func runIn(t *testing.T, server incus.InstanceServer, name, stdin string, argv ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs buffer
	finished := make(chan bool)
	op, err := server.ExecInstance(name, api.InstanceExecPost{Command: argv, WaitForWS: true}, &incus.InstanceExecArgs{
		Stdin: nopCloser{strings.NewReader(stdin)}, Stdout: &out, Stderr: &errs, DataDone: finished,
	})
	must(t, done(op, err))
	<-finished
	value, _ := op.Get().Metadata["return"].(float64)
	return int(value), out.String(), errs.String()
}

type buffer struct{ strings.Builder }

func (*buffer) Close() error { return nil }

type nopCloser struct{ *strings.Reader }

func (nopCloser) Close() error { return nil }

func addressOf(t *testing.T, server incus.InstanceServer, name string) string {
	t.Helper()
	state, _, err := server.GetInstanceState(name)
	must(t, err)
	for _, address := range state.Network["eth0"].Addresses {
		if address.Family == "inet" && address.Scope == "global" {
			return address.Address
		}
	}
	return ""
}

func dial(s *Server, address, user string, signer ssh.Signer) (*ssh.Client, error) {
	return ssh.Dial("tcp", net.JoinHostPort(address, strconv.Itoa(s.SSHPort())), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), //nolint:gosec // of a simulated guest
		Timeout:         10 * time.Second,
	})
}

// overSSH runs a command over SSH and returns its output and its code.
func overSSH(t *testing.T, client *ssh.Client, command string) (string, int) {
	t.Helper()
	session, err := client.NewSession()
	must(t, err)
	defer func() { _ = session.Close() }()
	out, err := session.Output(command)
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return string(out), 0
	case errors.As(err, &exit):
		return string(out), exit.ExitStatus()
	}
	t.Fatalf("%s: %v", command, err)
	return "", 0
}
