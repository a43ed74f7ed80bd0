package client_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// telling tells the version that the request names, as a user.
type telling struct {
	pb.UnimplementedContainerServiceServer
}

func (telling) GetContainer(ctx context.Context, r *pb.GetContainerRequest) (*pb.GetContainerResponse, error) {
	if r.GetUsername() != "" {
		_ = grpc.SetHeader(ctx, metadata.Pairs(intercept.VersionHeader, r.GetUsername()))
	}
	return &pb.GetContainerResponse{}, nil
}

func TestServerVersion(t *testing.T) {
	ca := pkitest.New(t)
	address := serveWith(t, ca, func(s *grpc.Server) { pb.RegisterContainerServiceServer(s, telling{}) })
	c := dialWith(t, with(client.Server{Address: address}, ca.Client(t, "admin").WriteFiles(t, t.TempDir(), ca)))
	for _, test := range []struct{ told, want string }{
		{"", ""},
		{"v1.2.3", "v1.2.3"},
		{"", "v1.2.3"}, // the last that was told
		{"v1.3.0", "v1.3.0"},
		{strings.Repeat("v", 101), "v1.3.0"}, // more than a version can be
	} {
		if _, err := c.Containers.GetContainer(t.Context(), &pb.GetContainerRequest{Username: test.told}); err != nil {
			t.Fatal(err)
		}
		if got := c.ServerVersion(); got != test.want {
			t.Errorf("%q was told: %q, want %q", test.told, got, test.want)
		}
	}
}

// A daemon tells its version with answers, streams and refusals alike.
func TestDaemonsTellTheirVersion(t *testing.T) {
	d := daemontest.StartWith(t, daemontest.Options{Version: "v1.2.3"})
	for name, call := range map[string]func(c *client.Client) error{
		"answer": func(c *client.Client) error {
			_, err := c.Auth.WhoAmI(t.Context(), &pb.WhoAmIRequest{})
			return err
		},
		"stream": func(c *client.Client) error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stream, err := c.Containers.WatchContainers(ctx, &pb.WatchContainersRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
		"refusal": func(c *client.Client) error {
			_, err := c.Containers.DeleteContainer(t.Context(), &pb.DeleteContainerRequest{Username: "nobody"})
			if status.Code(err) != codes.NotFound {
				return err
			}
			return nil
		},
		"refused stream": func(c *client.Client) error {
			stream, err := c.Containers.CreateContainerStream(t.Context(), &pb.CreateContainerStreamRequest{Create: &pb.CreateContainerRequest{Username: "-"}})
			if err == nil {
				_, err = stream.Recv()
			}
			if status.Code(err) != codes.InvalidArgument {
				return fmt.Errorf("not refused: %w", err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialDaemon(t, d, "admin")
			if err := call(c); err != nil {
				t.Fatal(err)
			}
			if got := c.ServerVersion(); got != "v1.2.3" {
				t.Errorf("the version is %q", got)
			}
		})
	}
}
