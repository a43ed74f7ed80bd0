package daemon_test

import (
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// reasonOf is the reason of an error's ErrorInfo.
func reasonOf(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

func whoami(t *testing.T, conn *grpc.ClientConn) error {
	t.Helper()
	_, err := pb.NewAuthServiceClient(conn).WhoAmI(t.Context(), &pb.WhoAmIRequest{})
	return err
}

// awaitCut waits until the connection of a client is gone.
func awaitCut(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	eventually(t, "the end of a connection", func() bool { return conn.GetState() != connectivity.Ready })
}

// A stolen laptop is shut out: its stream ends with the reason, its connection is
// closed, its next handshake is refused. Nobody else notices anything.
func TestRevocationCutsTheRevokedAlone(t *testing.T) {
	t.Parallel()
	ca := pkitest.New(t)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca, CRLs: ca.CRL(t)})
	eventually(t, "serving", healthIs(t, d.Dial(t, "operator-2"), healthpb.HealthCheckResponse_SERVING))
	thief, owner, bob := ca.Client(t, "alice"), ca.Client(t, "alice"), ca.Client(t, "bob")
	stolen, idle := d.DialWith(t, thief), d.DialWith(t, thief)
	others := []*grpc.ClientConn{d.DialWith(t, owner), d.DialWith(t, bob)}
	stream := watchHealth(t, stolen)
	if err := whoami(t, idle); err != nil {
		t.Fatal(err)
	}
	var streams []healthpb.Health_WatchClient
	for _, conn := range others {
		streams = append(streams, watchHealth(t, conn))
	}
	d.Revoke(t, thief)
	if err := end(stream); status.Code(err) != codes.Unauthenticated || reasonOf(err) != "REVOKED" {
		t.Errorf("the open stream: %v, reason %q", err, reasonOf(err))
	}
	awaitCut(t, stolen)
	awaitCut(t, idle)
	for _, conn := range []*grpc.ClientConn{stolen, idle, d.DialWith(t, thief)} {
		if err := whoami(t, conn); status.Code(err) != codes.Unavailable {
			t.Errorf("a call of the revoked: %v", err)
		}
	}
	for i, conn := range others {
		if state := conn.GetState(); state != connectivity.Ready {
			t.Errorf("another's connection is %s", state)
		}
		if err := whoami(t, conn); err != nil {
			t.Errorf("another's call: %v", err)
		}
		d.Sim.Down()
		if response, err := streams[i].Recv(); err != nil || response.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
			t.Errorf("another's stream: %v, %v", response, err)
		}
	}
	log := d.Log()
	if n := strings.Count(log, `msg="closing a connection"`); n != 2 {
		t.Errorf("%d connections were closed by the log, want 2", n)
	}
	if !strings.Contains(log, "cn=alice") || !strings.Contains(log, "revoked") {
		t.Error("the log does not say whose connection was closed, and why")
	}
}

// Between a call and the end of its connection there is no way in.
func TestARevokedCallerIsRefusedOnAnOpenConnection(t *testing.T) {
	t.Parallel()
	ca := pkitest.New(t)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca, CRLs: ca.CRL(t)})
	alice := ca.Client(t, "alice")
	conn := d.DialWith(t, alice)
	if err := whoami(t, conn); err != nil {
		t.Fatal(err)
	}
	d.Revoke(t, alice)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	// The connection is closed a moment after the reload: what comes in before is
	// told why.
	if err := whoami(t, conn); status.Code(err) != codes.Unauthenticated && status.Code(err) != codes.Unavailable || status.Code(err) == codes.Unauthenticated && reasonOf(err) != "REVOKED" {
		t.Errorf("a call after the reload: %v", err)
	}
	awaitCut(t, conn)
}

