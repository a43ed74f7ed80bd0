// Package metrics has the numbers of the daemon for Prometheus.
package metrics

import (
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/daemon/audit"
)

// Metrics counts what happens, and reads what there is when it is asked. It is safe for
// concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	log      logrus.FieldLogger

	calls      *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	handshakes *prometheus.CounterVec
	stages     *prometheus.HistogramVec
	creates    *prometheus.CounterVec
	requests   *prometheus.CounterVec
	incus      *prometheus.HistogramVec
}

// Buckets in seconds: a call that reads takes some hundred microseconds, one that makes
// a container seconds, or minutes where its image is fetched and prepared.
var (
	callBuckets  = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
	stageBuckets = []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
)

// New returns Metrics of a daemon of the version, with what sources has.
func New(version string, sources Sources, log logrus.FieldLogger) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		log:      log,

		calls:      counter("grpc_server_handled_total", "Calls that are over, denied ones too, over gRPC and HTTP.", "grpc_service", "grpc_method", "grpc_code", "role"),
		seconds:    histogram("grpc_server_handling_seconds", "How long calls took that answer once.", callBuckets, "grpc_service", "grpc_method"),
		handshakes: counter("containarium_handshakes_total", "TLS handshakes, by what came of them.", "result"),
		stages:     histogram("containarium_create_stage_seconds", "How long the stages of creates took.", stageBuckets, "stage"),
		creates:    counter("containarium_creates_total", "Creates that are over.", "result"),
		requests:   counter("containarium_incus_requests_total", "Requests to Incus.", "method", "resource", "code"),
		incus:      histogram("containarium_incus_request_seconds", "How long Incus took to answer, waits for operations left out.", callBuckets, "resource"),
	}
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "containarium_build_info", Help: "1, with what was built."}, []string{"version", "goversion"})
	info.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(
		m.calls, m.seconds, m.handshakes, m.stages, m.creates, m.requests, m.incus, info, sources,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler serves the numbers, in the text format of Prometheus or as OpenMetrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, ErrorLog: m.log})
}

// Gather returns the numbers.
func (m *Metrics) Gather() prometheus.Gatherer { return m.registry }

// Call counts a call that is over. Methods that there are not count as one, so that
// nobody makes series by asking for them.
func (m *Metrics) Call(record *audit.Record, known, streams bool) {
	service, method := "unknown", "unknown"
	if known {
		service, method, _ = strings.Cut(strings.TrimPrefix(record.Method, "/"), "/")
	}
	m.calls.WithLabelValues(service, method, record.Code, record.Role).Inc()
	if !streams {
		m.seconds.WithLabelValues(service, method).Observe(record.DurationMS / 1000)
	}
}

// Handshake counts a handshake; nil is one that let somebody in.
func (m *Metrics) Handshake(err error) { m.handshakes.WithLabelValues(Reason(err)).Inc() }

// Stage counts a stage of a create, by its name.
func (m *Metrics) Stage(stage string, took time.Duration) {
	m.stages.WithLabelValues(stage).Observe(took.Seconds())
}

// Create counts a create that is over.
func (m *Metrics) Create(err error) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.creates.WithLabelValues(result).Inc()
}

// IncusRequest counts a request; the status is 0 where there was no answer, and took 0
// where it says nothing about Incus.
func (m *Metrics) IncusRequest(method, resource string, status int, took time.Duration) {
	code := "error"
	if status != 0 {
		code = strconv.Itoa(status)
	}
	m.requests.WithLabelValues(method, resource, code).Inc()
	if took > 0 {
		m.incus.WithLabelValues(resource).Observe(took.Seconds())
	}
}
