package live_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

// dial makes one connection over loopback and sends a byte each way, since in
// TLS 1.3 the client learns of a refusal only when it reads.
func dial(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // a test is over
	serverErr := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			serverErr <- err
			return
		}
		defer conn.Close() //nolint:errcheck // a test is over
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		secure := tls.Server(conn, server)
		if err = secure.Handshake(); err == nil {
			_, err = io.Copy(secure, io.LimitReader(secure, 1))
		}
		serverErr <- err
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test is over
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if client == nil {
		_, err = conn.Write([]byte("PRI * HTTP/2.0\r\n\r\n"))
		return tls.ConnectionState{}, errors.Join(err, <-serverErr)
	}
	client = client.Clone()
	client.ServerName = "127.0.0.1"
	secure := tls.Client(conn, client)
	if err := secure.Handshake(); err != nil {
		return tls.ConnectionState{}, err
	}
	if _, err := secure.Write([]byte{1}); err != nil {
		return tls.ConnectionState{}, err
	}
	if _, err := io.ReadFull(secure, make([]byte, 1)); err != nil {
		if <-serverErr == nil {
			t.Errorf("the server took a client that could not read: %v", err)
		}
		return tls.ConnectionState{}, err
	}
	return secure.ConnectionState(), <-serverErr
}

func serverConfig(t *testing.T, ca *pkitest.CA) *tls.Config {
	t.Helper()
	config, err := ca.Server(t, "127.0.0.1").WriteFiles(t, t.TempDir(), ca).ServerConfig()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func clientFiles(t *testing.T, ca *pkitest.CA, cn string) live.Files {
	t.Helper()
	return ca.Client(t, cn).WriteFiles(t, t.TempDir(), ca)
}

func TestGoodClient(t *testing.T) {
	ca := pkitest.New(t)
	server := serverConfig(t, ca)
	files := clientFiles(t, ca, "alice")
	client, err := files.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for range 2 {
		state, err := dial(t, server, client)
		if err != nil {
			t.Fatal(err)
		}
		if state.Version != tls.VersionTLS13 {
			t.Errorf("TLS version %x", state.Version)
		}
		if state.DidResume {
			t.Error("the server resumed a session, which skips its checks")
		}
	}
	if err := files.Check(live.Client, time.Now()); err != nil {
		t.Errorf("Check: %v", err)
	}
}

func TestServerRefusesBadClients(t *testing.T) {
	ca := pkitest.New(t)
	server := serverConfig(t, ca)
	for name, pair := range ca.Bad(t) {
		t.Run(name, func(t *testing.T) {
			if _, err := dial(t, server, ca.ClientConfig(pair)); err == nil {
				t.Error("accepted")
			} else if strings.Contains(err.Error(), "certificate required") {
				t.Errorf("the server did not see the certificate: %v", err)
			}
		})
	}
	t.Run("no certificate", func(t *testing.T) {
		if _, err := dial(t, server, ca.ClientConfig(pkitest.Pair{})); err == nil || !strings.Contains(err.Error(), "certificate required") {
			t.Errorf("%v", err)
		}
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		config := ca.ClientConfig(ca.Client(t, "alice"))
		config.MaxVersion = tls.VersionTLS12
		if _, err := dial(t, server, config); err == nil || !strings.Contains(err.Error(), "protocol version") {
			t.Errorf("%v", err)
		}
	})
	t.Run("plaintext", func(t *testing.T) {
		if _, err := dial(t, server, nil); err == nil {
			t.Error("accepted")
		}
	})
}

func TestClientRefusesBadServers(t *testing.T) {
	ca, other := pkitest.New(t), pkitest.New(t)
	client, err := clientFiles(t, ca, "alice").ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string]pkitest.Pair{
		"other CA":           other.Server(t, "127.0.0.1"),
		"other name":         ca.Server(t, "localhost", "127.0.0.2"),
		"client certificate": ca.Client(t, "127.0.0.1"),
	} {
		server := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair.Cert}}
		if _, err := dial(t, server, client); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	old := &tls.Config{MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1").Cert}} //nolint:gosec // what is refused
	if _, err := dial(t, old, client); err == nil {
		t.Error("TLS 1.2: accepted")
	}
}

