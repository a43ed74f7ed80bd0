package incustest

import (
	"context"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// Fault is something that goes wrong with requests. Its effects add up in the
// order of the fields.
type Fault struct {
	// Method and Path say which requests; an empty one means any. Path is a
	// pattern as of path.Match for the path without its query:
	// "/1.0/instances/*/exec".
	Method, Path string
	// Skip is how many requests pass before it hits one.
	Skip int
	// Times is how many requests it hits; 0: all, until it is taken away.
	Times int

	// Meet is called with each request that is hit, before anything else; it may
	// take Incus down.
	Meet func()

	// Delay holds the request up.
	Delay time.Duration
	// Drop closes the connection without an answer, Cut does so after the request
	// has had its effect.
	Drop, Cut bool
	// Status and Message answer instead of Incus.
	Status  int
	Message string

	// OperationDelay holds up the operation that the request starts.
	OperationDelay time.Duration
	// OperationError makes the operation fail with this text, and do nothing.
	OperationError string
	// OperationLost makes Incus forget the operation, which goes on: as if Incus
	// had been restarted.
	OperationLost bool
}

// faultKey is the context key of the fault that a request met.
type faultKey struct{}

func faultOf(ctx context.Context) *Fault {
	fault, _ := ctx.Value(faultKey{}).(*Fault)
	return fault
}

// Fail makes requests fail. A request meets the first fault that is for it.
// The function that it returns takes the fault away.
func (s *Server) Fail(fault Fault) (clear func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := &fault
	s.faults = append(s.faults, entry)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = slices.DeleteFunc(s.faults, func(f *Fault) bool { return f == entry })
	}
}

// arrived counts a request and returns a copy of the fault that it meets, or nil;
// false where the simulator is down. Where it is up the request is in s.work.
func (s *Server) arrived(r *http.Request) (*Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving == nil {
		return nil, false
	}
	s.work.Add(1)
	s.counts[r.Method+" "+r.URL.Path]++
	for i, fault := range s.faults {
		if !matches(fault.Method, fault.Path, r.Method, r.URL.Path) {
			continue
		}
		if fault.Skip > 0 {
			fault.Skip--
			continue
		}
		hit := *fault
		if fault.Times == 1 {
			s.faults = slices.Delete(s.faults, i, i+1)
		} else if fault.Times > 1 {
			fault.Times--
		}
		return &hit, true
	}
	return nil, true
}

// Requests returns how many requests there were since the start or the last
// Forget, of method and with a path that matches pattern, both as in Fault.
func (s *Server) Requests(method, pattern string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := 0
	for key, n := range s.counts {
		m, p, _ := strings.Cut(key, " ")
		if matches(method, pattern, m, p) {
			total += n
		}
	}
	return total
}

// Forget sets the counts of requests to 0.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.counts)
}

func matches(method, pattern, m, p string) bool {
	if method != "" && method != m {
		return false
	}
	if pattern == "" {
		return true
	}
	ok, err := path.Match(pattern, p)
	return ok && err == nil
}
