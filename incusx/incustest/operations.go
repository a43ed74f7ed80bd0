package incustest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/lxc/incus/v6/shared/api"
)

// operationKept is how long Incus remembers an operation that has ended.
const operationKept = 5 * time.Second

// operation is one operation. Server.mu guards all but done.
type operation struct {
	id, project, class, description string
	created, updated                time.Time
	status                          api.StatusCode
	resources                       map[string][]string
	metadata                        map[string]any
	err                             error
	done                            chan struct{} // closed at its end
	exec                            *execution    // of a websocket operation
	finally                         func()        // called at its end, may be nil
}

func (s *Server) operationRoutes() {
	s.handle("GET /1.0/operations", s.listOperations)
	s.handle("GET /1.0/operations/{id}", func(w http.ResponseWriter, r *http.Request) error {
		op, err := s.operation(r.PathValue("id"))
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return writeSync(w, op.render(), "")
	})
	s.handle("DELETE /1.0/operations/{id}", func(_ http.ResponseWriter, r *http.Request) error {
		if _, err := s.operation(r.PathValue("id")); err != nil {
			return err
		}
		return api.StatusErrorf(http.StatusBadRequest, "This operation can't be cancelled")
	})
	s.handle("GET /1.0/operations/{id}/wait", s.waitOperation)
	s.handle("GET /1.0/operations/{id}/websocket", s.connectOperation)
}

func (s *Server) operation(id string) (*operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	op := s.operations[id]
	if op == nil {
		return nil, api.StatusErrorf(http.StatusNotFound, "Operation not found")
	}
	return op, nil
}

// launch starts an operation that does what run does and answers the request
// with it. The request's fault decides whether and when run is called.
func (s *Server) launch(w http.ResponseWriter, r *http.Request, op *operation, run func(ctx context.Context) error) error {
	fault := faultOf(r.Context())
	if fault == nil {
		fault = &Fault{}
	}
	s.mu.Lock()
	op.id, op.done = newUUID(), make(chan struct{})
	op.created = time.Now()
	op.updated, op.status = op.created, api.Running
	if op.class == "" {
		op.class = "task"
	}
	s.operations[op.id] = op
	s.operationChanged(op)
	answer := op.render()
	if fault.OperationLost {
		delete(s.operations, op.id)
	}
	s.mu.Unlock()

	s.work.Go(func() {
		var err error
		switch {
		case !s.pause(s.life, fault.OperationDelay):
			err = context.Canceled
		case fault.OperationError != "":
			err = fmt.Errorf("%s", fault.OperationError)
		default:
			err = run(s.life)
		}
		s.mu.Lock()
		op.status, op.err, op.updated = api.Success, err, time.Now()
		if err != nil {
			op.status = api.Failure
		}
		close(op.done)
		s.operationChanged(op)
		s.mu.Unlock()
		if op.finally != nil {
			op.finally()
		}
		s.work.Go(func() {
			s.pause(s.life, operationKept)
			s.mu.Lock()
			delete(s.operations, op.id)
			s.mu.Unlock()
		})
	})

	url := "/1.0/operations/" + op.id
	w.Header().Set("Location", url)
	writeJSON(w, http.StatusAccepted, api.ResponseRaw{
		Type: api.AsyncResponse, Status: api.OperationCreated.String(), StatusCode: int(api.OperationCreated),
		Operation: url, Metadata: answer,
	})
	return nil
}

// extend adds to an operation's metadata.
func (s *Server) extend(op *operation, metadata map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if op.metadata == nil {
		op.metadata = map[string]any{}
	}
	maps.Copy(op.metadata, metadata)
}

func (op *operation) render() api.Operation {
	rendered := api.Operation{
		ID: op.id, Class: op.class, Description: op.description, CreatedAt: op.created, UpdatedAt: op.updated,
		Status: op.status.String(), StatusCode: op.status, Resources: op.resources,
		Metadata: maps.Clone(op.metadata), Location: "none",
	}
	if op.err != nil {
		rendered.Err = op.err.Error()
	}
	return rendered
}

// listOperations lists them by state, as URLs or whole.
func (s *Server) listOperations(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	urls, whole := map[string][]string{}, map[string][]api.Operation{}
	for _, op := range s.operations {
		status := strings.ToLower(op.status.String())
		urls[status] = append(urls[status], "/1.0/operations/"+op.id)
		whole[status] = append(whole[status], op.render())
	}
	if recursive(r) {
		return writeSync(w, whole, "")
	}
	return writeSync(w, urls, "")
}

// waitOperation answers at the operation's end; where a time-out is first, with
// an error, as Incus does. Like Incus 6.0 it sends the header before it waits: a failed operation
// comes as an error with HTTP status 200.
func (s *Server) waitOperation(w http.ResponseWriter, r *http.Request) error {
	op, err := s.operation(r.PathValue("id"))
	if err != nil {
		return err
	}
	ctx := r.Context()
	if seconds, err := strconv.Atoi(r.FormValue("timeout")); err == nil && seconds >= 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
		defer cancel()
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	if flusher, ok := w.(http.Flusher); ok {
		flusher.Flush()
	}
	select {
	case <-op.done:
	case <-ctx.Done():
	}
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client, or Incus, went away
	}
	if ctx.Err() != nil {
		writeBody(w, errorBody(http.StatusInternalServerError, ctx.Err()))
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if op.err != nil {
		writeBody(w, errorBody(statusOf(op.err), op.err))
		return nil
	}
	writeBody(w, syncBody(op.render()))
	return nil
}

func newUUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
