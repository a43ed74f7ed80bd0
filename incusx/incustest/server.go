// Package incustest simulates Incus: real HTTP on a unix socket, so that the official Incus client runs against it, with guests that answer exec and SSH, and with faults on demand.
package incustest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lxc/incus/v6/shared/api"
)

// Options say what is simulated. The zero value is usable.
type Options struct {
	// Socket is the path of the unix socket; empty: one in a new folder, which
	// Close removes.
	Socket string
	// SSHPort is the port of sshd in all guests; 0: a free one.
	SSHPort int
	// Projects are made besides "default", each with a profile "default" and the
	// images.
	Projects []string
	// Members make it a cluster of members of these names, which answers as the first.
	Members []string
	// Images are there besides the standard ones, in every project.
	Images []Image
	// StorageDriver is that of the pool "default"; empty: btrfs, which enforces a
	// disk size where dir does not.
	StorageDriver string
	// HostRoot is a folder that gets the kernel's counters of what runs, below
	// "sys"; empty: none.
	HostRoot string
	// StartDelay and StopDelay are how long a start and a stop take, AddressDelay
	// how long after its start a guest gets its address.
	StartDelay, StopDelay, AddressDelay time.Duration

	gateway string // of the bridge; empty: what this system has
}

// Server is a simulated Incus. It is safe for concurrent use.
type Server struct {
	options Options
	folder  string // to be removed, or empty
	mux     *http.ServeMux
	ssh     *sshSite

	// life ends with Close; every goroutine is counted in work.
	life   context.Context
	end    context.CancelFunc
	work   sync.WaitGroup
	closed sync.Once

	mu         sync.Mutex // guards what follows and everything reached from it
	serving    *serving   // nil while down
	projects   map[string]*project
	members    []*member // none where it is no cluster
	operations map[string]*operation
	listeners  map[*listener]struct{}
	silent     bool // of events
	faults     []*Fault
	counts     map[string]int
	lastLease  int
}

// serving is one span between Up and Down: what a daemon that goes away takes
// with it.
type serving struct {
	listener net.Listener
	http     *http.Server
	context  context.Context
	cancel   context.CancelFunc
}

// spanKey is the context key of the serving that a request came by.
type spanKey struct{}

// untilDown calls end when the Incus that a request came to goes away: the HTTP
// server does not know of websockets any more.
func untilDown(ctx context.Context, end func()) (stop func() bool) {
	span, ok := ctx.Value(spanKey{}).(*serving)
	if !ok {
		end()
		return func() bool { return true }
	}
	return context.AfterFunc(span.context, end)
}

