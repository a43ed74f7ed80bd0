package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki"
)

// TestTenLifetimes: a fleet of three daemons and four users, all with
// certificates of five minutes, lives through ten lifetimes without people, and
// nobody's call fails.
func TestTenLifetimes(t *testing.T) {
	const (
		ttl       = pki.MinTTL
		lifetimes = 10
		step      = 50 * time.Second // half of what is left when a certificate is due
	)
	f := newFleet(t, 3, ttl)
	var renewers []*client.Renewer
	for _, m := range f.daemons {
		renewers = append(renewers, f.renewer(m.server, m.client), f.renewer(m.client, m.client))
	}
	var users []*traffic
	for n := range 4 {
		name := fmt.Sprintf("user-%d", n+1)
		files := f.files(t.TempDir(), "tls", name, pki.Client)
		users = append(users, f.begin(name, files))
		renewers = append(renewers, f.renewer(files, files))
	}
	f.goOn(users...)

	for end := f.clock.Now().Add(lifetimes * ttl); f.clock.Now().Before(end); {
		f.clock.advance(step)
		for _, r := range renewers {
			if _, err := r.Once(t.Context()); err != nil {
				t.Fatalf("renew %s: %v", r.Files.Cert, err)
			}
		}
		f.served()
		f.goOn(users...)
	}

	entries, err := f.ca.List()
	if err != nil {
		t.Fatal(err)
	}
	issued := map[string]int{}
	for _, e := range entries {
		issued[string(e.Kind)+" "+e.Name]++
	}
	for _, name := range []string{"server jump-1", "server jump-3", "client jump-2", "client user-1", "client user-4"} {
		if issued[name] <= lifetimes {
			t.Errorf("%s had %d certificates in %d lifetimes", name, issued[name], lifetimes)
		}
	}
}