// A client of a foreign CA is told that its CA is unknown, not that it sent
// nothing.
func TestOtherCAIsNamed(t *testing.T) {
	ca, other := pkitest.New(t), pkitest.New(t)
	files := other.Client(t, "alice").WriteFiles(t, t.TempDir(), ca)
	client, err := files.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	server := serverConfig(t, ca)
	// The CAs of pkitest have the same names; here the server asks for another.
	server.ClientCAs = x509.NewCertPool()
	server.ClientCAs.AddCert(ca.Client(t, "other name").Leaf)
	_, err = dial(t, server, client)
	if err == nil || strings.Contains(err.Error(), "certificate required") {
		t.Errorf("dial: %v", err)
	}
	err = files.Check(live.Client, time.Now())
	if !errors.Is(err, live.ErrOtherCA) || strings.Contains(err.Error(), "\n") {
		t.Errorf("Check: %v", err)
	}
	for _, cert := range []*x509.Certificate{other.Intermediate, ca.Root} {
		if !strings.Contains(err.Error(), live.Fingerprint(cert)) {
			t.Errorf("Check does not name %s: %v", live.Fingerprint(cert), err)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	ca := pkitest.New(t)
	bad := ca.Bad(t)
	for _, test := range []struct {
		name   string
		pair   pkitest.Pair
		change func(t *testing.T, f live.Files)
		want   string // %C, %K, %A are the files
	}{
		{name: "key for the group", change: func(t *testing.T, f live.Files) { chmod(t, f.Key, 0o640) }, want: "chmod 600 %K"},
		{name: "key for others", change: func(t *testing.T, f live.Files) { chmod(t, f.Key, 0o604) }, want: "chmod 600 %K"},
		{name: "certificate written by the group", change: func(t *testing.T, f live.Files) { chmod(t, f.Cert, 0o664) }, want: "chmod go-w %C"},
		{name: "CA written by others", change: func(t *testing.T, f live.Files) { chmod(t, f.CA, 0o646) }, want: "chmod go-w %A"},
		{name: "no certificate", change: func(t *testing.T, f live.Files) { remove(t, f.Cert) }, want: "%C: no such file"},
		{name: "no key", change: func(t *testing.T, f live.Files) { remove(t, f.Key) }, want: "%K: no such file"},
		{name: "no CA", change: func(t *testing.T, f live.Files) { remove(t, f.CA) }, want: "%A: no such file"},
		{name: "empty CA", change: func(t *testing.T, f live.Files) { write(t, f.CA, "\n") }, want: "%A holds no certificate"},
		{name: "leaf as CA", change: func(t *testing.T, f live.Files) { write(t, f.CA, read(t, f.Cert)) }, want: "%A has a certificate that is not a CA's"},
		{name: "key as CA", change: func(t *testing.T, f live.Files) { write(t, f.CA, read(t, f.Key)) }, want: `%A has a "PRIVATE KEY"`},
		{name: "CA cut off", change: func(t *testing.T, f live.Files) {
			write(t, f.CA, read(t, f.CA)+read(t, f.CA)[:200])
		}, want: "%A: certificate 2 is cut off or damaged"},
		{name: "key of another", change: func(t *testing.T, f live.Files) {
			write(t, f.Key, read(t, clientFiles(t, ca, "bob").Key))
		}, want: "%K is not the key of the certificate in %C"},
		{name: "key is a directory", change: func(t *testing.T, f live.Files) {
			remove(t, f.Key)
			if err := os.Mkdir(f.Key, 0o700); err != nil {
				t.Fatal(err)
			}
		}, want: "%K is not a regular file"},
		{name: "server certificate", pair: bad["server certificate"], want: "%C is a server certificate, not a client certificate"},
		{name: "no EKU", pair: bad["no EKU"], want: "%C is a certificate without a use, not a client certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pair := test.pair
			if pair.Leaf == nil {
				pair = ca.Client(t, "alice")
			}
			files := pair.WriteFiles(t, t.TempDir(), ca)
			if test.change != nil {
				test.change(t, files)
			}
			want := strings.NewReplacer("%C", files.Cert, "%K", files.Key, "%A", files.CA).Replace(test.want)
			if config, err := files.ClientConfig(); err == nil || config != nil || !strings.Contains(err.Error(), want) {
				t.Errorf("ClientConfig: %v, want %q", err, want)
			} else if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "BEGIN") {
				t.Errorf("ClientConfig: %q", err)
			}
		})
	}
	if _, err := clientFiles(t, ca, "alice").ServerConfig(); !errors.Is(err, live.ErrWrongUse) {
		t.Errorf("client certificate as a server's: %v", err)
	}
}

func TestCheck(t *testing.T) {
	ca := pkitest.New(t)
	pair := ca.Client(t, "alice")
	files := pair.WriteFiles(t, t.TempDir(), ca)
	for _, test := range []struct {
		name string
		now  time.Time
		is   error
		want string
	}{
		{"last second", pair.Leaf.NotAfter, nil, ""},
		{"expired", pair.Leaf.NotAfter.Add(time.Second), live.ErrExpired, "expired on " + pair.Leaf.NotAfter.UTC().Format("2006-01-02 15:04 UTC")},
		{"early", pair.Leaf.NotBefore.Add(-time.Hour), live.ErrNotYetValid, "in 1h0m0s; this clock is that much behind"},
		{"CA expired", ca.Root.NotAfter.Add(time.Second), live.ErrExpired, ""},
	} {
		err := files.Check(live.Client, test.now)
		if !errors.Is(err, test.is) || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %v with %q", test.name, err, test.is, test.want)
		}
	}
	if err := files.Check(live.Server, time.Now()); !errors.Is(err, live.ErrWrongUse) {
		t.Errorf("as a server: %v", err)
	}
	// A leaf that outlives its CA.
	long := *pair.Leaf
	long.NotAfter = ca.Root.NotAfter.Add(time.Hour)
	files = ca.Issue(t, &long).WriteFiles(t, t.TempDir(), ca)
	if err := files.Check(live.Client, ca.Root.NotAfter.Add(time.Minute)); !errors.Is(err, live.ErrExpired) || !strings.Contains(err.Error(), "the CA certificate") {
		t.Errorf("expired CA: %v", err)
	}
}

// The bundle may hold several roots, as in a rotation.
func TestTwoRoots(t *testing.T) {
	old, ca := pkitest.New(t), pkitest.New(t)
	server := ca.Server(t, "127.0.0.1").WriteFiles(t, t.TempDir(), ca)
	both := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: old.Root.Raw})) + read(t, server.CA)
	write(t, server.CA, both)
	config, err := server.ServerConfig()
	if err != nil {
		t.Fatal(err)
	}
	for _, issuer := range []*pkitest.CA{old, ca} {
		if _, err := dial(t, config, ca.ClientConfig(issuer.Client(t, "alice"))); err != nil {
			t.Error(err)
		}
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}
