package daemon_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/audit"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// overTheRate starts a daemon and uses up what alice may call.
func overTheRate(t *testing.T) (*daemontest.Daemon, *grpc.ClientConn) {
	t.Helper()
	d := daemontest.Start(t, func(c *config.File) { c.Limits.Rate, c.Limits.Burst = 1, 10 })
	conn := d.Dial(t, "alice")
	daemontest.Wait(t, "alice has made too many calls", func() bool {
		_, err := pb.NewAuthServiceClient(conn).WhoAmI(t.Context(), &pb.WhoAmIRequest{})
		return status.Code(err) == codes.ResourceExhausted
	})
	return d, conn
}

// TestOneTooManyIsRefusedUnread: a call beyond the rate is refused before its
// message is there, and is in the audit log by the request id that its caller got.
func TestOneTooManyIsRefusedUnread(t *testing.T) {
	d, conn := overTheRate(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, pb.ContainerService_DeleteContainer_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	refused := stream.RecvMsg(&pb.DeleteContainerResponse{}) // no message was sent
	if status.Code(refused) != codes.ResourceExhausted {
		t.Fatalf("got %v, want ResourceExhausted", refused)
	}
	id := ""
	for _, detail := range status.Convert(refused).Details() {
		if info, ok := detail.(*errdetails.RequestInfo); ok {
			id = info.GetRequestId()
		}
	}
	daemontest.Wait(t, "its line is in the audit log", func() bool {
		for _, r := range d.Audit(t) {
			if r.RequestID == id && id != "" {
				return r.Code == codes.ResourceExhausted.String() && r.CN == "alice" && r.Rule == "limits.rate" &&
					r.Method == pb.ContainerService_DeleteContainer_FullMethodName
			}
		}
		return false
	})
}

// TestAFloodIsHeld: the connection of calls that are too many is read from ever so
// slowly.
func TestAFloodIsHeld(t *testing.T) {
	_, conn := overTheRate(t)
	const calls, hold = 20, 25 * time.Millisecond // the interceptor's holdFor
	start, refused := time.Now(), 0
	for refused < calls {
		if _, err := pb.NewAuthServiceClient(conn).WhoAmI(t.Context(), &pb.WhoAmIRequest{}); status.Code(err) == codes.ResourceExhausted {
			refused++
		}
	}
	if took := time.Since(start); took < (calls-1)*hold {
		t.Errorf("%d refusals came within %s, want at least %s", calls, took, (calls-1)*hold)
	}
}

// TestUnreadableMessagesAreAudited: a call that no interceptor sees, since its
// message is too long or none, leaves its line all the same.
func TestUnreadableMessagesAreAudited(t *testing.T) {
	d := daemontest.Start(t)
	conn := d.Dial(t, "admin")
	_, err := pb.NewContainerServiceClient(conn).AddSSHKey(t.Context(), &pb.AddSSHKeyRequest{Username: "alice", SshKey: strings.Repeat("A", 1<<20)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message of 1 MiB: %v", err)
	}
	// Field 2 of a WhoAmIResponse is a text, that of the request a map.
	err = conn.Invoke(t.Context(), pb.ContainerService_ListContainers_FullMethodName, &pb.WhoAmIResponse{Role: "\x07"}, &pb.ListContainersResponse{})
	if status.Code(err) != codes.Internal {
		t.Errorf("a message that is none: %v", err)
	}
	for method, code := range map[string]codes.Code{
		pb.ContainerService_AddSSHKey_FullMethodName:      codes.ResourceExhausted,
		pb.ContainerService_ListContainers_FullMethodName: codes.Internal,
	} {
		daemontest.Wait(t, "the line of "+method, func() bool {
			lines := 0
			for _, r := range d.Audit(t) {
				if r.Method == method {
					lines++
					if r.CN != "admin" || r.Code != code.String() || r.Decision != "deny" || r.Event == audit.EventDecision {
						t.Fatalf("audit %+v, want the code %s", r, code)
					}
				}
			}
			return lines == 1
		})
	}
}
