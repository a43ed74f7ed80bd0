package incustest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lxc/incus/v6/shared/api"
	"github.com/lxc/incus/v6/shared/ws"
)

// listenerQueue is how many events a listener may be behind before it is cut off.
const listenerQueue = 1000

// listener is a client of the event stream.
type listener struct {
	project string // empty: all
	types   []string
	queue   chan api.Event
	hangUp  func()
}

// serveEvents is the event stream: a websocket that gets each event of a project
// from now on.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) error {
	l := &listener{project: projectName(r), types: []string{"logging", "operation", "lifecycle"}, queue: make(chan api.Event, listenerQueue)}
	if r.FormValue("all-projects") == "true" {
		l.project = ""
	}
	if types := r.FormValue("type"); types != "" {
		l.types = strings.Split(types, ",")
	}
	gone := make(chan struct{})
	closed := make(chan struct{})
	l.hangUp = sync.OnceFunc(func() { close(closed) })
	s.mu.Lock()
	s.listeners[l] = struct{}{} // before the client is told that it listens
	s.mu.Unlock()
	defer s.forgetListener(l)
	conn, err := ws.Upgrader.Upgrade(w, r, nil)
	if err != nil {
		return nil // answered by the upgrader
	}
	defer func() { _ = conn.Close() }()
	answer := conn.PingHandler()
	conn.SetPingHandler(func(data string) error {
		s.mu.Lock()
		silent := s.silent
		s.mu.Unlock()
		if silent {
			return nil
		}
		return answer(data)
	})
	defer untilDown(r.Context(), func() { _ = conn.Close() })()
	s.work.Go(func() {
		defer close(gone)
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	})
	defer func() { _ = conn.Close(); <-gone }()
	for {
		select {
		case event, ok := <-l.queue:
			if !ok || conn.WriteJSON(event) != nil {
				return nil
			}
		case <-gone:
			return nil
		case <-closed:
			return nil
		}
	}
}

func (s *Server) forgetListener(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// send gives an event to whoever listens. Server.mu is held.
func (s *Server) send(project, kind string, metadata any) {
	if len(s.listeners) == 0 || s.silent {
		return
	}
	raw, err := json.Marshal(metadata)
	if err != nil {
		return
	}
	event := api.Event{Type: kind, Timestamp: time.Now(), Metadata: raw, Location: "none", Project: project}
	for l := range s.listeners {
		if (l.project != "" && l.project != project) || !slices.Contains(l.types, kind) {
			continue
		}
		select {
		case l.queue <- event:
		default: // too slow: Incus cuts it off
			delete(s.listeners, l)
			close(l.queue)
		}
	}
}

// happened sends a lifecycle event about an instance. Server.mu is held.
func (s *Server) happened(inst *instance, action string) {
	s.send(inst.project.name, api.EventTypeLifecycle, api.EventLifecycle{
		Action: action, Source: instanceURL(inst), Name: inst.name, Project: inst.project.name,
		Requestor: &api.EventLifecycleRequestor{Username: "root", Protocol: "unix", Address: "@"},
	})
}

func (s *Server) operationChanged(op *operation) {
	s.send(op.project, api.EventTypeOperation, op.render())
}

// Listeners returns how many clients listen to the event stream.
func (s *Server) Listeners() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.listeners)
}

// HangUp closes every event stream, as Incus does with one that reads too slowly.
func (s *Server) HangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.listeners {
		l.hangUp()
	}
}

// Silence loses all events, and gives no sign of life on their streams, until it
// is called with false.
func (s *Server) Silence(silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = silent
}

// Tell sends a lifecycle event about an instance that need not be there: one that
// comes late, or twice.
func (s *Server) Tell(projectName, name, action string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.happened(&instance{project: &project{name: projectName}, name: name}, action)
}
