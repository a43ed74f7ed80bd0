package daemon_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/pkitest"
)

// BenchmarkRevokeToCut measures from the instant at which new revocation lists are
// in their place to the end of the revoked client's open stream.
func BenchmarkRevokeToCut(b *testing.B) {
	ca := pkitest.New(b)
	d := daemontest.StartWith(b, daemontest.Options{CA: ca, CRLs: ca.CRL(b)})
	var cuts []time.Duration
	for b.Loop() {
		alice := ca.Client(b, "alice")
		stream, err := healthpb.NewHealthClient(d.DialWith(b, alice)).Watch(b.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			b.Fatal(err)
		}
		d.Revoke(b, alice)
		start := time.Now()
		for err == nil {
			_, err = stream.Recv()
		}
		cuts = append(cuts, time.Since(start))
		if reasonOf(err) != "REVOKED" {
			b.Fatalf("the stream ended with %v", err)
		}
	}
	slices.Sort(cuts)
	middle, last := cuts[len(cuts)/2], cuts[len(cuts)-1]
	b.ReportMetric(float64(middle.Milliseconds()), "ms/cut")
	_, _ = fmt.Fprintf(os.Stdout, "figure: revoke_to_cut_ms %d ms\n", middle.Milliseconds())
	_, _ = fmt.Fprintf(os.Stdout, "figure: revoke_to_cut_max_ms %d ms\n", last.Milliseconds())
}
