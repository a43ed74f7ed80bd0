package metrics

import (
	"crypto/x509"
	"time"

	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/pki/live"
)

// trust sends what a generation goes by. What stands in a file twice is one series: of
// two, Prometheus would get no number at all.
func (c collection) trust(g *intercept.Generation, now time.Time) {
	c.gauge(generation, float64(g.Number))
	seen := map[[3]string]bool{}
	add := func(kind string, cert *x509.Certificate) {
		labels := [3]string{kind, cert.Subject.CommonName, cert.SerialNumber.Text(16)}
		if !seen[labels] {
			c.gauge(expiry, float64(cert.NotAfter.Unix()), labels[:]...)
		}
		seen[labels] = true
	}
	add("server", g.Trust.Pair.Leaf)
	for _, der := range g.Trust.Pair.Certificate[1:] {
		if above, err := x509.ParseCertificate(der); err == nil { // it was checked when it was loaded
			add("intermediate", above)
		}
	}
	for _, root := range g.Trust.Roots {
		add("root", root)
	}
	c.gauge(revocation, truth(g.Trust.CRLs != nil))
	for issuer, list := range byIssuer(g.Trust.CRLs.Lists(now)) {
		c.gauge(nextUpdate, float64(list.NextUpdate.Unix()), issuer)
		c.gauge(crlBad, truth(list.Problem != nil), issuer)
	}
}

// byIssuer makes one of the lists of each issuer, by its name and key, as a rollover has
// two of one name: all must be good, and the first to end is the one that counts.
func byIssuer(lists []live.List) map[string]live.List {
	all := map[string]live.List{}
	for _, list := range lists {
		issuer := list.Issuer + " " + list.KeyID
		if other, ok := all[issuer]; ok {
			if other.NextUpdate.Before(list.NextUpdate) {
				list.NextUpdate = other.NextUpdate
			}
			if list.Problem == nil {
				list.Problem = other.Problem
			}
		}
		all[issuer] = list
	}
	return all
}
