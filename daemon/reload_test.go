package daemon_test

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/incusx/incustest"
	"github.com/footprintai/containarium/pki/identity"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// policyWith is daemontest.Policy with one text replaced.
func policyWith(t *testing.T, old, new string) string {
	t.Helper()
	if strings.Count(daemontest.Policy, old) != 1 {
		t.Fatalf("the policy has %q not once", old)
	}
	return strings.Replace(daemontest.Policy, old, new, 1)
}

// serverSerial is the serial of the certificate that the daemon shows.
func serverSerial(t *testing.T, d *daemontest.Daemon) string {
	t.Helper()
	var from peer.Peer
	if _, err := pb.NewAuthServiceClient(d.Dial(t, "admin")).WhoAmI(t.Context(), &pb.WhoAmIRequest{}, grpc.Peer(&from)); err != nil {
		t.Fatal(err)
	}
	return identity.Serial(from.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0])
}

// One mistake in one file, and nothing of what changed counts.
func TestABadChangeKeepsTheOldGeneration(t *testing.T) {
	t.Parallel()
	server := func(change func(*x509.Certificate)) func(*testing.T, *daemontest.Daemon) {
		return func(t *testing.T, d *daemontest.Daemon) {
			template := d.CA.ServerTemplate("127.0.0.1")
			change(template)
			d.CA.Issue(t, template).WriteFiles(t, filepath.Dir(d.Files.Cert), d.CA)
		}
	}
	for name, test := range map[string]struct {
		change func(*testing.T, *daemontest.Daemon)
		want   string
	}{
		"expired":       {server(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), "expired on"},
		"not yet valid": {server(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), "not yet valid"},
		"a client's": {server(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), "is a client certificate"},
		"another CA's": {func(t *testing.T, d *daemontest.Daemon) {
			pkitest.New(t).Server(t, "127.0.0.1").WriteFiles(t, filepath.Dir(d.Files.Cert), d.CA)
		}, "other CA"},
		"a root that does not vouch for us": {func(t *testing.T, d *daemontest.Daemon) {
			write(t, d.Files.CA, string(pkitest.PEM(pkitest.New(t).Root)))
		}, "other CA"},
		"another key": {func(t *testing.T, d *daemontest.Daemon) {
			cert, err := os.ReadFile(d.Files.Cert)
			if err != nil {
				t.Fatal(err)
			}
			d.CA.Server(t, "127.0.0.1").WriteFiles(t, filepath.Dir(d.Files.Cert), d.CA)
			write(t, d.Files.Cert, string(cert))
		}, "is not the key"},
		"a key that others can read": {func(t *testing.T, d *daemontest.Daemon) { chmod(t, d.Files.Key, 0o644) }, "chmod 600"},
		"policy with a mistake":      {func(t *testing.T, d *daemontest.Daemon) { d.SetPolicy(t, "[roles.x]\nalow = []\n") }, `unknown key "roles.x.alow"`},
		"no more revocation lists": {func(t *testing.T, d *daemontest.Daemon) {
			if err := os.Remove(d.Files.CRL); err != nil {
				t.Fatal(err)
			}
		}, "the revocation lists are gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := pkitest.New(t)
			d := daemontest.StartWith(t, daemontest.Options{CA: ca, CRLs: ca.CRL(t)})
			before := serverSerial(t, d)
			test.change(t, d)
			if got := d.WaitRefused(t); !strings.Contains(got, test.want) {
				t.Errorf("refused for %q, want %q", got, test.want)
			}
			if err := d.Reload(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Reload: %v, want %q", err, test.want)
			}
			if !strings.Contains(d.Log(), "what changed is not loaded") {
				t.Error("the log does not say so")
			}
			g := d.Generation()
			if g.GetNumber() != 1 || g.GetLastErrorAt() == nil {
				t.Errorf("generation %v", g)
			}
			if after := serverSerial(t, d); after != before {
				t.Errorf("the daemon shows %s, want %s as before", after, before)
			}
			// Once all is good again, all of it counts.
			good := d.CA.Server(t, "127.0.0.1")
			good.WriteFiles(t, filepath.Dir(d.Files.Cert), d.CA)
			d.SetPolicy(t, daemontest.Policy)
			d.SetCRLs(t, ca.CRL(t))
			d.WaitGeneration(t, 2)
			daemontest.Wait(t, "no error", func() bool { return d.Generation().GetLastError() == "" })
			if after := serverSerial(t, d); after != identity.Serial(good.Leaf) {
				t.Errorf("the daemon shows %s, want the new one", after)
			}
		})
	}
}