// New starts a simulated Incus. Close ends it.
func New(options Options) (*Server, error) {
	if options.gateway == "" {
		options.gateway = gatewayHere()
	}
	s := &Server{
		options:    options,
		projects:   map[string]*project{},
		members:    newMembers(options.Members),
		operations: map[string]*operation{},
		listeners:  map[*listener]struct{}{},
		counts:     map[string]int{},
	}
	s.life, s.end = context.WithCancel(context.Background())
	for _, name := range append([]string{api.ProjectDefaultName}, options.Projects...) {
		s.projects[name] = newProject(name, options.Images)
	}
	s.routes()
	var err error
	if s.ssh, err = newSSHSite(options.SSHPort, options.gateway); err != nil {
		return nil, err
	}
	if options.Socket == "" {
		// A unix socket's path has at most 107 bytes, which t.TempDir exceeds.
		if s.folder, err = os.MkdirTemp("", "incus"); err != nil {
			s.ssh.close()
			return nil, fmt.Errorf("make a folder for the socket: %w", err)
		}
		s.options.Socket = filepath.Join(s.folder, "unix.socket")
	}
	err = s.beginLeases()
	if err == nil {
		err = s.Up()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Start starts a simulated Incus for a test, which ends it.
func Start(t testing.TB, options ...Options) *Server {
	t.Helper()
	var o Options
	if len(options) > 0 {
		o = options[0]
	}
	s, err := New(o)
	if err != nil {
		t.Fatalf("start the simulated Incus: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// Socket is the path of the unix socket.
func (s *Server) Socket() string { return s.options.Socket }

// SSHPort is the port on which sshd listens in all guests.
func (s *Server) SSHPort() int { return s.ssh.port }

// Up makes the socket answer, again after Down. What was there before is there
// again, except operations, which an Incus that restarts forgets.
func (s *Server) Up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving != nil {
		return nil
	}
	if err := s.life.Err(); err != nil {
		return fmt.Errorf("listen on %s: closed: %w", s.options.Socket, err)
	}
	_ = os.Remove(s.options.Socket) // of one that was cut off
	listener, err := net.Listen("unix", s.options.Socket)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.options.Socket, err)
	}
	span := &serving{listener: listener}
	span.context, span.cancel = context.WithCancel(s.life)
	span.context = context.WithValue(span.context, spanKey{}, span)
	span.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(discard{}, "", 0),
		BaseContext:       func(net.Listener) context.Context { return span.context },
	}
	s.serving = span
	s.work.Go(func() { _ = span.http.Serve(listener) })
	return nil
}

// Down takes the socket away and cuts every connection; guests go on. Operations
// that run come to their end, and nobody will hear of it.
func (s *Server) Down() {
	s.mu.Lock()
	span := s.serving
	s.serving = nil
	s.operations = map[string]*operation{}
	s.mu.Unlock()
	if span != nil {
		// Here and now: a Serve that has yet to begin would do it later, and then take
		// the socket of the next Up away.
		_ = span.listener.Close()
		// Before what runs ends by it: nobody is to hear how that ended.
		_ = span.http.Close()
		span.cancel()
	}
}

// Close ends everything and returns when all of it has ended.
func (s *Server) Close() {
	s.closed.Do(func() {
		s.Down()
		s.end()
		s.ssh.close()
		s.work.Wait()
		if s.folder != "" {
			_ = os.RemoveAll(s.folder)
		}
	})
}

// ServeHTTP counts a request, lets a fault have it, and answers it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, up := s.arrived(r)
	if !up {
		panic(http.ErrAbortHandler)
	}
	defer s.work.Done()
	if fault != nil {
		if fault.Meet != nil {
			fault.Meet()
		}
		if !s.pause(r.Context(), fault.Delay) {
			return
		}
		switch {
		case fault.Drop:
			panic(http.ErrAbortHandler)
		case fault.Status != 0:
			writeError(w, api.StatusErrorf(fault.Status, "%s", fault.Message))
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), faultKey{}, fault))
		if fault.Cut {
			s.mux.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
	}
	s.mux.ServeHTTP(w, r)
}

// pause waits; false where ctx or the server ended first.
func (s *Server) pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-s.life.Done():
	}
	return false
}

// handler answers a request or says why not. What it returns as an error goes out
// as Incus would put it.
type handler func(w http.ResponseWriter, r *http.Request) error

func (s *Server) handle(pattern string, h handler) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			writeError(w, err)
		}
	})
}

func (s *Server) routes() {
	s.mux = http.NewServeMux()
	s.siteRoutes()
	s.clusterRoutes()
	s.imageRoutes()
	s.instanceRoutes()
	s.operationRoutes()
	s.handle("GET /1.0/events", s.serveEvents)
	s.handle("/", func(http.ResponseWriter, *http.Request) error {
		return api.StatusErrorf(http.StatusNotFound, "not found")
	})
}

// writeSync answers with metadata.
func writeSync(w http.ResponseWriter, metadata any, etag string) error {
	if etag != "" {
		w.Header().Set("ETag", `"`+etag+`"`)
	}
	writeJSON(w, http.StatusOK, syncBody(metadata))
	return nil
}

func syncBody(metadata any) api.ResponseRaw {
	return api.ResponseRaw{Type: api.SyncResponse, Status: api.Success.String(), StatusCode: int(api.Success), Metadata: metadata}
}

func writeError(w http.ResponseWriter, err error) {
	code := statusOf(err)
	writeJSON(w, code, errorBody(code, err))
}

func errorBody(code int, err error) api.ResponseRaw {
	return api.ResponseRaw{Type: api.ErrorResponse, Code: code, Error: err.Error()}
}

// statusOf is the HTTP status of an error: 500 unless it has one, as in Incus.
func statusOf(err error) int {
	var status api.StatusError
	if errors.As(err, &status) {
		return status.Status()
	}
	return http.StatusInternalServerError
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	writeBody(w, body)
}

func writeBody(w http.ResponseWriter, body any) { _ = json.NewEncoder(w).Encode(body) }

// readJSON reads the body of a request.
func readJSON(r *http.Request, into any) error {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return api.StatusErrorf(http.StatusBadRequest, "%s", err)
	}
	return nil
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
