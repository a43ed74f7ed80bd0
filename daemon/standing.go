package daemon

import (
	"context"
	"fmt"
	"strings"
)

// alive waits until the daemon looks after its connections. Where one of the locks
// of a look is never given back, it waits until ctx ends, and systemd's patience.
func (d *Daemon) alive(ctx context.Context) error {
	select {
	case <-d.looks:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// standing is the line that "systemctl status" shows: what is served, and what is
// wrong with it.
func (d *Daemon) standing() string {
	parts := []string{fmt.Sprintf("serving at %s, generation %d", d.Addr(), d.generations.current.Load().Number)}
	if failed := d.generations.failed.Load(); failed != nil {
		parts = append(parts, "what changed is not loaded: "+failed.err.Error())
	}
	incusAnswers, listsBad := d.readiness.both()
	if !incusAnswers {
		parts = append(parts, "Incus does not answer")
	}
	if listsBad {
		parts = append(parts, "a revocation list is bad, and shuts out those whom it is about")
	}
	if d.generations.expired() {
		parts = append(parts, "the server certificate has expired")
	}
	return strings.Join(parts, "; ")
}