// A change counts however it is made, and without a signal.
func TestChangesOfFilesAreNoticed(t *testing.T) {
	t.Parallel()
	allow := policyWith(t, `guest = "guest"`, `guest = "operator"`)
	mayList := func(d *daemontest.Daemon, conn *grpc.ClientConn) error {
		_, err := pb.NewContainerServiceClient(conn).ListContainers(t.Context(), &pb.ListContainersRequest{})
		return err
	}
	for name, change := range map[string]func(*testing.T, *daemontest.Daemon, string){
		"write":  func(t *testing.T, _ *daemontest.Daemon, policy string) { write(t, policy, allow) },
		"rename": func(t *testing.T, d *daemontest.Daemon, _ string) { d.SetPolicy(t, allow) },
		"link": func(t *testing.T, _ *daemontest.Daemon, policy string) {
			write(t, policy+".2", allow)
			if err := os.Symlink(policy+".2", policy+".link"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(policy+".link", policy); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var policy string
			d := daemontest.Start(t, func(c *config.File) { policy = c.Policy.File })
			conn := d.Dial(t, "guest")
			if err := mayList(d, conn); status.Code(err) != codes.PermissionDenied {
				t.Fatalf("before: %v", err)
			}
			change(t, d, policy)
			d.WaitGeneration(t, 2)
			if err := mayList(d, conn); err != nil {
				t.Errorf("after, on the same connection: %v", err)
			}
		})
	}
}

// Certificate renewers swap a link to a folder: certificate and key change in one
// step.
func TestASwappedLinkIsNoticed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	point := func(to string) {
		if err := os.Symlink(to, filepath.Join(dir, "new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "current")); err != nil {
			t.Fatal(err)
		}
	}
	ca := pkitest.New(t)
	folder := func(name string) pkitest.Pair {
		pair := ca.Server(t, "127.0.0.1")
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		pair.WriteFiles(t, filepath.Join(dir, name), ca)
		return pair
	}
	folder("1")
	second := folder("2")
	point("1")
	d := daemontest.StartWith(t, daemontest.Options{CA: ca, Change: func(c *config.File) {
		c.Server.Cert, c.Server.Key = filepath.Join(dir, "current/tls.crt"), filepath.Join(dir, "current/tls.key")
	}})
	old := d.Dial(t, "alice")
	whoami := func() error {
		_, err := pb.NewAuthServiceClient(old).WhoAmI(t.Context(), &pb.WhoAmIRequest{})
		return err
	}
	if err := whoami(); err != nil {
		t.Fatal(err)
	}
	point("2")
	d.WaitGeneration(t, 2)
	if got := serverSerial(t, d); got != identity.Serial(second.Leaf) {
		t.Errorf("the daemon shows %s, want the second certificate", got)
	}
	if err := whoami(); err != nil {
		t.Errorf("a connection from before: %v", err)
	}
}

// A call that has begun ends under the policy that it began with, the next goes
// by the new one.
func TestCallsUnderWayFinishUnderTheirPolicy(t *testing.T) {
	t.Parallel()
	d := daemontest.Start(t)
	conn := d.Dial(t, "operator-1")
	client := pb.NewContainerServiceClient(conn)
	d.Sim.Fail(incustest.Fault{Method: "POST", Path: "/1.0/instances", OperationDelay: 2 * time.Second})
	created, streamed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := client.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "carol"})
		created <- err
	}()
	go func() {
		stream, err := client.CreateContainerStream(t.Context(), &pb.CreateContainerStreamRequest{Create: &pb.CreateContainerRequest{Username: "dave"}})
		for err == nil {
			_, err = stream.Recv()
		}
		streamed <- err
	}()
	eventually(t, "both creates", func() bool { return d.Sim.Requests("POST", "/1.0/instances") == 2 })
	d.SetPolicy(t, policyWith(t, `"operator-*" = "operator"`, `"operator-*" = "guest"`))
	d.WaitGeneration(t, 2)
	if _, err := client.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "erin"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a create after the change: %v", err)
	}
	if err := <-created; err != nil {
		t.Errorf("the create that was under way: %v", err)
	}
	if err := <-streamed; err == nil || err.Error() != "EOF" {
		t.Errorf("the streamed create that was under way: %v", err)
	}
}

