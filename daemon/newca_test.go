package daemon_test

import (
	"crypto/x509"
	"os"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/pkitest"
)

// What contrib/doc/pki.md has an operator do who lost the CA's key and has no copy:
// the fleet goes over to a new CA, which the old one can not vouch for, and at no
// step is anybody locked out who has what the step before gave out.
func TestANewCAWithoutTheOldKey(t *testing.T) {
	t.Parallel()
	lost, fresh := pkitest.New(t), pkitest.New(t)
	d := daemontest.StartWith(t, daemontest.Options{CA: lost, CRLs: lost.CRL(t)})
	both := x509.NewCertPool()
	both.AddCert(lost.Root)
	both.AddCert(fresh.Root)
	// Each asks over a connection of its own.
	asks := func(ca *pkitest.CA, trusts *x509.CertPool) error {
		config := ca.ClientConfig(ca.Client(t, "admin"))
		config.RootCAs, config.Time = trusts, ca.Now
		conn, err := grpc.NewClient(d.Address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // it has its answer
		return whoami(t, conn)
	}
	old := func() error { return asks(lost, both) }
	renewed := func() error { return asks(fresh, both) }
	goes := func(step string, calls ...func() error) {
		t.Helper()
		for _, call := range calls {
			if err := call(); err != nil {
				t.Errorf("%s: %v", step, err)
			}
		}
	}
	goes("before", old)
	if renewed() == nil {
		t.Error("a CA that the daemon does not trust lets somebody in")
	}

	daemontest.Replace(t, d.Files.CA, pkitest.PEM(lost.Root, fresh.Root), 0o644)
	daemontest.Wait(t, "the new CA to be trusted", func() bool { return renewed() == nil })
	goes("with both roots", old)

	server := fresh.Server(t, "127.0.0.1", "localhost").WriteFiles(t, t.TempDir(), fresh)
	for from, to := range map[string]string{server.Key: d.Files.Key, server.Cert: d.Files.Cert} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		daemontest.Replace(t, to, data, 0o600)
	}
	daemontest.Wait(t, "the new certificate to be shown", func() bool { return asks(lost, fresh.Pool()) == nil })
	goes("with the new certificate", old, renewed)

	daemontest.Replace(t, d.Files.CRL, fresh.CRL(t), 0o644)
	daemontest.Replace(t, d.Files.CA, pkitest.PEM(fresh.Root), 0o644)
	daemontest.Wait(t, "the old CA to be gone", func() bool { return old() != nil })
	goes("at the end", renewed)
}
