package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/codes"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const (
	topInterval = 2 * time.Second
	// The daemon counts calls of a name, and looks at every container for each.
	minInterval, maxInterval = time.Second, time.Hour
)

func topCommand() *cli.Command {
	return &cli.Command{
		Name:      "top",
		Usage:     "show all the time what containers use",
		ArgsUsage: "[[SERVER:]USER]",
		Description: describe(`Shows what containers on one or several servers use, the busiest first, until q is
pressed. CPU is in cores; READ and WRITTEN are of the disks, RECEIVED and SENT of the
networks. A server that does not answer is tried again. Where nobody watches, and with
--once, it shows this once, as containarium metrics does.`,
			"containarium top --all",
			"containarium top alice --interval 5s",
			"containarium top --once --sort memory -o csv"),
		Flags: []cli.Flag{
			usageKeys.flag("cpu"),
			&cli.DurationFlag{Name: "interval", Value: topInterval, Usage: "how often to look, between 1s and 1h"},
			&cli.BoolFlag{Name: "once", Usage: "look once", DisableDefaultText: true},
		},
		Action: top,
	}
}

// topColumns are those of top, of the ones in usageCells.
var topColumns = []string{"USER", "STATE", "CPU", "MEMORY", "LIMIT", "READ", "WRITTEN", "RECEIVED", "SENT", "DISK", "PROCESSES", "PRESSURE"}

// usageKeys are what usage is sorted by, the largest first.
var usageKeys = sortKeys[usage]{
	"server":    func(u usage) (sortKey, bool) { return byText(u.server) },
	"user":      func(u usage) (sortKey, bool) { return byText(u.GetUsername()) },
	"cpu":       func(u usage) (sortKey, bool) { return byMost(u.CpuCores) },
	"memory":    func(u usage) (sortKey, bool) { return byMost(u.MemoryUsageBytes) },
	"disk":      func(u usage) (sortKey, bool) { return byMost(u.DiskUsageBytes) },
	"read":      func(u usage) (sortKey, bool) { return byMost(u.DiskReadRate) },
	"written":   func(u usage) (sortKey, bool) { return byMost(u.DiskWrittenRate) },
	"received":  func(u usage) (sortKey, bool) { return byMost(u.NetworkReceivedRate) },
	"sent":      func(u usage) (sortKey, bool) { return byMost(u.NetworkSentRate) },
	"processes": func(u usage) (sortKey, bool) { return byMost(u.ProcessCount) },
}

func top(c *cli.Context) error {
	users, err := usernames(c, 0, 1)
	if err != nil {
		return err
	}
	interval := c.Duration("interval")
	if interval < minInterval || interval > maxInterval {
		return usagef(c, "--interval %s: must be between %s and %s", interval, minInterval, span(maxInterval))
	}
	order, err := usageKeys.order(c)
	if err != nil {
		return err
	}
	sorted := func(rows []usage) {
		if !c.IsSet("sort") {
			sortBy(rows, usageKeys["cpu"], false)
		}
		order(rows)
		slices.SortStableFunc(rows, func(a, b usage) int { return hostLast(a) - hostLast(b) })
	}
	term := terminalOf(c)
	if c.Bool("once") || term.format != formatTable && term.format != formatWide {
		return usageOnce(c, users, topColumns, sorted)
	}
	t, user, err := topTargets(c, users)
	if err != nil {
		return err
	}
	s := term.openScreen(func() { warnOfExpiries(term, t.servers, time.Now()) })
	if s == nil {
		return usageOnce(c, users, topColumns, sorted)
	}
	defer s.close()
	w := &topping{newFeed(c, t, func() *pb.GetMetricsResponse { return nil }), user, interval, sorted}
	return w.run(w.follow, func(ctx context.Context) error { return s.run(ctx, interval, w.changed, w.frame) })
}

// hostLast puts hosts behind containers.
func hostLast(u usage) int {
	if u.GetUsername() == "" {
		return 1
	}
	return 0
}

// topTargets are the servers to follow, and the user if it is about one.
func topTargets(c *cli.Context, users []string) (*targets, string, error) {
	if len(users) == 0 {
		t, err := targetsOf(c, readTimeout)
		return t, "", err
	}
	t, err := targetsFor(c, readTimeout, users)
	if err != nil {
		return nil, "", err
	}
	places, err := placesOf(c, t, users, false)
	if err != nil {
		return nil, "", err
	}
	t.servers = []client.Server{places[0].server}
	return t, places[0].user, nil
}

// topping is a top of several servers.
type topping struct {
	*feed[*pb.GetMetricsResponse]
	user     string
	interval time.Duration
	sorted   func([]usage)
}

// follow looks at one server every so often, until another look would not help.
func (w *topping) follow(ctx context.Context, s *session, p *part[*pb.GetMetricsResponse]) error {
	again := time.NewTicker(w.interval)
	defer again.Stop()
	for {
		call, cancel := s.call(ctx)
		response, err := getMetrics(call, s, w.user, w.sorted)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if lasting(err) {
			return err
		}
		w.tell(func() {
			if p.value = response; err != nil { // what was there gets old
				w.silent(p, err)
				return
			}
			p.heard, p.problem = time.Now(), nil
		})
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lasting reports whether another call would fail as well.
func lasting(err error) bool {
	call, ok := errors.AsType[*client.Error](err)
	return ok && !call.Transient() && call.Code() != codes.DeadlineExceeded && call.Code() != codes.ResourceExhausted
}

// frame is what a screen shows.
func (w *topping) frame(columns, _ int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	t, now := terminalOf(w.c), time.Now()
	var rows []usage
	for _, p := range w.parts {
		rows = append(rows, usagesOf(p.server, p.value)...)
	}
	w.sorted(rows)
	if t.format == formatWide {
		columns = 0
	}
	heading := fmt.Sprintf("%s  every %s  q ends it", now.UTC().Format("15:04:05 UTC"), w.interval)
	lines := append([]string{heading}, w.problems(now)...)
	return append(append(lines, ""), t.lines(usageTable(rows, topColumns, w.t.fleet), columns)...)
}
