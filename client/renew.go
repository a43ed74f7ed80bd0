package client

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/footprintai/containarium/pki/guard"
	"github.com/footprintai/containarium/pki/live"
)

const (
	// refreshEvery is how often roots and revocation lists are fetched while no
	// renewal is due: a rollover of the root takes days.
	refreshEvery = time.Hour
	// attemptTimeout bounds one attempt, connection included.
	attemptTimeout = 30 * time.Second
	// The wait after a failure doubles from the first to the second.
	firstRetry = 5 * time.Second
	lastRetry  = 10 * time.Minute
)

// Renewer renews a certificate at a daemon that hosts the CA, and keeps roots and
// revocation lists beside it up to date. The key stays the same and never leaves
// the machine. Every file is replaced whole, and only by what was verified.
//
//	r := &client.Renewer{Client: func() (*client.Client, error) { return client.Dial(server) }, Files: server.Files()}
//	go r.Run(ctx)
//
// It is not safe for concurrent use.
type Renewer struct {
	// Client dials the daemon; the Renewer closes what it returns. Where Files are a
	// server's, the client's certificate has the same Common Name.
	Client func() (*Client, error)
	// Files are what is renewed: a client's certificate or a server's.
	Files live.Files
	// Now is the clock, time.Now where nil.
	Now func() time.Time
	// Hook runs after each renewal, once the files are in place; where it fails, it
	// runs again at the next attempt. May be nil.
	Hook func(context.Context) error
	// Log says what was done and what failed, one line each. May be nil.
	Log func(format string, args ...any)
	// Wait returns after that time, or an error where ctx ends before. nil waits by
	// the real clock.
	Wait func(ctx context.Context, d time.Duration) error

	hookDue bool
}

// Due is when the certificate is to be renewed: after two thirds of its lifetime
// and up to a twentieth more. That share differs from certificate to
// certificate, so that what was issued together does not come back together.
func (r *Renewer) Due() (time.Time, error) {
	loaded, _, err := r.load()
	if err != nil {
		return time.Time{}, err
	}
	return due(loaded), nil
}

func due(loaded *live.Loaded) time.Time {
	leaf := loaded.Pair.Leaf
	lifetime := leaf.NotAfter.Sub(leaf.NotBefore)
	sum := sha256.Sum256(leaf.Raw)
	share := float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
	return leaf.NotBefore.Add(lifetime*2/3 + time.Duration(share*float64(lifetime)/20))
}

// Run renews whenever it is due, until ctx ends; then it returns nil. Failures are
// logged and tried again, at ever longer intervals. It returns an error at once
// where the files can not be used.
func (r *Renewer) Run(ctx context.Context) error {
	if _, err := r.Due(); err != nil {
		return err
	}
	for failures := 0; ; {
		_, err := r.Once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var at time.Time
		if err == nil {
			at, err = r.Due()
		}
		wait := max(min(at.Sub(r.now()), jitter(refreshEvery)), 0)
		if err != nil {
			wait = r.backOff(failures)
			failures++
			r.logf("%v; another try in %s", err, wait.Round(time.Second))
		} else {
			failures = 0
		}
		if r.wait(ctx, wait) != nil {
			return nil
		}
	}
}

// Once renews where it is due, and fetches roots and revocation lists in any
// case. It reports whether there is a new certificate, which there may be
// together with an error, of the hook.
func (r *Renewer) Once(ctx context.Context) (renewed bool, err error) {
	loaded, _, err := r.load()
	if err != nil {
		return false, err
	}
	if !r.now().Before(due(loaded)) {
		return r.Renew(ctx)
	}
	c, err := r.Client()
	if err != nil {
		return false, err
	}
	defer c.Close() //nolint:errcheck // the answers are here
	attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	t, err := r.fetchTrust(attempt, c, loaded, loaded.Certificates())
	if err != nil {
		return false, err
	}
	if err := r.writeTrust(t); err != nil {
		return false, err
	}
	return false, r.hook(ctx)
}

// Renew renews whether it is due or not. It reports whether there is a new
// certificate, which there may be together with an error, of the hook.
func (r *Renewer) Renew(ctx context.Context) (renewed bool, err error) {
	loaded, use, err := r.load()
	if err != nil {
		return false, err
	}
	c, err := r.Client()
	if err != nil {
		return false, err
	}
	defer c.Close() //nolint:errcheck // the answers are here
	attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	request, err := renewalOf(loaded, use)
	if err != nil {
		return false, err
	}
	answer, err := c.Auth.RenewCertificate(attempt, request)
	if err != nil {
		return false, err
	}
	chainPEM := []byte(answer.GetIssued().GetChain())
	chain, err := live.ParseCertificates("the chain that "+c.server.Name+" returned", chainPEM)
	if err != nil {
		return false, err
	}
	if err := isRenewal(loaded.Pair.Leaf, chain[0]); err != nil {
		return false, fmt.Errorf("%s returned another certificate than the one asked for: %w", c.server.Name, err)
	}
	t, err := r.fetchTrust(attempt, c, loaded, chain)
	if err != nil {
		if vouch(loaded.Roots, chain, r.now()) != nil {
			return false, err
		}
		r.logf("roots and revocation lists stay: %v", err)
		t = trust{}
	}
	// The certificate first: what it leads to, we trust already or will in a moment.
	if err := guard.Replace(r.Files.Cert, chainPEM, 0o644); err != nil {
		return false, err
	}
	r.hookDue = true
	r.logf("renewed %s until %s", r.Files.Cert, chain[0].NotAfter.UTC().Format("2006-01-02 15:04 UTC"))
	return true, errors.Join(r.writeTrust(t), r.hook(ctx))
}

// load tells by the certificate what it is for.
func (r *Renewer) load() (*live.Loaded, live.Use, error) {
	loaded, err := r.Files.Load(live.Client, r.now())
	if !errors.Is(err, live.ErrWrongUse) {
		return loaded, live.Client, err
	}
	loaded, err = r.Files.Load(live.Server, r.now())
	return loaded, live.Server, err
}

func (r *Renewer) hook(ctx context.Context) error {
	if r.Hook == nil || !r.hookDue {
		return nil
	}
	if err := r.Hook(ctx); err != nil {
		return fmt.Errorf("the hook after the renewal of %s: %w", r.Files.Cert, err)
	}
	r.hookDue = false
	return nil
}

// backOff is how long to wait after so many failures and one more: at most a
// tenth of the time that the certificate has left.
func (r *Renewer) backOff(failures int) time.Duration {
	wait := min(firstRetry<<min(failures, 16), lastRetry)
	if loaded, _, err := r.load(); err == nil {
		if left := loaded.Pair.Leaf.NotAfter.Sub(r.now()); left > 0 {
			wait = min(wait, max(left/10, time.Second))
		}
	}
	return jitter(wait)
}

// jitter takes up to a quarter off.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Float64()*float64(d)/4) //nolint:gosec // spreads load, keeps no secret
}

func (r *Renewer) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

func (r *Renewer) logf(format string, args ...any) {
	if r.Log != nil {
		r.Log(format, args...)
	}
}

func (r *Renewer) wait(ctx context.Context, d time.Duration) error {
	if r.Wait != nil {
		return r.Wait(ctx, d)
	}
	return sleep(ctx, d)
}
