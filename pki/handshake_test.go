package pki

import (
	"crypto/tls"
	"net"
	"testing"
	"time"
)

// What the CA makes is what the daemon and its clients take, each for its own
// use.
func TestHandshake(t *testing.T) {
	ca, _ := newCA(t)
	server := issue(t, ca, Request{Name: "jump-1", Kind: Server, SANs: []string{"jump-1.example.org"}})
	client := issue(t, ca, Request{Name: "alice", Kind: Client, TTL: MinTTL})
	serverConfig, err := server.Files.ServerConfig()
	if err != nil {
		t.Fatal(err)
	}
	clientConfig, err := client.Files.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	clientConfig.ServerName = "jump-1.example.org"
	near, far := net.Pipe()
	defer near.Close() //nolint:errcheck // the handshake is over
	defer far.Close()  //nolint:errcheck // the handshake is over
	for _, conn := range []net.Conn{near, far} {
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- tls.Client(far, clientConfig).Handshake() }()
	conn := tls.Server(near, serverConfig)
	if err := conn.Handshake(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if chains := conn.ConnectionState().VerifiedChains; len(chains) == 0 || chains[0][0].Subject.CommonName != "alice" {
		t.Errorf("the server sees %v", chains)
	}
	if _, err := server.Files.ClientConfig(); err == nil {
		t.Error("a server certificate is taken for a client's")
	}
	if _, err := client.Files.ServerConfig(); err == nil {
		t.Error("a client certificate is taken for a server's")
	}
}
