package incusx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"github.com/lxc/incus/v6/shared/api"
)

// The event stream is asked for a sign of life every pingEvery. One that gives
// none for silenceMost is taken for dead: a socket whose other end hangs looks
// like one on which nothing happens.
const (
	pingEvery   = 5 * time.Second
	silenceMost = 20 * time.Second
)

// Event says that something may have changed about a user's container. It says
// not what: events come late, out of order, and without the state that they led
// to.
type Event struct {
	// Username has the container; empty: the event is a sign of life, and nothing
	// happened.
	Username string
	// At is when it happened or, of a sign of life, when it was asked for: what
	// happened before that has been told.
	At time.Time
}

const listen = "listen to Incus' events"

// Events is a stream of events. It does not reconnect: when it ends something may
// have been missed, and everything is to be read anew.
type Events struct {
	conn *websocket.Conn
	stop func() bool
	done chan struct{}
	// pingEvery and silenceMost, but in tests.
	every, silence time.Duration
}

// Events opens the stream of events of the project, until ctx ends or Close.
// Whatever happens after it returned is in the stream.
func (c *Client) Events(ctx context.Context) (*Events, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := server.RawWebsocket("/events?type=" + api.EventTypeLifecycle + "&project=" + url.QueryEscape(c.cfg.Project))
	if err != nil {
		return nil, classify(listen, err)
	}
	e := &Events{conn: conn, done: make(chan struct{}), every: pingEvery, silence: silenceMost}
	e.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	return e, nil
}

// Follow calls handle with each event and sign of life, one after the other, and
// returns why the stream ended. It is called once.
func (e *Events) Follow(handle func(Event)) error {
	defer close(e.done)
	extend := func() error { return e.conn.SetReadDeadline(time.Now().Add(e.silence)) }
	e.conn.SetPongHandler(func(asked string) error {
		if at, err := time.Parse(time.RFC3339Nano, asked); err == nil {
			handle(Event{At: at})
		}
		return extend()
	})
	go e.ping()
	for {
		err := extend()
		var data []byte
		if err == nil {
			_, data, err = e.conn.ReadMessage()
		}
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			return fmt.Errorf("%s: %w: no sign of life for %s", listen, ErrUnavailable, e.silence)
		}
		if err != nil {
			return classify(listen, err)
		}
		for _, event := range parseEvent(data) {
			handle(event)
		}
	}
}

// ping asks for signs of life until Follow returns.
func (e *Events) ping() {
	ticker := time.NewTicker(e.every)
	defer ticker.Stop()
	for {
		now := time.Now()
		_ = e.conn.WriteControl(websocket.PingMessage, []byte(now.Format(time.RFC3339Nano)), now.Add(e.every)) // the reader notices
		select {
		case <-ticker.C:
		case <-e.done:
			return
		}
	}
}

// Close ends the stream.
func (e *Events) Close() {
	e.stop()
	_ = e.conn.Close()
}

// harmless are the actions that change nothing of what a container is.
var harmless = []string{
	"instance-exec", "instance-console", "instance-file-", "instance-log-", "instance-metadata-", "instance-backup-", "instance-snapshot-",
}

// parseEvent returns one event for each name that it is about: two where an
// instance was renamed. What can not be read is about none; the next full read
// sees what it told.
func parseEvent(data []byte) []Event {
	var event api.Event
	var happened api.EventLifecycle
	if json.Unmarshal(data, &event) != nil || event.Type != api.EventTypeLifecycle || json.Unmarshal(event.Metadata, &happened) != nil {
		return nil
	}
	if slices.ContainsFunc(harmless, func(prefix string) bool { return strings.HasPrefix(happened.Action, prefix) }) {
		return nil
	}
	source, err := url.Parse(happened.Source)
	if err != nil {
		return nil
	}
	path, ok := strings.CutPrefix(source.Path, "/1.0/instances/")
	if !ok {
		return nil
	}
	name, _, _ := strings.Cut(path, "/")
	before, _ := happened.Context["old_name"].(string)
	var events []Event
	for _, instance := range []string{name, before} {
		// An instance of another name is nobody's container.
		if username, ok := strings.CutSuffix(instance, instanceSuffix); ok && username != "" {
			events = append(events, Event{username, event.Timestamp})
		}
	}
	return events
}
