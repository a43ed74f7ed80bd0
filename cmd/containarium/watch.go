package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/proto"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func watchCommand() *cli.Command {
	return &cli.Command{
		Name:  "watch",
		Usage: "show containers, and every change as it happens",
		Description: describe(`Shows a table that changes with the containers, of one server or of several. q ends
it. SEEN is now, or how long ago a server was heard last: it is tried again until it
answers.

Where nobody watches, each change is a line: "there" is a container that was there at
the beginning, "new", "changed" and "gone" say what became of one, "stale" and "live"
are about a server that can not be heard, and is heard again. -o json prints an object
a line. --timeout ends it after that time.`,
			"containarium watch --all",
			"containarium watch --state running --label team=web",
			"containarium watch --all -o json | jq -r 'select(.change == \"gone\") | .user'"),
		Flags:  append(filterFlags(), containerKeys.flag("server, then user")),
		Action: watch,
	}
}

// What a change says.
const (
	wasThere   = "there"
	isNew      = "new"
	isChanged  = "changed"
	isGone     = "gone"
	isStale    = "stale"
	isLive     = "live"
	seenNow    = "now"
	watchEvery = time.Second // for what is shown of times
)

// change is one line of a watch.
type change struct {
	at     time.Time
	server string
	what   string
	// user and container are those that changed; container is as it was where it is
	// gone. Both are empty where it is about the server.
	user      string
	container *pb.Container
	// problem is why a server is stale.
	problem string
}

// watched are the containers of one server.
type watched struct {
	containers map[string]*pb.Container
	// coming are those of a new beginning, until it is whole; nil where there is none.
	coming map[string]*pb.Container
	// whole says that everything came once.
	whole bool
}

// watching is a watch of several servers.
type watching struct {
	*feed[*watched]
	filter *filter
	sorted func([]container)
}

func watch(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	filter, err := filterOf(c)
	if err != nil {
		return err
	}
	sorted, err := containerKeys.order(c)
	if err != nil {
		return err
	}
	t, err := targetsOf(c, readTimeout)
	if err != nil {
		return err
	}
	w := &watching{newFeed(c, t, func() *watched { return &watched{containers: map[string]*pb.Container{}} }), filter, sorted}
	term := terminalOf(c)
	warn := func() { warnOfExpiries(term, t.servers, time.Now()) }
	if term.format == formatTable || term.format == formatWide {
		if s := term.openScreen(warn); s != nil {
			defer s.close()
			return w.run(w.follow(func([]change) error { return nil }), func(ctx context.Context) error {
				return s.run(ctx, watchEvery, w.changed, w.frame)
			})
		}
	}
	warn()
	lines := newChangeLines(c, t.servers)
	if err := lines.heading(); err != nil {
		return err
	}
	return w.run(w.follow(lines.print), func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	})
}

// follow watches one server, and passes on what changes there.
func (w *watching) follow(print func([]change) error) func(context.Context, *session, *part[*watched]) error {
	request := &pb.WatchContainersRequest{States: w.filter.request.GetStates(), Labels: w.filter.request.GetLabels()}
	return func(ctx context.Context, s *session, p *part[*watched]) error {
		for event, err := range client.Watch(ctx, s.Client, request) {
			if err != nil {
				return err
			}
			var failed error
			w.tell(func() { failed = print(w.take(p, event, time.Now())) })
			if failed != nil {
				return failed
			}
		}
		return ctx.Err()
	}
}

