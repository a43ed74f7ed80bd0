package daemon_test

import (
	"bytes"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// follow starts a daemon that follows another at a short interval, with no
// revocation lists of its own.
func follow(t *testing.T, h *host) *daemontest.Daemon {
	t.Helper()
	asks := h.CA.Client(t, "jump-2").WriteFiles(t, t.TempDir(), h.CA)
	return daemontest.StartWith(t, daemontest.Options{CA: h.CA, Change: func(c *config.File) {
		c.TLS.TrustFrom, c.TLS.TrustInterval = h.Address, 50*time.Millisecond
		c.TLS.ClientCert, c.TLS.ClientKey = asks.Cert, asks.Key
	}})
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Who is revoked on the daemon that hosts the CA is shut out by all.
func TestDaemonsFollowTheCA(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := follow(t, h)
	eventually(t, "the revocation lists", func() bool { return len(d.Generation().GetRevocationLists()) == 1 })
	stolen, bob := d.DialWith(t, h.alice), d.Dial(t, "bob")
	stream, stays := watchHealth(t, stolen), watchHealth(t, bob)
	if _, err := pb.NewAuthServiceClient(h.Dial(t, "admin")).RevokeCertificate(t.Context(), &pb.RevokeCertificateRequest{NameOrSerial: "alice"}); err != nil {
		t.Fatal(err)
	}
	if err := end(stream); reasonOf(err) != "REVOKED" {
		t.Errorf("the stream: %v", err)
	}
	awaitCut(t, stolen)
	d.Sim.Down()
	if _, err := stays.Recv(); err != nil {
		t.Errorf("another's stream: %v", err)
	}
	if !bytes.Equal(read(t, d.Files.CRL), read(t, h.Files.CRL)) {
		t.Error("the file of revocation lists is not that of the CA")
	}
}

// A second root joins the bundle, and what it vouches for is accepted everywhere.
func TestDaemonsFollowTheRoots(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := follow(t, h)
	next := pkitest.New(t)
	bob := d.DialWith(t, next.Client(t, "bob"))
	if err := whoami(t, bob); status.Code(err) != codes.Unavailable {
		t.Fatalf("before: %v", err)
	}
	daemontest.Replace(t, h.authority.Dir+"/bundle.pem", pkitest.PEM(h.CA.Root, next.Root), 0o644)
	eventually(t, "bob's call", func() bool { return whoami(t, bob) == nil })
}

// While the CA is away, what it said last stays, across a restart too.
func TestACAThatIsAwayKeepsTheLastGoodCopy(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := follow(t, h)
	admin := pb.NewContainerServiceClient(d.Dial(t, "admin"))
	source := func() *pb.TrustSource {
		response, err := admin.GetSystemInfo(t.Context(), &pb.GetSystemInfoRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return response.GetTrustSource()
	}
	eventually(t, "the revocation lists", func() bool { return len(d.Generation().GetRevocationLists()) == 1 })
	if s := source(); s.GetAddress() != h.Address || s.GetFetchedAt() == nil || s.GetLastError() != "" {
		t.Errorf("source %v", s)
	}
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a failure", func() bool { return source().GetLastError() != "" })
	fetched := source().GetFetchedAt().AsTime()
	if s := source(); !strings.Contains(s.GetLastError(), "ask "+h.Address) || time.Since(fetched) > time.Minute {
		t.Errorf("source %v", s)
	}
	if n := len(d.Generation().GetRevocationLists()); n != 1 {
		t.Errorf("%d revocation lists, want the last good one", n)
	}
	if err := whoami(t, d.Dial(t, "bob")); err != nil {
		t.Errorf("a call: %v", err)
	}
	eventually(t, "another attempt", func() bool { return len(read(t, d.Files.CRL)) > 0 && strings.Contains(d.Log(), "can not fetch") })
	if n := strings.Count(d.Log(), "can not fetch"); n != 1 {
		t.Errorf("the log says %d times that the CA is away, want once", n)
	}
}

// The local command line revokes in the CA's directory: the daemon that hosts it
// goes by that without being told.
func TestTheHostFollowsItsOwnCA(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	stream := watchHealth(t, h.DialWith(t, h.alice))
	daemontest.Replace(t, h.authority.Dir+"/crl.pem", h.CA.CRL(t, h.alice.Leaf.SerialNumber), 0o644)
	if err := end(stream); reasonOf(err) != "REVOKED" {
		t.Errorf("the stream: %v", err)
	}
	// An older list, as of a backup, brings nobody back.
	daemontest.Replace(t, h.authority.Dir+"/crl.pem", h.CA.CRLs(t, pkitest.List{Number: big.NewInt(0)}), 0o644)
	eventually(t, "a refusal", func() bool { return strings.Contains(h.Log(), "refused new roots and revocation lists") })
	if err := whoami(t, h.DialWith(t, h.alice)); status.Code(err) != codes.Unavailable {
		t.Errorf("a call of the revoked: %v", err)
	}
}
