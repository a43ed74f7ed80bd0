package daemon_test

import (
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/live"
)

// BenchmarkRPC compares a call through identity, rate, policy and audit with the
// same call to a bare gRPC server with the same TLS and the same handler, that of
// gRPC's health service. The two take turns, so that what else the machine does
// meets both.
func BenchmarkRPC(b *testing.B) {
	d := daemontest.Start(b, func(c *config.File) {
		c.Limits.Rate, c.Limits.Burst = 10_000, 100_000
		c.Audit.OnError = "refuse"
	})
	ours := healthpb.NewHealthClient(d.Dial(b, "admin"))
	loaded, err := d.Files.Load(live.Server, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(live.ServerConfig(func() *live.Loaded { return loaded }, time.Now))))
	healthpb.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(server.Stop)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(d.CA.ClientConfig(d.CA.Client(b, "admin")))))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	bare := healthpb.NewHealthClient(conn)

	var with, without []time.Duration
	call := func(c healthpb.HealthClient) time.Duration {
		start := time.Now()
		if _, err := c.Check(b.Context(), &healthpb.HealthCheckRequest{}); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	call(bare)
	for b.Loop() {
		with, without = append(with, call(ours)), append(without, call(bare))
	}
	slices.Sort(with)
	slices.Sort(without)
	a, z := with[len(with)/2], without[len(without)/2]
	b.ReportMetric(float64(a.Nanoseconds())/1000, "µs/ours")
	b.ReportMetric(float64(z.Nanoseconds())/1000, "µs/bare")
	_, _ = fmt.Fprintf(os.Stdout, "figure: rpc_overhead_p50 %.1f %%\n", 100*(float64(a)/float64(z)-1))
	_, _ = fmt.Fprintf(os.Stdout, "figure: rpc_overhead_p50_us %.1f us\n", float64((a-z).Nanoseconds())/1000)
}
