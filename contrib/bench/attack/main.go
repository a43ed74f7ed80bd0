// Attack measures what callers feel while the daemon is under attack. It runs the
// real daemon on a simulated Incus, in this process, and a few well-behaved callers
// beside it; a second process attacks it in one way after the other. That runs where
// nobody else wants to, so that what is measured is the daemon's work and not the
// attacker's.
// All of it is on the loopback interface.
//
//	go run ./contrib/bench/attack [--for 10s] [--only NAME,NAME]
//
// It prints a table, and each figure as "figure: NAME VALUE UNIT". It exits 1 where
// a well-behaved caller got a failed call, or the daemon did not recover.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	start := run
	if len(os.Args) > 1 && os.Args[1] == strikeVerb {
		start = strike
	}
	switch err := start(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

// settings are what the flags say.
type settings struct {
	length      time.Duration
	connections int
	within      float64
	even        bool
	attacks     []attack
}

func parse(args []string, stderr io.Writer) (settings, error) {
	flags := flag.NewFlagSet("attack", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var s settings
	flags.DurationVar(&s.length, "for", 10*time.Second, "`length` of each attack, from 100ms to 1m")
	flags.IntVar(&s.connections, "half-open", 10_000, "`number` of half-open connections, at most 50000; below 6400 also fewer that read slowly")
	flags.Float64Var(&s.within, "p99-within", 0, "exit 1 where a p99 is more than this `factor` of the quiet one; 0: any will do")
	flags.BoolVar(&s.even, "even", false, "give the attacker the priority that everybody has")
	only := flags.String("only", "", "comma-separated `names` of attacks: "+strings.Join(names(), ", "))
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	switch {
	case flags.NArg() > 0:
		return s, fmt.Errorf("there are no arguments but flags, got %q", flags.Arg(0))
	case s.length < 100*time.Millisecond || s.length > time.Minute:
		return s, errors.New("--for must be from 100ms to 1m")
	case s.connections < 1 || s.connections > 50_000:
		return s, errors.New("--half-open must be from 1 to 50000")
	}
	s.attacks = attacks
	if *only != "" {
		s.attacks = nil
		for name := range strings.SplitSeq(*only, ",") {
			at := slices.IndexFunc(attacks, func(a attack) bool { return a.name == name })
			if at < 0 {
				return s, fmt.Errorf("there is no attack %q: it is one of %s", name, strings.Join(names(), ", "))
			}
			s.attacks = append(s.attacks, attacks[at])
		}
	}
	return s, nil
}

func names() (all []string) {
	for _, a := range attacks {
		all = append(all, a.name)
	}
	return all
}

// run measures the quiet daemon, and then each attack.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	s, err := parse(args, stderr)
	if err != nil {
		return err
	}
	moreFiles()
	dir, err := os.MkdirTemp("", "attack")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	site, err := newSite(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.close()) }()

	out := report{Writer: stdout}
	out.printf("The daemon, the simulated Incus and the callers share one process (MiB are its resident memory); the attacker has another, which runs when they do not.\n")
	// What is done for the first time is slow; and then the quiet daemon.
	if _, err := site.measure(ctx, time.Second); err != nil {
		return err
	}
	quiet, err := site.measure(ctx, s.length)
	if err != nil {
		return err
	}
	out.quiet(quiet)
	var errs []error
	if quiet.failed > 0 {
		errs = append(errs, fmt.Errorf("quiet: %d calls failed: %w", quiet.failed, quiet.err))
	}
	for _, a := range s.attacks {
		r, err := site.under(ctx, a, s, quiet)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		errs = append(errs, out.attack(a, quiet, r, s))
	}
	return errors.Join(errs...)
}
