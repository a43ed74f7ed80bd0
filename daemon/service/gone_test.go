package service_test

import (
	"context"
	"testing"

	"github.com/footprintai/containarium/incusx/incustest"
)

// A delete that Incus ends long after the daemon that began it died takes the
// account with it, and nobody else's.
func TestClearUp(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	s.create(t, "bob")
	s.hop.foreign["root-like"] = true
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.ClearUp(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	if err := s.incus.Remove(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { _, ok := s.hop.account("alice"); return !ok })
	if _, ok := s.hop.account("bob"); !ok {
		t.Error("the account of a container that is there is gone")
	}
}
