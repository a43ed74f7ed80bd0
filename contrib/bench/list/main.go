// List compares "containarium ls" with "incus list -c ns4" on the same instances of
// a real Incus: how long each takes, and what it costs the Incus. It runs the
// binaries themselves, as an operator does, and the two take turns, so that what
// else the machine does meets both. As root:
//
//	go run ./contrib/bench/list --containarium bin/containarium [--instances 1000] [--runs 10]
//
// It brings up an incusd of its own with contrib/incus/incus.sh, fills it with
// stopped containers that hold nothing, and takes all of it away again, also when
// it is interrupted. It prints each figure as "figure: NAME VALUE UNIT".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "list:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("list", flag.ContinueOnError)
	flags.SetOutput(stderr)
	binary := flags.String("containarium", "bin/containarium", "`path` of the binary")
	instances := flags.Int("instances", 1000, "`number` of containers, from 1 to 10000")
	runs := flags.Int("runs", 10, "`number` of runs of each, from 1 to 1000")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *instances < 1 || *instances > 10_000 || *runs < 1 || *runs > 1000 || flags.NArg() > 0 {
		return errors.New("--instances is from 1 to 10000 and --runs from 1 to 1000, and there is nothing else")
	}
	if os.Geteuid() != 0 {
		return errors.New("an incusd of its own is made by root: use sudo")
	}
	if *binary, err = filepath.Abs(*binary); err != nil {
		return err
	}
	if _, err := os.Stat(*binary); err != nil {
		return fmt.Errorf("%w: build it first, with make build", err)
	}
	s := &site{binary: *binary}
	defer func() { err = errors.Join(err, s.down()) }()
	if err := s.up(ctx, *instances); err != nil {
		return err
	}
	ours, theirs, err := measure(ctx, s, *instances, *runs)
	if err != nil {
		return err
	}
	n := *instances
	_, err = fmt.Fprintf(stdout, `figure: ls_wall_p50_%d %.1f ms
figure: incus_list_wall_p50_%d %.1f ms
figure: ls_speedup_%d %.1f x
figure: ls_incusd_cpu_%d %.2f ms
figure: incus_list_incusd_cpu_%d %.1f ms
figure: daemon_rss_%d %.1f MiB
`, n, ours.wall, n, theirs.wall, n, theirs.wall/ours.wall, n, ours.cpu, n, theirs.cpu, n, s.rss())
	return err
}

// cost is what one run costs, in milliseconds: the median of the wall time, and the
// mean of what the Incus computes, which the kernel counts in steps of 10.
type cost struct{ wall, cpu float64 }

// lsAtOnce is how many of ours go with one of theirs: each costs too little of an
// Incus to be counted alone.
const lsAtOnce = 10

// measure lets the two take turns.
func measure(ctx context.Context, s *site, instances, runs int) (ours, theirs cost, err error) {
	var walls [2][]float64
	var cpus [2]time.Duration
	turn := func(which, times int, list func(context.Context) (int, error)) error {
		before, err := s.incusCPU()
		if err != nil {
			return err
		}
		for range times {
			began := time.Now()
			lines, err := list(ctx)
			if err != nil {
				return err
			}
			walls[which] = append(walls[which], float64(time.Since(began).Microseconds())/1000)
			if lines != instances {
				return fmt.Errorf("%d containers were listed, want %d", lines, instances)
			}
		}
		after, err := s.incusCPU()
		cpus[which] += after - before
		return err
	}
	for range runs {
		if err := errors.Join(turn(0, lsAtOnce, s.ls), turn(1, 1, s.incusList)); err != nil {
			return cost{}, cost{}, err
		}
	}
	result := func(which int) cost {
		slices.Sort(walls[which])
		n := len(walls[which])
		return cost{walls[which][n/2], float64(cpus[which].Microseconds()) / 1000 / float64(n)}
	}
	return result(0), result(1), nil
}
