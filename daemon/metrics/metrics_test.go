package metrics_test

import (
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/daemon/audit"
	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/daemon/limit"
	"github.com/footprintai/containarium/daemon/metrics"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

// sources are of a daemon that is well and has one running container.
func sources(t testing.TB) metrics.Sources {
	t.Helper()
	ca := pkitest.New(t)
	loaded, err := ca.Server(t, "127.0.0.1").WriteFiles(t, t.TempDir(), ca).Load(live.Server, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	return metrics.Sources{
		Generation:  func() *intercept.Generation { return &intercept.Generation{Number: 3, Trust: loaded} },
		Reloads:     func() metrics.Reloads { return metrics.Reloads{OK: 3, Failed: 2} },
		Connections: func() limit.Counts { return limit.Counts{Open: 5, Handshaking: 1, Accepted: 9, TooFast: 4, Evicted: 2} },
		Containers: func() metrics.Containers {
			return metrics.Containers{
				ByState: map[string]int{"running": 1, "stopped": 0}, Live: true, Confirmed: now.Add(-3 * time.Second),
				Lag: 250 * time.Millisecond, Events: 17, Resyncs: 2, Watchers: 6,
			}
		},
		Checks: func() map[string]error { return map[string]error{"incus": nil, "cache": nil} },
		Now:    func() time.Time { return now },
	}
}

func newMetrics(t testing.TB, change ...func(*metrics.Sources)) *metrics.Metrics {
	t.Helper()
	s := sources(t)
	for _, f := range change {
		f(&s)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	return metrics.New("1.2.3", s, log)
}

// numbers are the values of all series, of histograms how much they counted, by name and
// labels ("up{job=a}"); not those of Go and the process.
func numbers(t testing.TB, from prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			if name := family.GetName(); strings.HasPrefix(name, "containarium_") || strings.HasPrefix(name, "grpc_") {
				all[fmt.Sprintf("%s{%s}", name, strings.Join(labels, ","))] = value
			}
		}
	}
	return all
}

// want compares the series whose name begins so.
func want(t *testing.T, m *metrics.Metrics, prefix string, series map[string]float64) {
	t.Helper()
	got := numbers(t, m.Gather())
	for name := range got {
		if !strings.HasPrefix(name, prefix) {
			delete(got, name)
		}
	}
	if diff := cmp.Diff(series, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", prefix, diff)
	}
}

const list, watch = "/containarium.v1.ContainerService/ListContainers", "/containarium.v1.ContainerService/WatchContainers"

// A denied call counts like any other; a stream says nothing of how long a call takes,
// and what nobody serves makes no series.
func TestCalls(t *testing.T) {
	m := newMetrics(t)
	m.Call(&audit.Record{Method: list, Code: "OK", Role: "admin", DurationMS: 1.5}, true, false)
	m.Call(&audit.Record{Method: list, Code: "PermissionDenied", Role: "guest", DurationMS: 0.1}, true, false)
	m.Call(&audit.Record{Method: list, Code: "Unauthenticated"}, true, false)
	m.Call(&audit.Record{Method: watch, Code: "Canceled", Role: "admin", DurationMS: 3.6e6}, true, true)
	for i := range 100 {
		m.Call(&audit.Record{Method: fmt.Sprintf("/a.B/%d", i), Code: "Unimplemented", Role: "guest"}, false, false)
	}
	want(t, m, "grpc_", map[string]float64{
		"grpc_server_handled_total{grpc_code=OK,grpc_method=ListContainers,grpc_service=containarium.v1.ContainerService,role=admin}":               1,
		"grpc_server_handled_total{grpc_code=PermissionDenied,grpc_method=ListContainers,grpc_service=containarium.v1.ContainerService,role=guest}": 1,
		"grpc_server_handled_total{grpc_code=Unauthenticated,grpc_method=ListContainers,grpc_service=containarium.v1.ContainerService,role=}":       1,
		"grpc_server_handled_total{grpc_code=Canceled,grpc_method=WatchContainers,grpc_service=containarium.v1.ContainerService,role=admin}":        1,
		"grpc_server_handled_total{grpc_code=Unimplemented,grpc_method=unknown,grpc_service=unknown,role=guest}":                                    100,
		"grpc_server_handling_seconds{grpc_method=ListContainers,grpc_service=containarium.v1.ContainerService}":                                    3,
		"grpc_server_handling_seconds{grpc_method=unknown,grpc_service=unknown}":                                                                    100,
	})
}

func TestCreatesAndIncus(t *testing.T) {
	m := newMetrics(t)
	m.Stage("image", 2*time.Second)
	m.Stage("image", time.Second)
	m.Create(nil)
	m.Create(errors.New("no room"))
	want(t, m, "containarium_create", map[string]float64{
		"containarium_create_stage_seconds{stage=image}": 2, "containarium_creates_total{result=ok}": 1, "containarium_creates_total{result=failed}": 1,
	})
	m.IncusRequest("GET", "instances", 200, time.Millisecond)
	m.IncusRequest("GET", "instances", 404, time.Millisecond)
	m.IncusRequest("GET", "operations", 200, 0) // a wait
	m.IncusRequest("PUT", "instances", 0, time.Second)
	want(t, m, "containarium_incus_request", map[string]float64{
		"containarium_incus_requests_total{code=200,method=GET,resource=instances}":   1,
		"containarium_incus_requests_total{code=404,method=GET,resource=instances}":   1,
		"containarium_incus_requests_total{code=200,method=GET,resource=operations}":  1,
		"containarium_incus_requests_total{code=error,method=PUT,resource=instances}": 1,
		"containarium_incus_request_seconds{resource=instances}":                      3,
	})
}

// Every name, help and label is as Prometheus' own tool wants it, in either format.
func TestNumbersAreWellFormed(t *testing.T) {
	m := newMetrics(t)
	m.Call(&audit.Record{Method: list, Code: "OK", Role: "admin"}, true, false)
	m.Handshake(nil)
	m.Stage("image", time.Second)
	m.Create(nil)
	m.IncusRequest("GET", "instances", 200, time.Millisecond)
	families, err := m.Gather().Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %+v", err, problems)
	}
	for accept, ends := range map[string]string{"": "\n", "application/openmetrics-text; version=1.0.0": "\n# EOF\n"} {
		request, answer := httptest.NewRequest("GET", "/metrics", nil), httptest.NewRecorder()
		request.Header.Set("Accept", accept)
		m.Handler().ServeHTTP(answer, request)
		if body := answer.Body.String(); answer.Code != 200 || !strings.Contains(body, `containarium_build_info{goversion="go`) || !strings.HasSuffix(body, ends) {
			t.Errorf("Accept %q: %d\n%s", accept, answer.Code, body)
		}
	}
}