// watchHealth opens a stream that stays open, and waits for its first message.
func watchHealth(t *testing.T, conn *grpc.ClientConn) healthpb.Health_WatchClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	return stream
}

// end returns how a stream ends.
func end(stream healthpb.Health_WatchClient) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

// Open streams are decided on again; those that are still allowed notice nothing.
func TestOpenStreamsAreDecidedAgain(t *testing.T) {
	t.Parallel()
	d := daemontest.Start(t)
	eventually(t, "serving", healthIs(t, d.Dial(t, "operator-2"), healthpb.HealthCheckResponse_SERVING))
	alice, bob := watchHealth(t, d.Dial(t, "alice")), watchHealth(t, d.Dial(t, "bob"))
	admin := d.Dial(t, "admin")
	// One whose handler waits for the next message.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	reflection, err := reflectionpb.NewServerReflectionClient(admin).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}
	if err := reflection.Send(ask); err != nil {
		t.Fatal(err)
	}
	if _, err := reflection.Recv(); err != nil {
		t.Fatal(err)
	}
	before := len(d.Audit(t))

	d.SetPolicy(t, strings.NewReplacer(
		"[roles.guest]\nallow = []", "[roles.guest]\nallow = []\ndeny = [\"health.read\"]",
		`alice = "tenant"`, `alice = "guest"`,
		"allow = [\"*\"]", "allow = [\"*\"]\ndeny = [\"reflection.use\"]",
	).Replace(daemontest.Policy))
	if err := end(alice); status.Code(err) != codes.PermissionDenied || reasonOf(err) != "DENIED" || !strings.Contains(err.Error(), "roles.guest.deny health.read") {
		t.Errorf("alice's stream: %v, reason %s", err, reasonOf(err))
	}
	if _, err := reflection.Recv(); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "roles.admin.deny reflection.use") {
		t.Errorf("the admin's stream: %v", err)
	}
	// Bob's stream still has messages.
	d.Sim.Down()
	if response, err := bob.Recv(); err != nil || response.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("bob's stream: %v, %v", response, err)
	}
	eventually(t, "two audit lines", func() bool { return len(d.Audit(t)) == before+2 })
	for _, r := range d.Audit(t)[before:] {
		if r.Decision != "deny" || r.Code != "PermissionDenied" || !strings.Contains(r.Rule, ".deny ") {
			t.Errorf("audit %+v", r)
		}
	}
}

// The operator sees by a call what the daemon goes by.
func TestSystemInfoShowsTheGeneration(t *testing.T) {
	t.Parallel()
	ca := pkitest.New(t)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca, CRLs: ca.CRL(t, ca.Client(t, "x").Leaf.SerialNumber)})
	client := pb.NewContainerServiceClient(d.Dial(t, "admin"))
	system := func() *pb.GetSystemInfoResponse {
		response, err := client.GetSystemInfo(t.Context(), &pb.GetSystemInfoRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	g := system().GetGeneration()
	if g.GetNumber() != 1 || time.Since(g.GetLoadedAt().AsTime()) > time.Minute || g.GetLastError() != "" || system().GetTrustSource() != nil {
		t.Errorf("generation %v", g)
	}
	loaded, err := d.Files.Load(live.Server, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !g.GetServerCertificateNotAfter().AsTime().Equal(loaded.Pair.Leaf.NotAfter) {
		t.Errorf("the certificate ends on %v", g.GetServerCertificateNotAfter().AsTime())
	}
	if l := g.GetRevocationLists(); len(l) != 1 || l[0].GetIssuer() != "Test intermediate" || l[0].GetRevoked() != 1 || l[0].GetNumber() == "" || l[0].GetProblem() != "" || !l[0].GetNextUpdate().AsTime().After(time.Now()) {
		t.Errorf("lists %v", l)
	}
	d.SetPolicy(t, "x = 1\n")
	d.WaitRefused(t)
	if g := system().GetGeneration(); g.GetNumber() != 1 || !strings.Contains(g.GetLastError(), "unknown key") || g.GetLastErrorAt() == nil {
		t.Errorf("generation %v", g)
	}
}