// clock is a clock that a test turns.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// A connection does not outlive its certificate.
func TestExpiryCutsTheExpiredAlone(t *testing.T) {
	t.Parallel()
	var c clock
	ca := pkitest.NewAt(t, c.now)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca})
	short, long := d.DialWith(t, ca.Client(t, "alice", pkitest.Lifetime(5*time.Minute))), d.DialWith(t, ca.Client(t, "bob"))
	ends, stays := watchHealth(t, short), watchHealth(t, long)
	c.advance(4 * time.Minute)
	if err := whoami(t, short); err != nil {
		t.Errorf("before its end: %v", err)
	}
	c.advance(2 * time.Minute)
	if err := end(ends); status.Code(err) != codes.Unauthenticated || reasonOf(err) != "EXPIRED" {
		t.Errorf("the stream: %v, reason %q", err, reasonOf(err))
	}
	awaitCut(t, short)
	if err := whoami(t, short); status.Code(err) != codes.Unavailable {
		t.Errorf("a call with an expired certificate: %v", err)
	}
	if err := whoami(t, long); err != nil {
		t.Errorf("another's call: %v", err)
	}
	d.Sim.Down()
	if _, err := stays.Recv(); err != nil {
		t.Errorf("another's stream: %v", err)
	}
}

// A daemon whose own certificate ran out still cuts whom it is told to.
func TestRevocationCountsWithAnExpiredServerCertificate(t *testing.T) {
	t.Parallel()
	var c clock
	ca := pkitest.NewAt(t, c.now)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca, CRLs: ca.CRL(t)})
	alice := ca.Client(t, "alice", pkitest.Lifetime(4*time.Hour))
	stream := watchHealth(t, d.DialWith(t, alice))
	c.advance(2 * time.Hour)
	eventually(t, "the log to say so", func() bool { return strings.Contains(d.Log(), "the server certificate has expired") })
	d.Revoke(t, alice)
	if err := end(stream); reasonOf(err) != "REVOKED" {
		t.Errorf("the stream: %v", err)
	}
}

// A root that leaves the bundle takes its clients with it.
func TestARootThatLeavesTheBundleCutsItsClients(t *testing.T) {
	t.Parallel()
	ca, other := pkitest.New(t), pkitest.New(t)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca})
	write(t, d.Files.CA, string(pkitest.PEM(ca.Root, other.Root)))
	d.WaitGeneration(t, 2)
	theirs, ours := d.DialWith(t, other.Client(t, "bob")), d.Dial(t, "alice")
	stream, stays := watchHealth(t, theirs), watchHealth(t, ours)
	write(t, d.Files.CA, string(pkitest.PEM(ca.Root)))
	if err := end(stream); status.Code(err) != codes.Unauthenticated || reasonOf(err) != "OTHER_CA" {
		t.Errorf("the stream: %v, reason %q", err, reasonOf(err))
	}
	awaitCut(t, theirs)
	d.Sim.Down()
	if _, err := stays.Recv(); err != nil {
		t.Errorf("another's stream: %v", err)
	}
}

func healthIs(t *testing.T, conn *grpc.ClientConn, want healthpb.HealthCheckResponse_ServingStatus) func() bool {
	return func() bool {
		response, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
		return err == nil && response.GetStatus() == want
	}
}