// take notes an event of one server and returns what has changed by it.
func (w *watching) take(p *part[*watched], event client.WatchEvent, now time.Time) []change {
	if event.CutOff != nil {
		before := p.problem
		w.silent(p, event.CutOff)
		if before != nil {
			return nil // it is so already
		}
		return []change{{at: now, server: p.server.Name, what: isStale, problem: p.line}}
	}
	var changes []change
	add := func(what, user string, c *pb.Container) {
		changes = append(changes, change{at: now, server: p.server.Name, what: what, user: user, container: c})
	}
	v, user := p.value, event.Message.GetUsername()
	switch event.Message.GetChange() {
	case pb.WatchChange_WATCH_CHANGE_RESET:
		v.coming = map[string]*pb.Container{}
	case pb.WatchChange_WATCH_CHANGE_PRESENT:
		switch old, known := v.containers[user]; {
		case !w.filter.fits(user):
		case v.coming != nil:
			v.coming[user] = event.Message.GetContainer()
		case known && proto.Equal(old, event.Message.GetContainer()):
		default:
			add(whatOf(known), user, event.Message.GetContainer())
			v.containers[user] = event.Message.GetContainer()
		}
	case pb.WatchChange_WATCH_CHANGE_GONE:
		if v.coming != nil {
			delete(v.coming, user)
		} else if old, known := v.containers[user]; known {
			add(isGone, user, old)
			delete(v.containers, user)
		}
	case pb.WatchChange_WATCH_CHANGE_SYNCED:
		if v.coming != nil {
			v.replace(add)
		}
		changes = append(changes, w.synced(p, event.Message.GetFreshness(), now)...)
	}
	return changes
}

func whatOf(known bool) string {
	if known {
		return isChanged
	}
	return isNew
}

// replace puts a new beginning in place of what was known, and tells where it
// differs.
func (v *watched) replace(add func(what, user string, c *pb.Container)) {
	for _, user := range slices.Sorted(maps.Keys(v.coming)) {
		switch old, known := v.containers[user]; {
		case !v.whole:
			add(wasThere, user, v.coming[user])
		case !known || !proto.Equal(old, v.coming[user]):
			add(whatOf(known), user, v.coming[user])
		}
	}
	for _, user := range slices.Sorted(maps.Keys(v.containers)) {
		if _, stays := v.coming[user]; !stays {
			add(isGone, user, v.containers[user])
		}
	}
	v.containers, v.coming, v.whole = v.coming, nil, true
}

// synced notes that what is known of a server is as good as what it knows, which
// may be stale itself.
func (w *watching) synced(p *part[*watched], f *pb.Freshness, now time.Time) []change {
	stale := p.problem != nil
	if f == nil || f.GetLive() {
		p.heard, p.problem = now, nil
		if stale {
			return []change{{at: now, server: p.server.Name, what: isLive}}
		}
		return nil
	}
	if at := f.GetConfirmedAt(); at != nil {
		p.heard = at.AsTime()
	}
	w.silent(p, errDeaf)
	if stale {
		return nil
	}
	return []change{{at: now, server: p.server.Name, what: isStale, problem: p.line}}
}

// errDeaf says that a server answers, and knows no more than we do.
var errDeaf = errors.New("it does not hear from its Incus")

// frame is what a screen shows.
func (w *watching) frame(columns, _ int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	t, now := terminalOf(w.c), time.Now()
	var rows []container
	seen := map[string]string{}
	running := 0
	for _, p := range w.parts {
		for _, user := range slices.Sorted(maps.Keys(p.value.containers)) {
			c := p.value.containers[user]
			rows = append(rows, container{p.server.Name, c})
			if c.GetState() == pb.ContainerState_CONTAINER_STATE_RUNNING {
				running++
			}
		}
		switch {
		case p.problem == nil:
			seen[p.server.Name] = seenNow
		case !p.heard.IsZero():
			seen[p.server.Name] = span(now.Sub(p.heard)) + " ago"
		default:
			seen[p.server.Name] = unknown
		}
	}
	w.sorted(rows)
	table := containerTable(rows, w.t.fleet, t.format == formatWide, now)
	table[0] = append(table[0], "SEEN")
	for i, row := range rows {
		table[i+1] = append(table[i+1], seen[row.server])
	}
	if t.format == formatWide {
		columns = 0
	}
	lines := append([]string{fmt.Sprintf("%s on %s, %d running  %s  q ends it", counted(len(rows), "container"), counted(len(w.parts), "server"), running, now.UTC().Format("15:04:05 UTC"))}, w.problems(now)...)
	return append(append(lines, ""), t.lines(table, columns)...)
}
