package client_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/incusx/incustest"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func figure(name string, value float64, unit string) {
	_, _ = fmt.Fprintf(os.Stdout, "figure: %s %.3f %s\n", name, value, unit)
}

func middle[T ~int64 | ~float64](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}

// quietly is for daemons that are measured: what they log is not.
func quietly(c *config.File) {
	c.Limits.Rate, c.Limits.Burst = 10_000, 100_000
}

// BenchmarkFanOut asks 100 daemons in this process for their lists. All of them
// share its processors, and so does the caller.
//
// fan_out_ratio_100 is the whole time against the slowest answer of the same run,
// fan_out_hang_ratio_100 that where one hangs and one refuses against the time that
// one server has.
func BenchmarkFanOut(b *testing.B) {
	const daemons = 100
	ca, sim := pkitest.New(b), incustest.Start(b)
	err := sim.Populate("default", 20, func(i int) map[string]string {
		return map[string]string{"user.containarium.username": fmt.Sprintf("user-%02d", i), "user.containarium.phase": "ready"}
	})
	if err != nil {
		b.Fatal(err)
	}
	files := ca.Client(b, "admin").WriteFiles(b, b.TempDir(), ca)
	var servers []client.Server
	for n := range daemons {
		d := daemontest.StartWith(b, daemontest.Options{CA: ca, Sim: sim, Change: quietly})
		servers = append(servers, with(client.Server{Name: fmt.Sprintf("jump-%d", n), Address: d.Address}, files))
	}
	list := func(ctx context.Context, c *client.Client) (*pb.ListContainersResponse, error) {
		return c.Containers.ListContainers(ctx, &pb.ListContainersRequest{})
	}
	ask := func(b *testing.B, fan client.Fan, servers []client.Server, want map[int]codes.Code) (wall, slowest time.Duration) {
		b.Helper()
		begun := time.Now()
		answers := client.Ask(b.Context(), fan, servers, list)
		wall = time.Since(begun)
		for n, answer := range answers {
			slowest = max(slowest, answer.Took)
			if got := status.Code(answer.Err); got != want[n] || got == codes.OK && len(answer.Value.GetContainers()) != 20 {
				b.Fatalf("%s: %d containers, %v", answer.Server.Name, len(answer.Value.GetContainers()), answer.Err)
			}
		}
		return wall, slowest
	}
	daemontest.Wait(b, "the copies of all daemons", func() bool {
		return !slices.ContainsFunc(client.Ask(b.Context(), client.Fan{}, servers, list), func(a client.Answer[*pb.ListContainersResponse]) bool {
			return a.Err != nil || len(a.Value.GetContainers()) != 20
		})
	})

	b.Run("healthy", func(b *testing.B) {
		var ratios []float64
		var walls []time.Duration
		for b.Loop() {
			for range 10 {
				wall, slowest := ask(b, client.Fan{}, servers, nil)
				ratios, walls = append(ratios, wall.Seconds()/slowest.Seconds()), append(walls, wall)
			}
		}
		figure("fan_out_ratio_100", middle(ratios), "x")
		figure("fan_out_100_p50", middle(walls).Seconds()*1000, "ms")
	})
	b.Run("two of them down", func(b *testing.B) {
		hangs, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer hangs.Close() //nolint:errcheck // a benchmark is over
		refuses, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		_ = refuses.Close()
		some := slices.Clone(servers)
		some[3].Address, some[97].Address = hangs.Addr().String(), refuses.Addr().String()
		fan := client.Fan{Timeout: 5 * time.Second}
		var ratios []float64
		for b.Loop() {
			wall, _ := ask(b, fan, some, map[int]codes.Code{3: codes.DeadlineExceeded, 97: codes.Unavailable})
			ratios = append(ratios, wall.Seconds()/fan.Timeout.Seconds())
		}
		figure("fan_out_hang_ratio_100", middle(ratios), "x")
	})
}

// BenchmarkDial is the SDK from its files to the answer of the first call, against
// the same call over a bare gRPC connection with a configuration that is there
// already: TLS 1.3, certificates on both sides.
func BenchmarkDial(b *testing.B) {
	ca := pkitest.New(b)
	d := daemontest.StartWith(b, daemontest.Options{CA: ca, Change: quietly})
	pair := ca.Client(b, "admin")
	server := with(client.Server{Address: d.Address}, pair.WriteFiles(b, b.TempDir(), ca))
	whoAmI := func(c pb.AuthServiceClient) {
		if _, err := c.WhoAmI(b.Context(), &pb.WhoAmIRequest{}); err != nil {
			b.Fatal(err)
		}
	}
	ours := func() {
		c, err := client.Dial(server)
		if err != nil {
			b.Fatal(err)
		}
		whoAmI(c.Auth)
		_ = c.Close()
	}
	tls := ca.ClientConfig(pair)
	bare := func() {
		conn, err := grpc.NewClient(d.Address, grpc.WithTransportCredentials(credentials.NewTLS(tls)))
		if err != nil {
			b.Fatal(err)
		}
		whoAmI(pb.NewAuthServiceClient(conn))
		_ = conn.Close()
	}
	took := func(f func()) time.Duration {
		begun := time.Now()
		f()
		return time.Since(begun)
	}
	var a, z []time.Duration
	for b.Loop() {
		// Turn about, so that neither always comes first.
		if len(a)%2 == 0 {
			a = append(a, took(ours))
			z = append(z, took(bare))
		} else {
			z = append(z, took(bare))
			a = append(a, took(ours))
		}
	}
	figure("dial_first_call_p50", middle(a).Seconds()*1000, "ms")
	figure("dial_first_call_bare_p50", middle(z).Seconds()*1000, "ms")
	figure("dial_first_call_ratio", middle(a).Seconds()/middle(z).Seconds(), "x")
}
