package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// Nothing that a server sends gets into ssh's configuration but what it is to be.
func TestSSHHostOfHostileServer(t *testing.T) {
	key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(newSigner(t).PublicKey())))
	server := client.Server{Name: "jump-1", Address: "jump-1.example:50051"}
	good := func() *pb.Container {
		return &pb.Container{Username: "alice", Network: &pb.Network{IpAddress: "10.0.0.2", SshHostKey: key}}
	}
	if _, err := newSSHHost(server, good(), []string{key + " root@jump-1"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		container *pb.Container
		want      error
	}{
		{&pb.Container{Username: "alice", Network: &pb.Network{SshHostKey: key}}, errNoAddress},
		{&pb.Container{Username: "alice", Network: &pb.Network{IpAddress: "10.0.0.2"}}, errNoHostKey},
	} {
		if _, err := newSSHHost(server, c.container, nil); !errors.Is(err, c.want) {
			t.Errorf("%v, want %v", err, c.want)
		}
	}
	for name, spoil := range map[string]func(c *pb.Container, jump *string){
		"no user":              func(c *pb.Container, _ *string) { c.Username = "" },
		"a pattern":            func(c *pb.Container, _ *string) { c.Username = "*" },
		"an option":            func(c *pb.Container, _ *string) { c.Username = "-oProxyCommand=id" },
		"a line in the user":   func(c *pb.Container, _ *string) { c.Username = "alice\nHost *" },
		"a blank in the user":  func(c *pb.Container, _ *string) { c.Username = "alice *" },
		"a token in the user":  func(c *pb.Container, _ *string) { c.Username = "a%h" },
		"a name for an IP":     func(c *pb.Container, _ *string) { c.Network.IpAddress = "evil.example" },
		"a line in the IP":     func(c *pb.Container, _ *string) { c.Network.IpAddress = "10.0.0.2\nProxyCommand id" },
		"a zone":               func(c *pb.Container, _ *string) { c.Network.IpAddress = "fe80::1%eth0" },
		"a port":               func(c *pb.Container, _ *string) { c.Network.SshPort = 65536 },
		"a host key":           func(c *pb.Container, _ *string) { c.Network.SshHostKey = "ssh-ed25519 AAAA" },
		"a CA for a key":       func(c *pb.Container, _ *string) { c.Network.SshHostKey = "@cert-authority * " + key },
		"options of a key":     func(c *pb.Container, _ *string) { c.Network.SshHostKey = `command="id" ` + key },
		"the jump host":        func(c *pb.Container, _ *string) { c.Network.JumpAddress = "-oProxyCommand=id" },
		"a line in the jump":   func(c *pb.Container, _ *string) { c.Network.JumpAddress = "jump\nProxyCommand id" },
		"a token in the jump":  func(c *pb.Container, _ *string) { c.Network.JumpAddress = "%h" },
		"a port of the jump":   func(c *pb.Container, _ *string) { c.Network.JumpAddress = "jump:0" },
		"a key of the jump":    func(_ *pb.Container, jump *string) { *jump = "* " + key },
		"a marker in the jump": func(_ *pb.Container, jump *string) { *jump = "@revoked " + key },
	} {
		c, jump := good(), key
		spoil(c, &jump)
		if h, err := newSSHHost(server, c, []string{jump}); err == nil {
			t.Errorf("%s: taken, as\n%s%s", name, h.options(`"/known"`), strings.Join(h.pins(), "\n"))
		}
	}
}

func TestJumpOf(t *testing.T) {
	for told, want := range map[string][2]string{
		"":                  {"192.0.2.7", "22"},
		"jump.example":      {"jump.example", "22"},
		"jump.example:2222": {"jump.example", "2222"},
		"2001:db8::1":       {"2001:db8::1", "22"},
		"[2001:db8::1]:23":  {"2001:db8::1", "23"},
		"jump:50051":        {"jump", "50051"},
	} {
		host, port, err := jumpOf(client.Server{Address: "192.0.2.7:50051"}, told)
		if got := [2]string{host, port}; err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", told, got, err, want)
		}
	}
}

// Whoever can not log in yet is told why, and what to do.
func TestWhyNoLogin(t *testing.T) {
	for want, err := range map[string]error{
		"ssh alice on jump-1: the container is stopped; containarium start jump-1:alice":                                 errStopped,
		"ssh alice on jump-1: the container is frozen; containarium info jump-1:alice shows when it runs":                &saying{"the container is frozen", errNotReady},
		"ssh alice on jump-1: the container has no address yet; containarium info jump-1:alice shows it once it has one": errNoAddress,
		"ssh alice on jump-1: the container's SSH host key is not known yet, and without it nobody can tell who answers; " +
			"it is learnt while the container runs: wait a moment, or containarium restart jump-1:alice": errNoHostKey,
	} {
		tt := &targets{qualified: true, config: &client.Config{}}
		f := tt.failed(err, "ssh alice", "alice", client.Server{Name: "jump-1"})
		if got := explain(t.Context(), f); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What ssh makes of the lines is what they are to say, also of a path that needs
// quotes.
func TestSSHReadsTheOptions(t *testing.T) {
	if _, err := exec.LookPath("ssh"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("ssh is not installed")
		}
		t.Skip("NOT RUN: what ssh makes of the configuration: apt-get install openssh-client")
	}
	dir := filepath.Join(t.TempDir(), "100% of #it")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	known, err := sshPath(filepath.Join(dir, "known"))
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(newSigner(t).PublicKey())))
	h, err := newSSHHost(client.Server{Name: "[2001:db8::7]:50051", Address: "[2001:db8::7]:50051"},
		&pb.Container{Username: "alice", Network: &pb.Network{IpAddress: "10.0.0.2", SshPort: 23, SshHostKey: key}}, []string{key})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config")
	// What the user has for all hosts comes behind, and counts for less.
	theirs := "Host *\n\tUser mallory\n\tStrictHostKeyChecking no\n\tUserKnownHostsFile /dev/null\n\tProxyJump elsewhere\n\tPort 24\n"
	if err := os.WriteFile(file, []byte("Host "+h.alias()+"\n"+h.options(known)+theirs), 0o600); err != nil {
		t.Fatal(err)
	}
	for alias, want := range map[string][]string{
		"2001-db8-7-50051.alice": {
			"hostname 10.0.0.2", "port 23", "user alice", "proxyjump 2001-db8-7-50051.alice+hop", "hostkeyalias 2001-db8-7-50051.alice",
			"stricthostkeychecking true", "globalknownhostsfile /dev/null", "updatehostkeys false", "userknownhostsfile " + filepath.Join(dir, "known"),
		},
		"2001-db8-7-50051.alice+hop": {
			"hostname 2001:db8::7", "port 22", "user alice", "hostkeyalias 2001-db8-7-50051+hop", "stricthostkeychecking true",
		},
	} {
		out, err := exec.CommandContext(t.Context(), "ssh", "-F", file, "-G", alias).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, line := range want {
			// ssh -G prints paths before it takes the %% apart.
			if !strings.Contains(strings.ReplaceAll("\n"+string(out), "%%", "%"), "\n"+line+"\n") {
				t.Errorf("%s: no %q in\n%s", alias, line, out)
			}
		}
	}
	for _, path := range []string{`/a"b`, "/a\nb", `/a\b`, "/${HOME}/b"} {
		if got, err := sshPath(path); err == nil {
			t.Errorf("%q: taken, as %s", path, got)
		}
	}
}
