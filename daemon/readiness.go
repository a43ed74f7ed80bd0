package daemon

import (
	"errors"
	"sync"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// The services of grpc.health.v1 that are told: who asks for alive learns that the
// daemon answers, and who asks for ready, or for no service, whether it serves well.
const (
	aliveService = "liveness"
	readyService = "readiness"
)

// The reasons for which the daemon is not ready.
var (
	errNoIncus  = errors.New("Incus does not answer") //nolint:staticcheck // a name
	errNoCopy   = errors.New("the containers are being read from Incus")
	errBadLists = errors.New("a revocation list is bad, and shuts out those whom it is about")
	errStopping = errors.New("the daemon is shutting down")
)

// readiness tells the health services whether the daemon serves well: Incus answers,
// the copy of its containers is good, no revocation list shuts out whom it should let
// in, and it is not about to stop.
type readiness struct {
	health *health.Server

	mu           sync.Mutex
	incusAnswers bool
	copied       bool
	listsBad     bool
	stopping     bool
}

func newReadiness() *readiness {
	r := &readiness{health: health.NewServer()}
	r.health.SetServingStatus(aliveService, healthpb.HealthCheckResponse_SERVING)
	r.change(func(*readiness) {})
	return r
}

// incus is told whether Incus answers.
func (r *readiness) incus(answers bool) { r.change(func(r *readiness) { r.incusAnswers = answers }) }

// look is told whether the copy of the containers and the revocation lists are good.
func (r *readiness) look(copied, lists bool) {
	r.change(func(r *readiness) { r.copied, r.listsBad = copied, !lists })
}

// stop is told that the daemon is about to stop.
func (r *readiness) stop() {
	r.change(func(r *readiness) { r.stopping = true })
	r.health.Shutdown()
}

// both returns what readiness was told last.
func (r *readiness) both() (incusAnswers, listsBad bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.incusAnswers, r.listsBad
}

// checks returns what was looked at, nil for what is well.
func (r *readiness) checks() map[string]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.checksLocked()
}

func (r *readiness) checksLocked() map[string]error {
	unless := func(good bool, err error) error {
		if good {
			return nil
		}
		return err
	}
	return map[string]error{
		"incus":            unless(r.incusAnswers, errNoIncus),
		"cache":            unless(r.copied, errNoCopy),
		"revocation_lists": unless(!r.listsBad, errBadLists),
		"running":          unless(!r.stopping, errStopping),
	}
}

// change changes what is known, and tells the health services.
func (r *readiness) change(f func(*readiness)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r)
	status := healthpb.HealthCheckResponse_SERVING
	for _, err := range r.checksLocked() {
		if err != nil {
			status = healthpb.HealthCheckResponse_NOT_SERVING
		}
	}
	r.health.SetServingStatus("", status)
	r.health.SetServingStatus(readyService, status)
}