// A list that is bad shuts out whom its issuer certified, and nobody else; health
// says so until there is a good one.
func TestABadListClosesItsIssuerAlone(t *testing.T) {
	t.Parallel()
	ca, other := pkitest.New(t), pkitest.New(t)
	for name, list := range map[string]pkitest.List{
		"badly signed": {BadlySigned: true},
		"expired":      {ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: time.Now().Add(-time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good := append(ca.CRL(t), other.CRL(t)...)
			d := daemontest.StartWith(t, daemontest.Options{CA: ca, CRLs: good})
			write(t, d.Files.CA, string(pkitest.PEM(ca.Root, other.Root)))
			d.WaitGeneration(t, 2)
			closed, open := d.DialWith(t, other.Client(t, "bob")), d.Dial(t, "alice")
			stream, stays := watchHealth(t, closed), watchHealth(t, open)
			eventually(t, "serving", healthIs(t, open, healthpb.HealthCheckResponse_SERVING))

			d.SetCRLs(t, append(ca.CRL(t), other.CRLs(t, list)...))
			if err := end(stream); status.Code(err) != codes.Unauthenticated || reasonOf(err) != "REVOCATION_UNKNOWN" {
				t.Errorf("the stream: %v, reason %q", err, reasonOf(err))
			}
			awaitCut(t, closed)
			if err := whoami(t, closed); status.Code(err) != codes.Unavailable {
				t.Errorf("a call of the issuer's: %v", err)
			}
			if err := whoami(t, open); err != nil {
				t.Errorf("another issuer's call: %v", err)
			}
			eventually(t, "not serving", healthIs(t, open, healthpb.HealthCheckResponse_NOT_SERVING))
			if !strings.Contains(d.Log(), "level=error msg=\"a revocation list is bad") {
				t.Error("the log does not say so")
			}
			if _, err := stays.Recv(); err != nil {
				t.Errorf("another issuer's stream: %v", err)
			}
			d.SetCRLs(t, append(ca.CRL(t), other.CRL(t)...))
			eventually(t, "serving again", healthIs(t, open, healthpb.HealthCheckResponse_SERVING))
			eventually(t, "the issuer's client", func() bool { return whoami(t, closed) == nil })
		})
	}
}

// A list that nobody renews closes its issuer without a change of any file.
func TestAListThatExpiresClosesItsIssuer(t *testing.T) {
	t.Parallel()
	var c clock
	ca := pkitest.NewAt(t, c.now)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca, CRLs: ca.CRLs(t, pkitest.List{NextUpdate: time.Now().Add(10 * time.Minute)})})
	conn := d.Dial(t, "alice")
	stream := watchHealth(t, conn)
	c.advance(11 * time.Minute)
	if err := end(stream); reasonOf(err) != "REVOCATION_UNKNOWN" {
		t.Errorf("the stream: %v, reason %q", err, reasonOf(err))
	}
	if p := d.Generation().GetRevocationLists()[0].GetProblem(); !strings.Contains(p, "expired") {
		t.Errorf("problem %q", p)
	}
	d.SetCRLs(t, ca.CRL(t))
	eventually(t, "a call", func() bool { return whoami(t, conn) == nil })
}

// What is half written when the daemon reads it shuts nobody out.
func TestAHalfWrittenListIsReadAgain(t *testing.T) {
	t.Parallel()
	ca := pkitest.New(t)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca, CRLs: ca.CRL(t)})
	conn := d.Dial(t, "alice")
	stream := watchHealth(t, conn)
	whole := ca.CRL(t)
	if err := os.WriteFile(d.Files.CRL, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first look", func() bool { return strings.Contains(d.Log(), "it may be half written") })
	if err := os.WriteFile(d.Files.CRL, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	d.WaitGeneration(t, 2)
	d.Sim.Down()
	if _, err := stream.Recv(); err != nil {
		t.Errorf("the stream: %v", err)
	}
	if log := d.Log(); strings.Contains(log, "closing a connection") || strings.Contains(log, "a revocation list is bad; until") {
		t.Error("somebody was shut out")
	}
}

func TestWithoutListsRevocationIsOffAndTheLogSaysSo(t *testing.T) {
	t.Parallel()
	d := daemontest.Start(t)
	if n := strings.Count(d.Log(), "revocation is off"); n != 1 {
		t.Errorf("%d warnings, want one", n)
	}
	if l := d.Generation().GetRevocationLists(); len(l) != 0 {
		t.Errorf("lists %v", l)
	}
	conn := d.Dial(t, "alice")
	alice := d.CA.Client(t, "alice")
	stolen := watchHealth(t, d.DialWith(t, alice))
	// It is on as soon as there is a file.
	d.Revoke(t, alice)
	if err := end(stolen); reasonOf(err) != "REVOKED" {
		t.Errorf("the stream: %v", err)
	}
	if err := whoami(t, conn); err != nil {
		t.Errorf("another's call: %v", err)
	}
}
