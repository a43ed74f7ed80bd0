package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"

	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
)

// scriptJump starts one more daemon, with a jump host before its containers, and
// puts its address into a variable. What the daemon tells of the jump host's keys
// is the truth, unless it is to tell a "lie", or "nothing".
func scriptJump(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: jump VAR [lie|nothing]")
	}
	w := worldOf(ts)
	h := newJumpHost(w.t)
	dir := w.t.TempDir()
	switch told := h.keys; {
	case len(args) == 2 && args[1] == "lie":
		told = []ssh.Signer{newSigner(w.t)}
		fallthrough
	case len(args) == 1:
		for i, key := range told {
			line := append(ssh.MarshalAuthorizedKey(key.PublicKey()), []byte("# no key\n")...)
			ts.Check(os.WriteFile(filepath.Join(dir, fmt.Sprintf("ssh_host_%d_key.pub", i)), line, 0o600))
		}
	}
	d := daemontest.StartWith(w.t, daemontest.Options{CA: w.daemon.CA, Change: func(c *config.File) {
		c.Jump.Address, c.Jump.HostKeys = h.address, filepath.Join(dir, "ssh_host_*_key.pub")
	}})
	d.Sim.Forget()
	w.others = append(w.others, d)
	ts.Setenv(args[0], d.Address)
}

// jumpHost is an sshd that lets everybody with a key in, and to wherever they want.
type jumpHost struct {
	address string
	keys    []ssh.Signer
	config  ssh.ServerConfig
	running sync.WaitGroup
}

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func newJumpHost(t testing.TB) *jumpHost {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	second, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	h := &jumpHost{keys: []ssh.Signer{newSigner(t), second}}
	h.config.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return &ssh.Permissions{}, nil }
	for _, key := range h.keys {
		h.config.AddHostKey(key)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = listener.Addr().String()
	h.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			h.running.Go(func() { h.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		h.running.Wait() // every ssh has ended
	})
	return h
}

func (h *jumpHost) serve(conn net.Conn) {
	server, channels, requests, err := ssh.NewServerConn(conn, &h.config)
	if err != nil {
		_ = conn.Close()
		return
	}
	defer server.Close() //nolint:errcheck // its end is its own
	h.running.Go(func() { ssh.DiscardRequests(requests) })
	for offered := range channels {
		var to struct {
			Host   string
			Port   uint32
			Origin string
			From   uint32
		}
		if offered.ChannelType() != "direct-tcpip" || ssh.Unmarshal(offered.ExtraData(), &to) != nil {
			_ = offered.Reject(ssh.Prohibited, "a hop and nothing else")
			continue
		}
		target, err := net.Dial("tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port)))
		if err != nil {
			_ = offered.Reject(ssh.ConnectionFailed, err.Error())
			continue
		}
		channel, requests, err := offered.Accept()
		if err != nil {
			_ = target.Close()
			continue
		}
		h.running.Go(func() { ssh.DiscardRequests(requests) })
		h.running.Go(func() {
			_, _ = io.Copy(channel, target)
			_ = channel.Close()
		})
		h.running.Go(func() {
			_, _ = io.Copy(target, channel)
			_ = target.Close()
		})
	}
}
