package daemon

import (
	"context"
	"errors"
	"time"
)

// Reload reads certificates, revocation lists and policy anew, as SIGHUP asks for
// it. Either all of it counts from here on, or the error says why nothing does.
// The audit log is opened anew, for whoever rotated it.
func (d *Daemon) Reload() error {
	d.notify.Reloading()
	defer func() { d.notify.Ready(d.standing()) }()
	err := d.audit.Reopen()
	if err != nil {
		d.log.WithError(err).Error("the audit log stays with the file that it has")
	}
	return errors.Join(err, d.generations.reload(true))
}

// look decides again about every open stream and connection, by the current
// generation and the clock, and says so where the revocation lists turned bad or
// good, or the server certificate expired.
func (d *Daemon) look() {
	d.calls.Recheck()
	d.connections.sweep()
	d.looking.Lock()
	defer d.looking.Unlock()
	text := ""
	problem := d.generations.problems()
	if problem != nil {
		text = problem.Error()
	}
	d.readiness.look(d.service.InSync(), problem == nil)
	switch {
	case text == d.problem:
	case problem != nil:
		d.log.WithError(problem).Error("a revocation list is bad; until there is a good one, those whom it is about are shut out")
	default:
		d.log.Info("the revocation lists are good again")
	}
	d.problem = text
	if expired := d.generations.expired(); expired != d.expired {
		d.expired = expired
		if expired {
			d.log.Error("the server certificate has expired: nobody connects any more until there is a new one")
		}
	}
}

// lookOn looks at every tick, since certificates and lists expire without a change
// of any file, and tells systemd what came of it. Between two looks it answers
// whoever asks whether it still does.
func (d *Daemon) lookOn(ctx context.Context) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case d.looks <- struct{}{}:
		case <-ticker.C:
			d.look()
			if standing := d.standing(); standing != told {
				d.notify.Status(standing)
				told = standing
			}
		}
	}
}
