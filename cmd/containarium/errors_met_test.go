package main

import (
	"crypto/x509"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/footprintai/containarium/contrib/test/freeport"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// someTime is what stands in a line for a time that passes.
const someTime = "<some time>"

// What a user meets who does something wrong, or whose server is: each by a real
// daemon, or a server that has that fault alone, and each in the very line that says
// what failed on which server and what to do next.
func TestErrorsAUserMeets(t *testing.T) {
	ca, other := pkitest.New(t), pkitest.New(t)
	revoked, revokedAt := ca.Client(t, "carol"), ca.Now().Add(-time.Hour)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca, CRLs: ca.CRL(t, revoked.Leaf.SerialNumber)})
	write := func(pair pkitest.Pair, trusts *pkitest.CA) live.Files { return pair.WriteFiles(t, t.TempDir(), trusts) }
	list := func(files live.Files, revoked *x509.Certificate) live.Files {
		data := ca.CRLs(t, pkitest.List{Revoked: []*big.Int{revoked.SerialNumber}, RevokedAt: revokedAt})
		if err := os.WriteFile(files.CRL, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return files
	}
	day := func(at time.Time) string { return at.UTC().Format("2006-01-02 15:04 UTC") }
	admin := write(ca.Client(t, "admin"), ca)
	expired, early := ca.Bad(t)["expired"], ca.Bad(t)["not yet valid"]
	expiredFiles, earlyFiles := write(expired, ca), write(early, ca)
	stranger, halfStranger := write(other.Client(t, "admin"), other), write(other.Client(t, "admin"), ca)
	listed, unlisted := list(write(revoked, ca), revoked.Leaf), write(revoked, ca)

	old := serve(t, ca.Server(t, "127.0.0.1"), &pb.UnimplementedContainerServiceServer{})
	template := ca.ServerTemplate("127.0.0.1")
	template.NotBefore, template.NotAfter = ca.Now().Add(-50*time.Hour), ca.Now().Add(-49*time.Hour)
	late := ca.Issue(t, template)
	lateServer := serve(t, late, &pb.UnimplementedContainerServiceServer{})
	stolen := ca.Server(t, "127.0.0.1")
	stolenServer := serve(t, stolen, &pb.UnimplementedContainerServiceServer{})
	stolenListed := list(write(ca.Client(t, "admin"), ca), stolen.Leaf)
	elsewhere := serve(t, ca.Server(t, "jump-9.example"), &pb.UnimplementedContainerServiceServer{})
	down, err := freeport.Address("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() //nolint:errcheck // the test is over
	home := t.TempDir()
	config := filepath.Join(home, "config.toml")
	fingerprint := func(cert *x509.Certificate) string { return " (SHA-256 " + pki.Fingerprint(cert) + ")" }

	for name, test := range map[string]struct {
		server string
		files  live.Files
		line   string // behind "containarium "
		code   int
		want   string // behind "containarium: "
	}{
		"wrong CA, the server's": {d.Address, stranger, "ls", exitFailed,
			"ls on " + d.Address + ": the server's certificate is not from the CA in " + stranger.CA + `: it is from "Test intermediate"` + fingerprint(ca.Intermediate) +
				`, and that file has "Test root"` + fingerprint(other.Root) + "; is this the right server, and the ca.crt that came with your certificate?"},
		"wrong CA, ours": {d.Address, halfStranger, "info alice", exitFailed,
			"info alice on " + d.Address + ": the server refuses your certificate: " + halfStranger.Cert + ` of "admin" was issued by "Test intermediate"` + fingerprint(other.Intermediate) +
				", which " + halfStranger.CA + ` does not trust (another CA); it trusts "Test root"` + fingerprint(ca.Root) + "; give the certificate and the ca.crt of the same CA"},
		"expired certificate, ours": {d.Address, expiredFiles, "start alice", exitFailed,
			"start alice on " + d.Address + ": the server refuses your certificate: " + expiredFiles.Cert + ` of "alice" expired on ` + day(expired.Leaf.NotAfter) +
				"; on the CA machine: containarium pki renew alice"},
		"not yet valid certificate, ours": {d.Address, earlyFiles, "ls", exitFailed,
			"ls on " + d.Address + ": the server refuses your certificate: " + earlyFiles.Cert + ` of "alice" is not yet valid: it begins on ` + day(early.Leaf.NotBefore) +
				", in " + someTime + "; this clock is that much behind, or the CA's was ahead; set the clock of this machine and of the CA machine right"},
		"expired certificate, the server's": {lateServer, admin, "ls", exitFailed,
			"ls on " + lateServer + ": the server's certificate expired on " + day(late.Leaf.NotAfter) + ", " + someTime +
				" ago; on the CA machine: containarium pki renew NAME, if the clock of this machine is right"},
		"revoked, ours, on the list beside it": {d.Address, listed, "ls", exitFailed,
			"ls on " + d.Address + ": the server refuses your certificate: " + listed.Cert + ` of "carol" was revoked on ` + day(revokedAt) +
				"; on the CA machine: containarium pki issue carol --force, if it was not stolen"},
		"revoked, ours, as nobody tells us": {d.Address, unlisted, "ls", exitFailed,
			"ls on " + d.Address + ": the server accepts no connection with your certificate; it may be revoked or from a CA that the server does not trust, or the server's revocation " +
				"lists may be too old; containarium pki check looks at your files, and the daemon's log has the reason"},
		"revoked, the server's": {stolenServer, stolenListed, "ls", exitFailed,
			"ls on " + stolenServer + `: the server is not trusted: the server's certificate, "Test server", was revoked on ` + day(revokedAt) +
				"; whoever answers there may have stolen its key; else on the CA machine: containarium pki issue NAME --force"},
		"a name that the certificate has not": {elsewhere, admin, "ls", exitFailed,
			"ls on " + elsewhere + ": the server's certificate is for jump-9.example, not for 127.0.0.1; use a name that it has, or on the CA machine: containarium pki issue NAME --server --san HOST"},
		"no role": {d.Address, write(ca.Client(t, "nobody"), ca), "ls", exitDenied,
			"ls on " + d.Address + ": the policy gives nobody no role; its operator gives your name a role under [identities] in policy.toml"},
		"a role that does not allow it": {d.Address, write(ca.Client(t, "bob"), ca), "rm bob --force", exitDenied,
			"rm bob on " + d.Address + ": the role tenant of bob does not allow container.delete; containarium whoami shows what you may do"},
		"server down": {down, admin, "create alice", exitFailed,
			"create alice on " + down + ": nothing listens at " + down + "; on that host: systemctl status containarium"},
		"server that is silent": {silent.Addr().String(), admin, "ls --timeout 100ms", exitFailed,
			"ls on " + silent.Addr().String() + ": no answer from " + silent.Addr().String() + " in time; is the host up, and does a firewall let the port through? --timeout gives it longer"},
		"name not resolved": {"jump-1..test", admin, "ls", exitFailed,
			"ls on jump-1..test: jump-1..test is neither a server in " + config + " nor a host that can be found; containarium server add gives a server a name"},
		"version too old": {old, admin, "stop alice", exitFailed,
			"stop alice on " + old + ": the daemon is too old: it does not know this call; containarium version --server " + old +
				" shows its version and ours; update the daemon there, or use an older containarium here"},
	} {
		t.Run(name, func(t *testing.T) {
			for name, value := range map[string]string{
				"HOME": home, "CONTAINARIUM_CONFIG": config, "CONTAINARIUM_SERVER": test.server,
				"CONTAINARIUM_CERT": test.files.Cert, "CONTAINARIUM_KEY": test.files.Key, "CONTAINARIUM_CA": test.files.CA,
			} {
				t.Setenv(name, value)
			}
			code, out, errs := runLine(t.Context(), false, strings.Fields(test.line)...)
			want := strings.ReplaceAll(regexp.QuoteMeta("containarium: "+test.want+"\n"), regexp.QuoteMeta(someTime), `[0-9a-z]+`)
			if code != test.code || out.Len() > 0 || !regexp.MustCompile("^"+want+"$").MatchString(errs.String()) {
				t.Errorf("exit code %d, want %d, %q\n%swant\n%s", code, test.code, out, errs, test.want)
			}
		})
	}
}
