package service

import (
	"context"
	"net/netip"
	"time"

	"github.com/footprintai/containarium/incusx"
)

const (
	// roamEvery is how often roamMost of the running containers are looked at whose
	// address nothing pins: no event tells that such a one changed. That is 1% of a
	// core for Incus at most, and with it a changed address is found within
	// roamEvery for each roamMost of them.
	roamEvery = 15 * time.Second
	roamMost  = 12
	// roamPrefix is how much of the address may not change, in bits. A guest says
	// itself which address it has, and its owner's jump account reaches it there: so
	// that it opens nothing that the guest does not reach without it.
	roamPrefix = 24
)

// Roam looks for addresses that changed without an event, and has the container's
// instance and its account on the jump host say the new one. Those that Incus' DHCP
// server reserves do not change, and are not looked at. It returns when ctx ends.
func (s *Service) Roam(ctx context.Context) {
	ticker := time.NewTicker(roamEvery)
	defer ticker.Stop()
	r := roamer{Service: s, refused: map[string]string{}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.look(ctx)
		}
	}
}

// roamer is one round after the other.
type roamer struct {
	*Service
	last string // the user name that was looked at last; "" at the begin of a round
	// refused are the addresses that were not believed, by user name: each is said
	// once.
	refused map[string]string
}

// look looks at the next few.
func (s *roamer) look(ctx context.Context) {
	entries, err := s.copied.List(ctx)
	if err != nil {
		return // Supervise says so
	}
	taken := map[string]string{}
	for _, entry := range entries {
		taken[entry.Container.Address] = entry.Container.Username
	}
	looked := 0
	for _, entry := range entries {
		container := &entry.Container
		if container.Username <= s.last || container.Pinned || container.State != incusx.StateRunning || container.Address == "" {
			continue
		}
		if looked++; looked > roamMost {
			return
		}
		s.last = container.Username
		now, err := s.Incus.Address(ctx, container.Username)
		if err != nil || now == "" || now == container.Address {
			continue // it may have just stopped, or be without an address for a while
		}
		log := s.Log.WithField("username", container.Username).WithField("from", container.Address).WithField("to", now)
		switch owner := taken[now]; {
		case owner != "" || !near(container.Address, now):
			if s.refused[container.Username] != now {
				s.refused[container.Username] = now
				log.Warn("a container says that it has an address that is another container's or of another network: nothing is changed")
			}
		default:
			if err := s.moved(ctx, *container, now); err != nil {
				log.WithError(err).Warn("a container's address changed, and not everything goes by it yet: trying again")
			} else {
				log.Info("a container's address changed")
			}
		}
	}
	s.last = ""
}

// moved has everything go by the address that a container has now.
func (s *Service) moved(ctx context.Context, seen incusx.Container, address string) error {
	return s.mend(ctx, seen.Username, func(ctx context.Context, username string) error {
		container, err := s.Incus.Get(ctx, username)
		if err != nil {
			return err
		}
		if container.Address != seen.Address || !container.CreatedAt.Equal(seen.CreatedAt) {
			return nil // somebody was quicker
		}
		// The account first: a failure is then found again.
		if err := s.Hop.Ensure(ctx, username, address, container.SSHKeys); err != nil {
			return err
		}
		_, err = s.Incus.SetAddress(ctx, username, address)
		s.reread(ctx, username)
		return err
	})
}

// near reports whether two addresses are in one network.
func near(a, b string) bool {
	from, err1 := netip.ParseAddr(a)
	to, err2 := netip.ParseAddr(b)
	if err1 != nil || err2 != nil {
		return false
	}
	prefix, err := from.Prefix(roamPrefix)
	return err == nil && prefix.Contains(to)
}
