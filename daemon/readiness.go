package daemon

import (
	"sync"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// readiness tells the health service whether the daemon serves: Incus answers, and
// no revocation list shuts out whom it should let in.
type readiness struct {
	health *health.Server

	mu           sync.Mutex
	incusAnswers bool
	listsBad     bool
}

// incus is told whether Incus answers.
func (r *readiness) incus(answers bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.incusAnswers = answers
	r.tell()
}

// lists is told whether the revocation lists are good.
func (r *readiness) lists(good bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listsBad = !good
	r.tell()
}

// both returns what readiness was told last.
func (r *readiness) both() (incusAnswers, listsBad bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.incusAnswers, r.listsBad
}

func (r *readiness) tell() {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if r.incusAnswers && !r.listsBad {
		status = healthpb.HealthCheckResponse_SERVING
	}
	r.health.SetServingStatus("", status)
}
