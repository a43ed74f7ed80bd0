package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/footprintai/containarium/pki/live"
)

// patient is how long the daemon may take to recover.
const patient = 30 * time.Second

// result is what one attack did.
type result struct {
	figures
	did                 tally
	before, peak, after float64 // MiB
	goroutines          int     // at most
	recovery            time.Duration
	recovered           bool
	left                int     // open files more than before
	log, audit          float64 // MiB written
}

// under measures while the attack goes on, and how long it takes to recover.
func (s *site) under(ctx context.Context, a attack, set settings, quiet figures) (result, error) {
	var r result
	files, logged, audited := descriptors(), s.log.bytes.Load(), s.audited()
	r.before = memory(true)
	watch, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	most := peak(watch)

	struck, err := s.strike(ctx, a, set)
	if err != nil {
		return r, err
	}
	if r.figures, err = s.measure(ctx, set.length); err != nil {
		return r, err
	}
	if r.did, err = struck(); err != nil {
		return r, err
	}
	r.recovery, r.recovered = s.recover(ctx, quiet, files)
	stopWatching()
	r.peak, r.goroutines = most()
	r.after = memory(true)
	r.left = max(descriptors()-files, 0)
	r.log = float64(s.log.bytes.Load()-logged) / (1 << 20)
	r.audit = float64(s.audited()-audited) / (1 << 20)
	return r, ctx.Err()
}

func (s *site) audited() int64 {
	info, err := os.Stat(s.audit)
	if err != nil {
		return 0
	}
	return info.Size()
}

// strike begins an attack in a process of its own. The returned function waits for
// its end.
func (s *site) strike(ctx context.Context, a attack, set settings) (func() (tally, error), error) {
	var files live.Files
	if err := s.kit.with(func() { files = s.ca.Client(s.kit, a.as).WriteFiles(s.kit, s.kit.TempDir(), s.ca) }); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, set.length+patient)
	class := "--idle"
	if set.even {
		class = "--other"
	}
	cmd := exec.CommandContext(ctx, "chrt", class, "0", self, strikeVerb, a.name, //nolint:gosec // this program
		"--target", s.address, "--cert", files.Cert, "--key", files.Key, "--ca", files.CA,
		"--for", set.length.String(), "--half-open", strconv.Itoa(set.connections))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	return func() (did tally, err error) {
		defer cancel()
		if err := cmd.Wait(); err != nil {
			return did, fmt.Errorf("the attacker: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
		}
		return did, json.Unmarshal(stdout.Bytes(), &did)
	}, nil
}

// recover returns how long it takes until ten rounds of calls in a row are as fast
// as when it was quiet, within a factor of two of the p99, and all the attacker's
// connections are gone.
func (s *site) recover(ctx context.Context, quiet figures, files int) (time.Duration, bool) {
	begin := time.Now()
	tick := time.NewTicker(pace) // within the rate of an identity
	defer tick.Stop()
	good, since := 0, time.Duration(0)
	for ctx.Err() == nil && time.Since(begin) < patient {
		if good == 0 {
			since = time.Since(begin)
		}
		if good++; !s.asQuiet(quiet) || descriptors() > files+callers {
			good = 0
		}
		if good == 10 {
			return since, true
		}
		<-tick.C
	}
	return time.Since(begin), false
}

func (s *site) asQuiet(quiet figures) bool {
	for kind, call := range [kinds]func() error{
		whoAmI:  func() error { return callWhoAmI(s.callers[0]) },
		list:    func() error { return callList(s.callers[1]) },
		connect: s.callFresh,
	} {
		begin := time.Now()
		if err := call(); err != nil || time.Since(begin) > 2*quiet.took[kind].p99() {
			return false
		}
	}
	return true
}
