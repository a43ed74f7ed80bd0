package main

import (
	"time"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki/live"
)

// warnOfExpiries says on a terminal that the own certificates for the servers are
// to be renewed, once for each. Programs renew by themselves and read no warnings.
func warnOfExpiries(t *terminal, servers []client.Server, now time.Time) {
	seen := map[string]bool{}
	for _, server := range servers {
		if !seen[server.Cert] {
			seen[server.Cert] = true
			warnOfExpiry(t, server, now)
		}
	}
}

func warnOfExpiry(t *terminal, server client.Server, now time.Time) {
	if !t.errTTY {
		return
	}
	chain, err := live.ReadCertificates(server.Cert)
	if err != nil {
		return
	}
	if leaf := chain[0]; due(leaf.NotBefore, leaf.NotAfter, now) && now.Before(leaf.NotAfter) {
		t.warnf("your certificate expires %s: containarium pki renew, or on the CA machine containarium pki renew %s", remaining(leaf.NotBefore, leaf.NotAfter, now), mendName(leaf))
	}
}
