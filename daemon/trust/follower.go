package trust

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/pki/live"
)

const (
	// fetchTimeout bounds one question to the CA; an answer takes milliseconds.
	fetchTimeout = 10 * time.Second
	// maxWait bounds the wait after failures, unless the interval is longer: a CA
	// that is back should not go unheard.
	maxWait = time.Minute
	// jitter is the part of a wait that is left to chance, so that a fleet that was
	// started at once does not ask at once.
	jitter = 0.2
)

// Source fetches what a CA hands out.
type Source func(ctx context.Context) (Bundle, error)

// Config is what a Follower works with.
type Config struct {
	// From is where the bundle comes from, as people are told it.
	From   string
	Source Source
	// Files are the daemon's: CA and CRL are written, the others are looked at.
	Files live.Files
	// KeepRoots and KeepCRLs say that CA or CRL is the source's own file, which is
	// not for us to write.
	KeepRoots, KeepCRLs bool
	// Interval is how often Run asks.
	Interval time.Duration
	// Publish calls write while nobody reads the files, and has them read then.
	Publish func(write func() error) error
	Now     func() time.Time
	Log     logrus.FieldLogger
}

// Follower keeps the trust of a daemon like that of its CA. It is safe for
// concurrent use.
type Follower struct {
	Config
	syncing sync.Mutex

	mu    sync.Mutex
	state State
}

// State is how far a Follower has come.
type State struct {
	From string
	// FetchedAt is when the source answered last, whether that was taken or not;
	// zero where it never did.
	FetchedAt time.Time
	// Err is why the last attempt failed; nil where it did not.
	Err error
}

// New returns a Follower that has not asked yet.
func New(config Config) *Follower {
	return &Follower{Config: config, state: State{From: config.From}}
}

// State returns how far the Follower has come.
func (f *Follower) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// Run asks at each interval, and after failures less and less often, until ctx
// ends.
func (f *Follower) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := f.Sync(ctx); err != nil {
			failures++
		} else {
			failures = 0
		}
		timer.Reset(f.wait(failures))
	}
}

// wait is the interval, doubled for each failure up to maxWait, give or take the
// jitter.
func (f *Follower) wait(failures int) time.Duration {
	wait := f.Interval
	for range failures {
		wait = min(2*wait, max(f.Interval, maxWait))
	}
	return time.Duration(float64(wait) * (1 - jitter/2 + jitter*rand.Float64())) //nolint:gosec // spreads load, guards nothing
}

// Sync asks once and takes what passes. On an error the files are as they were.
func (f *Follower) Sync(ctx context.Context) error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	fetch, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	offered, err := f.Source(fetch)
	answered := err == nil
	if err == nil {
		err = f.take(offered)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.note(answered, err)
	return err
}

// take writes what differs from our files.
func (f *Follower) take(offered Bundle) error {
	ours, err := f.Files.Load(live.Server, f.Now())
	if err != nil {
		return fmt.Errorf("read our own files: %w", err)
	}
	taken, err := check(ours, offered, f.Now())
	if err != nil {
		return err
	}
	if f.KeepRoots {
		taken.Roots = ours.RootsPEM
	}
	if f.KeepCRLs {
		taken.CRLs = ours.CRLsPEM
	}
	if string(taken.Roots) == string(ours.RootsPEM) && string(taken.CRLs) == string(ours.CRLsPEM) {
		return nil
	}
	err = f.Publish(func() error { return write(f.Files, ours, taken) })
	if err == nil {
		f.Log.WithField("from", f.From).Info("took new roots or revocation lists")
	}
	return err
}

// note keeps the outcome, and logs it where it is another than the last.
func (f *Follower) note(answered bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.state
	if answered {
		f.state.FetchedAt = f.Now()
	}
	f.state.Err = err
	log := f.Log.WithField("from", f.From)
	switch {
	case err == nil && before.Err != nil:
		log.Info("roots and revocation lists are up to date again")
	case err != nil && (before.Err == nil || before.Err.Error() != err.Error()):
		if !f.state.FetchedAt.IsZero() {
			log = log.WithField("age", f.Now().Sub(f.state.FetchedAt).Round(time.Second).String())
		}
		if errors.Is(err, ErrRefused) {
			log.WithError(err).Error("refused new roots and revocation lists; the last good ones stay")
		} else {
			log.WithError(err).Warn("can not fetch roots and revocation lists; the last good ones stay")
		}
	}
}
