package daemon_test

import (
	"crypto/tls"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/audit"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// TestAllowFrom: who is elsewhere does not even come to a handshake.
func TestAllowFrom(t *testing.T) {
	d := daemontest.Start(t, func(c *config.File) { c.Server.AllowFrom = []string{"192.0.2.0/24"} })
	conn, err := (&tls.Dialer{Config: d.CA.ClientConfig(d.CA.Client(t, "admin"))}).DialContext(t.Context(), "tcp", d.Address)
	if err == nil {
		_ = conn.Close()
		t.Fatal("a connection from outside allow_from came to a handshake")
	}
	if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("got %v, want a connection that is closed at once", err)
	}
	here := daemontest.Start(t, func(c *config.File) { c.Server.AllowFrom = []string{"127.0.0.0/8"} })
	if _, err := pb.NewAuthServiceClient(here.Dial(t, "admin")).WhoAmI(t.Context(), &pb.WhoAmIRequest{}); err != nil {
		t.Errorf("a caller within allow_from: %v", err)
	}
}

// TestRateOfAnIdentity: one that makes too many calls is held back, and the
// others are not.
func TestRateOfAnIdentity(t *testing.T) {
	d := daemontest.Start(t, func(c *config.File) { c.Limits.Rate, c.Limits.Burst = 1, 10 })
	alice, bob := pb.NewAuthServiceClient(d.Dial(t, "alice")), pb.NewAuthServiceClient(d.Dial(t, "bob"))
	var err error
	for n := 0; err == nil && n < 1000; n++ {
		_, err = alice.WhoAmI(t.Context(), &pb.WhoAmIRequest{})
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("a thousand calls: %v, want ResourceExhausted", err)
	}
	if _, err := bob.WhoAmI(t.Context(), &pb.WhoAmIRequest{}); err != nil {
		t.Errorf("another identity: %v", err)
	}
}

// TestRefusedHandshakesAreAudited, with the peer and the reason.
func TestRefusedHandshakesAreAudited(t *testing.T) {
	d := daemontest.Start(t)
	_, err := pb.NewAuthServiceClient(d.DialWith(t, d.CA.Bad(t)["expired"])).WhoAmI(t.Context(), &pb.WhoAmIRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Fatalf("an expired certificate: %v", err)
	}
	_, err = pb.NewAuthServiceClient(d.DialWith(t, pkitest.New(t).Client(t, "admin"))).WhoAmI(t.Context(), &pb.WhoAmIRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Fatalf("a certificate of another CA: %v", err)
	}
	// The client can know of it before the line is written.
	daemontest.Wait(t, "both reasons are in the audit log", func() bool {
		reasons := ""
		for _, r := range d.Events(t) {
			if r.Event != audit.EventHandshake {
				continue
			}
			reasons += r.Reason + "\n"
			if !strings.HasPrefix(r.Peer, "127.0.0.1:") || r.Decision != "deny" || time.Since(r.Time) > time.Minute {
				t.Errorf("audit %+v", r)
			}
		}
		return strings.Contains(reasons, "expired") && strings.Contains(reasons, "unknown authority")
	})
}

// TestReloadReopensTheAuditLog, and the chain goes on in the new file.
func TestReloadReopensTheAuditLog(t *testing.T) {
	path := ""
	d := daemontest.Start(t, func(c *config.File) { path = c.Audit.File })
	auth := pb.NewAuthServiceClient(d.Dial(t, "admin"))
	call := func() {
		t.Helper()
		if _, err := auth.WhoAmI(t.Context(), &pb.WhoAmIRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	call()
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	call()
	if calls := d.Audit(t); len(calls) != 1 {
		t.Errorf("the new file has %d calls, want 1", len(calls))
	}
	report, err := audit.Verify([]audit.Source{audit.FileSource(path + ".1"), audit.FileSource(path)}, audit.Options{})
	if err != nil || !report.Whole() || report.Lines < 4 {
		t.Errorf("over both files of %s: %v, %+v", filepath.Dir(path), err, report)
	}
}

// TestConnectionsAreBounded: those beyond max_connections, in all or from one
// address, are closed at once; those that are open stay.
func TestConnectionsAreBounded(t *testing.T) {
	const most = 16
	for name, bound := range map[string]func(*config.Server){
		"in all":           func(s *config.Server) { s.MaxConnections = most },
		"from one address": func(s *config.Server) { s.MaxConnectionsPerAddress = most },
	} {
		t.Run(name, func(t *testing.T) {
			d := daemontest.Start(t, func(c *config.File) { bound(&c.Server) })
			first := watching(t, d)
			for range most - 1 {
				watching(t, d)
			}
			_, err := pb.NewAuthServiceClient(d.Dial(t, "alice")).WhoAmI(t.Context(), &pb.WhoAmIRequest{})
			if status.Code(err) != codes.Unavailable {
				t.Errorf("one connection too many: %v, want Unavailable", err)
			}
			stays(t, first)
		})
	}
}

// TestHandshakesEnd: the bound of connections that have not proved who they are
// does not count those that have.
func TestHandshakesEnd(t *testing.T) {
	d := daemontest.Start(t)
	first := watching(t, d)
	for range 100 { // more than may be in their handshake from one address
		watching(t, d)
	}
	stays(t, first)
}

// watching opens a stream on a connection of its own, and returns how it ends.
func watching(t *testing.T, d *daemontest.Daemon) <-chan error {
	t.Helper()
	stream := watchHealth(t, d.Dial(t, "alice"))
	ended := make(chan error, 1)
	go func() { ended <- end(stream) }()
	return ended
}

// stays fails the test if the stream ended.
func stays(t *testing.T, stream <-chan error) {
	t.Helper()
	select {
	case err := <-stream:
		t.Errorf("the first connection was closed: %v", err)
	default:
	}
}
