package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/daemon/policy"
	"github.com/footprintai/containarium/daemon/trust"
	"github.com/footprintai/containarium/pki/live"
)

const (
	// lookInterval is how often the files and the clock are looked at: a change
	// counts after two looks that agree, a revocation so within half a second.
	lookInterval = 200 * time.Millisecond
	// secondLook is how long a bad revocation list is given, which may be half
	// written, before it shuts out whom its issuer certified.
	secondLook = time.Second
	// retryInterval is how often files that failed are tried again without a change:
	// what was wrong may have been the clock.
	retryInterval = 10 * time.Second
)

// generations reads the files that the daemon goes by, as a whole, and publishes
// what they hold, as a whole. It fails closed to the last good generation: with
// one mistake in one file nothing of a new one counts.
type generations struct {
	files   live.Files
	policy  string
	actions policy.Actions
	now     func() time.Time
	log     logrus.FieldLogger
	// published is called after a new generation took the place of another.
	published func()
	// stopped ends when nothing more is to be waited for.
	stopped context.Context

	current atomic.Pointer[intercept.Generation]
	failed  atomic.Pointer[failure]
	// loads and failures count since the start.
	loads, failures atomic.Uint64
	// seen is the signature of the files as they were last read, well or not.
	seen atomic.Pointer[string]
	// reading is held while the files are read, and while we write them.
	reading sync.Mutex
}

// failure is an attempt to load a generation that came to nothing.
type failure struct {
	err error
	at  time.Time
}

// signature changes with every change of the files.
func (g *generations) signature() string {
	return g.files.Signature() + live.Files{Cert: g.policy}.Signature()
}

// read reads all files and checks all of them. It fails closed: what it returns
// serves, or there is an error.
func (g *generations) read() (*intercept.Generation, error) {
	now := g.now()
	loaded, err := g.files.Load(live.Server, now)
	if err != nil {
		return nil, fmt.Errorf("load the server certificate: %w", err)
	}
	old := g.current.Load()
	at := now
	if leaf := loaded.Pair.Leaf; old != nil && leaf.Equal(old.Trust.Pair.Leaf) && leaf.NotAfter.Before(at) {
		at = leaf.NotAfter // it has expired in use: what else changed must count all the same
	}
	if err := trust.CheckServer(loaded.Pair, loaded.Roots, at); err != nil {
		return nil, fmt.Errorf("load the server certificate: %w", err)
	}
	rules, err := policy.Load(g.policy, g.actions)
	if err != nil {
		return nil, err
	}
	number := uint64(1)
	if old != nil {
		number += old.Number
		// Whoever can take the file away must not bring back whom it shuts out.
		if old.Trust.CRLs != nil && loaded.CRLs == nil {
			return nil, fmt.Errorf("the revocation lists are gone: %s is missing; put it back, or restart the daemon to go on without", g.files.CRL)
		}
	}
	return &intercept.Generation{Number: number, LoadedAt: now, Trust: loaded, Policy: rules}, nil
}

// reload publishes what the files hold now, or keeps what there is and says why.
// An attempt that nobody asked for does not repeat itself in the log.
func (g *generations) reload(asked bool) error {
	g.reading.Lock()
	defer g.reading.Unlock()
	return g.reloadLocked(asked)
}

// update calls write while nobody reads the files, and then publishes what they
// hold. The error is that of write: why nothing was published is kept and logged
// as for any other reload.
func (g *generations) update(write func() error) error {
	g.reading.Lock()
	defer g.reading.Unlock()
	if err := write(); err != nil {
		return err
	}
	_ = g.reloadLocked(false)
	return nil
}

func (g *generations) reloadLocked(asked bool) error {
	next, err := g.readTwice()
	if err != nil {
		g.fail(err, asked)
		return err
	}
	first := g.current.Swap(next) == nil
	g.loads.Add(1)
	g.failed.Store(nil)
	if next.Policy.Empty() {
		g.log.Warnf("the policy %s gives nobody a role: every call will be denied", g.policy)
	}
	if first {
		return nil
	}
	g.log.WithField("generation", next.Number).Info("loaded certificates, revocation lists and policy")
	g.published()
	return nil
}

// readTwice reads the files again where a revocation list is bad at first.
func (g *generations) readTwice() (*intercept.Generation, error) {
	signature := g.signature()
	g.seen.Store(&signature)
	next, err := g.read()
	if err != nil || len(next.Trust.CRLs.Problems(g.now())) == 0 {
		return next, err
	}
	g.log.Debug("a revocation list is bad; it may be half written: reading the files again in a second")
	timer := time.NewTimer(secondLook)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.stopped.Done():
	}
	signature = g.signature()
	g.seen.Store(&signature)
	return g.read()
}

// fail keeps an error, and logs it where it is another than before or somebody
// asked.
func (g *generations) fail(err error, asked bool) {
	g.failures.Add(1)
	before := g.failed.Swap(&failure{err, g.now()})
	if g.current.Load() == nil { // whoever starts the daemon hears it
		return
	}
	if asked || before == nil || before.err.Error() != err.Error() {
		g.log.WithError(err).Error("what changed is not loaded; the daemon goes on as before")
	}
}

// watch reloads when the files changed and two looks in a row agree, until ctx
// ends.
func (g *generations) watch(ctx context.Context) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	last, tried := "", time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := g.signature()
		changed := now != *g.seen.Load()
		again := g.failed.Load() != nil && time.Since(tried) > retryInterval
		if changed && now == last || again {
			_ = g.reload(false) // kept and logged
			tried = time.Now()
		}
		last = now
	}
}

// refresh reloads if the files are others than those that were read last, and
// returns why the current generation is not theirs.
func (g *generations) refresh() error {
	g.reading.Lock()
	defer g.reading.Unlock()
	if g.signature() == *g.seen.Load() {
		if failed := g.failed.Load(); failed != nil {
			return failed.err
		}
		return nil
	}
	return g.reloadLocked(false)
}

// expired reports whether the server certificate is past its end.
func (g *generations) expired() bool {
	return g.now().After(g.current.Load().Trust.Pair.Leaf.NotAfter)
}

// problems joins what is wrong with the revocation lists at this time; nil where
// nothing is.
func (g *generations) problems() error {
	return errors.Join(g.current.Load().Trust.CRLs.Problems(g.now())...)
}
