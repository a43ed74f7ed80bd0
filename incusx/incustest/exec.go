package incustest

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/lxc/incus/v6/shared/api"
	"github.com/lxc/incus/v6/shared/ws"
)

// connectTimeout is how long Incus waits for the client's websockets.
const connectTimeout = 10 * time.Second

// The exit code of a command that was killed.
const exitKilled = 137

// execution is a command with its websockets, by "0", "1", "2" and "control".
// Server.mu guards the maps.
type execution struct {
	secrets  map[string]string // to what they are for
	taken    map[string]bool
	conns    map[string]*websocket.Conn
	required chan struct{} // closed when the three are there
	killed   chan struct{} // closed when the client went away
}

func (s *Server) execInstance(w http.ResponseWriter, r *http.Request) error {
	var post api.InstanceExecPost
	if err := readJSON(r, &post); err != nil {
		return err
	}
	s.mu.Lock()
	inst, err := s.instance(r)
	var this *run
	if err == nil {
		this = inst.guest.run
		switch inst.status {
		case api.Stopped:
			err = api.StatusErrorf(http.StatusBadRequest, "Instance is not running")
		case api.Frozen:
			err = api.StatusErrorf(http.StatusBadRequest, "Instance is frozen")
		}
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	op := &operation{project: inst.project.name, description: "Executing command", resources: resources(inst)}
	op.metadata = map[string]any{"command": post.Command, "environment": post.Environment, "interactive": post.Interactive}
	if !post.WaitForWS {
		return s.launch(w, r, op, func(ctx context.Context) error {
			ctx, cancel := s.untilHalt(ctx, this, nil)
			defer cancel()
			code := s.runCommand(ctx, inst.guest, "root", post.Command, stdio{empty{}, io.Discard, io.Discard})
			s.extend(op, map[string]any{"return": code})
			return nil
		})
	}
	if post.Interactive {
		return api.StatusErrorf(http.StatusNotImplemented, "interactive commands are not simulated")
	}
	op.class = "websocket"
	op.exec = &execution{
		secrets: map[string]string{}, taken: map[string]bool{}, conns: map[string]*websocket.Conn{},
		required: make(chan struct{}), killed: make(chan struct{}),
	}
	fds := map[string]any{}
	for _, fd := range []string{"0", "1", "2", api.SecretNameControl} {
		secret := newUUID()
		op.exec.secrets[secret] = fd
		fds[fd] = secret
	}
	op.metadata["fds"] = fds
	return s.launch(w, r, op, func(ctx context.Context) error { return s.execute(ctx, op, inst, this, post.Command) })
}

// execute runs a command once its websockets are connected.
func (s *Server) execute(ctx context.Context, op *operation, inst *instance, this *run, argv []string) error {
	defer s.disconnect(op.exec)
	timer := time.NewTimer(connectTimeout)
	defer timer.Stop()
	select {
	case <-op.exec.required:
	case <-timer.C:
		return errWebsockets
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	stdin, stdout, stderr := op.exec.conns["0"], op.exec.conns["1"], op.exec.conns["2"]
	s.mu.Unlock()
	ctx, cancel := s.untilHalt(ctx, this, op.exec.killed)
	defer cancel()

	in, feed := io.Pipe()
	s.work.Go(func() {
		_, err := io.Copy(feed, ws.NewWrapper(stdin))
		_ = feed.CloseWithError(err)
	})
	// A client has nothing to say there: what can be read is that it went away.
	for _, conn := range []*websocket.Conn{stdout, stderr} {
		s.work.Go(func() {
			if _, _, err := conn.ReadMessage(); err != nil {
				s.kill(op)
			}
		})
	}
	out, err := ws.NewWrapper(stdout), ws.NewWrapper(stderr)
	code := s.runCommand(ctx, inst.guest, "root", argv, stdio{in, out, err})
	_ = in.Close()
	_ = out.Close() // the barrier that says that all of it was sent
	_ = err.Close()
	s.extend(op, map[string]any{"return": code})
	if code == exitNotFound {
		return errNoCommand // whoever of guest and shell did not find it
	}
	return nil
}

// untilHalt returns a context that ends with ctx, with the run of the guest, or
// when killed is closed.
func (s *Server) untilHalt(ctx context.Context, this *run, killed <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	s.work.Go(func() {
		select {
		case <-this.ended:
			cancel()
		case <-killed:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, cancel
}

// kill ends the command of an operation. One that has ended is none the worse.
func (s *Server) kill(op *operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-op.exec.killed:
	default:
		close(op.exec.killed)
	}
}

func (s *Server) disconnect(e *execution) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range e.conns {
		_ = conn.Close()
	}
}

// connectOperation connects one websocket of a command.
func (s *Server) connectOperation(w http.ResponseWriter, r *http.Request) error {
	op, err := s.operation(r.PathValue("id"))
	if err != nil {
		return err
	}
	if op.exec == nil {
		return errNoWebsocket
	}
	s.mu.Lock()
	fd, known := op.exec.secrets[r.FormValue("secret")]
	taken := op.exec.taken[fd]
	op.exec.taken[fd] = true
	s.mu.Unlock()
	switch {
	case !known:
		return api.StatusErrorf(http.StatusForbidden, "not authorized")
	case taken:
		return errTaken
	}
	conn, err := ws.Upgrader.Upgrade(w, r, nil)
	if err != nil {
		return nil // answered by the upgrader
	}
	s.mu.Lock()
	op.exec.conns[fd] = conn
	complete := fd != api.SecretNameControl && op.exec.conns["0"] != nil && op.exec.conns["1"] != nil && op.exec.conns["2"] != nil
	s.mu.Unlock()
	if complete {
		close(op.exec.required)
	}
	stop := untilDown(r.Context(), func() { _ = conn.Close() })
	s.work.Go(func() { <-op.done; stop(); _ = conn.Close() })
	if fd == api.SecretNameControl {
		s.work.Go(func() {
			for {
				if _, _, err := conn.ReadMessage(); err != nil {
					s.kill(op)
					return
				}
			}
		})
	}
	return nil
}

type empty struct{}

func (empty) Read([]byte) (int, error) { return 0, io.EOF }
