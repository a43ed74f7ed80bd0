package daemon_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/incusx/incustest"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// number is the sum of the series of a name that have all of the labels ("code=OK"); of
// histograms, of how much they counted.
func number(t *testing.T, d *daemontest.Daemon, name string, labels ...string) float64 {
	t.Helper()
	families, err := d.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			missing := len(labels)
			for _, l := range m.GetLabel() {
				for _, want := range labels {
					if l.GetName()+"="+l.GetValue() == want {
						missing--
					}
				}
			}
			if missing == 0 {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// reads waits until a number is that: what is counted is so after the caller had their
// answer.
func reads(t *testing.T, d *daemontest.Daemon, want float64, name string, labels ...string) {
	t.Helper()
	got := 0.0
	defer func() {
		if t.Failed() {
			t.Logf("%s%q is %v, want %v", name, labels, got, want)
		}
	}()
	eventually(t, fmt.Sprintf("%s%q to be %v", name, labels, want), func() bool {
		got = number(t, d, name, labels...)
		return got == want
	})
}

// Calls count alike over gRPC and HTTP, denied ones too, and what nobody serves makes
// one series.
func TestCallsAreCounted(t *testing.T) {
	d := daemontest.Start(t)
	admin, guest := d.Dial(t, "admin"), d.HTTPClient(t, d.CA.Client(t, "guest"), true)
	if _, err := pb.NewContainerServiceClient(admin).ListContainers(t.Context(), &pb.ListContainersRequest{}); err != nil {
		t.Fatal(err)
	}
	if answer, body := d.Ask(t, d.HTTPClient(t, d.CA.Client(t, "admin"), false), http.MethodGet, "/v1/containers", ""); answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", answer.Status, body)
	}
	if answer, body := d.Ask(t, guest, http.MethodGet, "/v1/containers", ""); answer.StatusCode != http.StatusForbidden {
		t.Fatalf("%s: %s", answer.Status, body)
	}
	list := "grpc_method=ListContainers"
	reads(t, d, 2, "grpc_server_handled_total", list, "grpc_service=containarium.v1.ContainerService", "grpc_code=OK", "role=admin")
	reads(t, d, 1, "grpc_server_handled_total", list, "grpc_code=PermissionDenied", "role=guest")
	reads(t, d, 3, "grpc_server_handling_seconds", list)
	for i := range 5 {
		_ = admin.Invoke(t.Context(), fmt.Sprintf("/a.B/%d", i), &emptypb.Empty{}, &emptypb.Empty{})
		d.Ask(t, guest, http.MethodGet, fmt.Sprintf("/%d", i), "")
	}
	reads(t, d, 10, "grpc_server_handled_total", "grpc_service=unknown", "grpc_method=unknown")
	reads(t, d, 13, "grpc_server_handled_total")
}

func TestHandshakesAreCounted(t *testing.T) {
	d := daemontest.Start(t)
	bad := d.CA.Bad(t)
	for _, address := range []string{d.Address, strings.TrimPrefix(d.URL, "https://")} {
		for _, pair := range []pkitest.Pair{{}, bad["other CA"], bad["expired"], d.CA.Client(t, "alice")} {
			config := d.CA.ClientConfig(pair)
			config.NextProtos = []string{"h2"}
			if conn, err := tls.Dial("tcp", address, config); err == nil { // in TLS 1.3 a client ends first
				_, _ = conn.Read(make([]byte, 1))
				_ = conn.Close()
			}
		}
	}
	for _, result := range []string{"no_certificate", "unknown_ca", "expired", "ok"} {
		reads(t, d, 2, "containarium_handshakes_total", "result="+result)
	}
	reads(t, d, 8, "containarium_handshakes_total")
	reads(t, d, 8, "containarium_connections_accepted_total")
	reads(t, d, 0, "containarium_connections_open")
}

// A create leaves how long each of its stages took, what it asked of Incus, and a
// container; one that fails, that it failed.
func TestCreatesAreCounted(t *testing.T) {
	d := daemontest.Start(t)
	admin := pb.NewContainerServiceClient(d.Dial(t, "admin"))
	if _, err := admin.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "alice", NoWait: true}); err != nil {
		t.Fatal(err)
	}
	reads(t, d, 1, "containarium_creates_total", "result=ok")
	reads(t, d, 1, "containarium_containers", "state=running")
	reads(t, d, 0, "containarium_containers", "state=stopped")
	reads(t, d, 1, "containarium_create_stage_seconds", "stage=start")
	waits := number(t, d, "containarium_incus_requests_total", "resource=operations")
	if answers := number(t, d, "containarium_incus_requests_total", "resource=instances", "method=POST", "code=202"); answers < 1 || waits < 1 {
		t.Errorf("%v instances were asked for, with %v waits", answers, waits)
	}
	if timed := number(t, d, "containarium_incus_request_seconds", "resource=operations"); timed >= waits {
		t.Errorf("%v of %v requests about operations count as Incus' own time: the waits must not", timed, waits)
	}
	d.Sim.Fail(incustest.Fault{Method: "POST", Path: "/1.0/instances", Drop: true})
	if _, err := admin.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "bob", NoWait: true}); err == nil {
		t.Fatal("a create without Incus succeeded")
	}
	reads(t, d, 1, "containarium_creates_total", "result=failed")
	reads(t, d, 1, "containarium_creates_total", "result=ok")
}

// What a daemon goes by, and that a change of it failed.
func TestReloadsAreCounted(t *testing.T) {
	d := daemontest.Start(t)
	reads(t, d, 1, "containarium_generation")
	reads(t, d, 0, "containarium_reload_failed")
	d.SetPolicy(t, "[roles")
	reads(t, d, 1, "containarium_reload_failed")
	if failed := number(t, d, "containarium_reloads_total", "result=failed"); failed < 1 {
		t.Errorf("%v failures", failed)
	}
	d.SetPolicy(t, daemontest.Policy+"carol = \"guest\"\n")
	reads(t, d, 2, "containarium_generation")
	reads(t, d, 0, "containarium_reload_failed")
	reads(t, d, 2, "containarium_reloads_total", "result=ok")
}

// What says how the copy is goes with Incus, and comes back with it.
func TestNumbersWithoutIncus(t *testing.T) {
	d := daemontest.Start(t)
	well := func(want float64) {
		t.Helper()
		for _, name := range []string{"containarium_incus_up", "containarium_cache_live", "containarium_ready"} {
			reads(t, d, want, name)
		}
	}
	well(1)
	back := d.Sim.Fail(incustest.Fault{Drop: true})
	d.Sim.HangUp()
	well(0)
	client := d.HTTPClient(t, d.CA.Client(t, "admin"), false)
	if answer, body := d.Ask(t, client, http.MethodGet, "/metrics", ""); answer.StatusCode != http.StatusOK || !strings.Contains(body, "\ncontainarium_incus_up 0\n") {
		t.Errorf("without Incus: %s\n%s", answer.Status, body)
	}
	back()
	well(1)
}
