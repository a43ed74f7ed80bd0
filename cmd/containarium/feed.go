package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
)

// feed follows several servers at once, for a command that goes on until it is
// told to end. One that is down holds up none of the others.
type feed[T any] struct {
	c *cli.Context
	t *targets
	// mu guards the parts, and what is printed of them.
	mu    sync.Mutex
	parts []*part[T]
	// changed has something in it where a part has changed since it was last shown.
	changed chan struct{}
}

// part is what is known of one server.
type part[T any] struct {
	server client.Server
	value  T
	// heard is when the server last told something; zero: never.
	heard time.Time
	// problem is why it can not be heard now, nil where it is; line says so.
	problem error
	line    string
}

func newFeed[T any](c *cli.Context, t *targets, value func() T) *feed[T] {
	f := &feed[T]{c: c, t: t, changed: make(chan struct{}, 1)}
	for _, server := range t.servers {
		f.parts = append(f.parts, &part[T]{server: server, value: value()})
	}
	return f
}

// tell changes what is known, and has it shown.
func (f *feed[T]) tell(change func()) {
	f.mu.Lock()
	change()
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default: // it will be
	}
}

// silent notes why a server can not be heard.
func (f *feed[T]) silent(p *part[T], err error) {
	if _, said := errors.AsType[*failure](err); !said {
		err = f.t.failed(err, commandPath(f.c), "", p.server)
	}
	p.problem = err
	p.line = strings.TrimPrefix(explain(f.c.Context, err), fmt.Sprintf("%s on %s: ", commandPath(f.c), p.server.Name))
}

// run follows every server by each, until that returns or show does: then all of
// it ends. The error says what the servers failed of that could not be heard
// at the end; Ctrl-C comes before.
func (f *feed[T]) run(each func(ctx context.Context, s *session, p *part[T]) error, show func(ctx context.Context) error) error {
	ctx, end := context.WithCancel(f.c.Context)
	defer end()
	if d := globalTimeout(f.c); d > 0 {
		// Not a deadline: that the daemon would hear of, and answer by before we look.
		defer time.AfterFunc(d, end).Stop()
	}
	var running sync.WaitGroup
	for _, p := range f.parts {
		s, err := f.t.open(p.server, commandPath(f.c))
		if err != nil {
			f.tell(func() { f.silent(p, err) })
			continue
		}
		running.Go(func() {
			defer s.close()
			if err := each(ctx, s, p); ctx.Err() == nil {
				f.tell(func() { f.silent(p, err) })
			}
		})
	}
	shown, stop := context.WithCancel(ctx)
	defer stop()
	go func() { running.Wait(); stop() }()
	err := show(shown)
	end()
	running.Wait()
	if err == nil {
		err = f.c.Err() // nil but after Ctrl-C
	}
	if err == nil {
		err = f.failed()
	}
	return err
}

// failed is what the servers failed of that can not be heard.
func (f *feed[T]) failed() error {
	some := &someError{}
	for _, p := range f.parts {
		if p.problem != nil {
			some.errs = append(some.errs, p.problem)
		}
	}
	if len(some.errs) == 0 {
		return nil
	}
	some.all = len(some.errs) == len(f.parts)
	return some
}

// problems are lines about the servers that can not be heard.
func (f *feed[T]) problems(now time.Time) []string {
	style, plain := "", ""
	if terminalOf(f.c).colour {
		style, plain = yellowStyle, plainStyle
	}
	var lines []string
	for _, p := range f.parts {
		if p.problem == nil {
			continue
		}
		silent := "not heard yet"
		if !p.heard.IsZero() {
			silent = fmt.Sprintf("stale since %s (%s)", p.heard.UTC().Format("15:04:05 UTC"), span(now.Sub(p.heard)))
		}
		lines = append(lines, style+clean(p.server.Name+" "+silent+": "+p.line)+plain)
	}
	return lines
}
