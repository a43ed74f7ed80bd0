// Package trust keeps the roots and the revocation lists of a daemon like those
// of its CA: it fetches them, takes nothing that would shut the daemon out or
// bring back what was revoked, and writes the rest into the daemon's files.
package trust

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/footprintai/containarium/pki/live"
)

// Bundle is what a CA hands out, in PEM.
type Bundle struct {
	Roots []byte
	// CRLs holds revocation lists and the certificates of their issuers; nil where
	// revocation is off.
	CRLs []byte
	// Chain is the certificate of the server that handed it out, and what it sent
	// along; empty where no server did.
	Chain []*x509.Certificate
}

// The bounds of a bundle, in bytes: those of the files that it is written to.
const (
	maxRoots = 1 << 20
	maxCRLs  = 32 << 20
)

// ErrRefused marks a bundle that was fetched and not taken.
var ErrRefused = errors.New("refused")

// check returns what of an offered bundle is to be written over ours. It fails
// closed, and ours stays: a root that is not a CA's and signed by itself, roots
// that do not vouch for our own server certificate or for the server that offers
// them, revocation lists that do not verify against the roots or have expired, and
// lists older than ours are refused, all with the whole bundle.
//
// A list of ours that the bundle lacks stays for as long as it is good: taking it
// away would bring back whom it revokes.
func check(ours *live.Loaded, offered Bundle, now time.Time) (Bundle, error) {
	refuse := func(format string, args ...any) (Bundle, error) {
		return Bundle{}, fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
	}
	if len(offered.Roots) > maxRoots || len(offered.CRLs) > maxCRLs {
		return refuse("the roots or the revocation lists are larger than %d or %d bytes", maxRoots, maxCRLs)
	}
	roots, err := live.ParseRoots("the bundle", offered.Roots)
	if err != nil {
		return refuse("%w", err)
	}
	for _, root := range roots {
		if err := root.CheckSignatureFrom(root); err != nil {
			return refuse("%q is not signed by itself, and so no root", root.Subject.CommonName)
		}
	}
	// Whatever its dates: who revokes must be heard by a daemon whose certificate has
	// expired as well.
	at := now
	if ours.Pair.Leaf.NotAfter.Before(at) {
		at = ours.Pair.Leaf.NotAfter
	}
	if err := CheckServer(ours.Pair, roots, at); err != nil {
		return refuse("with these roots nobody would accept this daemon: %w", err)
	}
	if len(offered.Chain) > 0 {
		if err := verify(offered.Chain, roots, now); err != nil {
			return refuse("with these roots the server that sent them could not be asked again: %w", err)
		}
	}
	taken := Bundle{Roots: offered.Roots, CRLs: offered.CRLs}
	if len(offered.CRLs) == 0 {
		if ours.CRLs != nil {
			return refuse("there are no revocation lists in it, and this daemon has some")
		}
		return taken, nil
	}
	lists := live.ParseCRLs(offered.CRLs, roots, now)
	if problems := lists.Problems(now); len(problems) > 0 {
		return refuse("%w", problems[0])
	}
	kept, err := compare(ours.CRLs, lists)
	if err != nil {
		return refuse("%w", err)
	}
	taken.CRLs = append(bytes.Clone(taken.CRLs), carryOver(ours.CRLsPEM, kept, roots, now)...)
	return taken, nil
}

// compare refuses a list that is older than ours of the same issuer, and returns
// the key identifiers of those that we alone have.
func compare(ours, offered *live.CRLs) (missing map[string]bool, err error) {
	type issuer struct{ name, keyID string }
	theirs := map[issuer]live.List{}
	for _, list := range offered.Lists(time.Time{}) {
		of := issuer{list.Issuer, list.KeyID}
		if other, ok := theirs[of]; !ok || number(other).Cmp(number(list)) < 0 { // of several all count
			theirs[of] = list
		}
	}
	missing = map[string]bool{}
	// At the zero time none has expired: what is out of date still says how far the
	// issuer had come. Only what is badly signed says nothing.
	for _, list := range ours.Lists(time.Time{}) {
		if list.Problem != nil {
			continue
		}
		newer, ok := theirs[issuer{list.Issuer, list.KeyID}]
		switch {
		case !ok:
			missing[list.KeyID] = true
		case number(newer).Cmp(number(list)) < 0, newer.ThisUpdate.Before(list.ThisUpdate):
			return nil, fmt.Errorf("its revocation list of %q is number %s of %s, which is older than ours, number %s of %s",
				list.Issuer, number(newer), date(newer.ThisUpdate), number(list), date(list.ThisUpdate))
		}
	}
	return missing, nil
}

func number(list live.List) *big.Int {
	if list.Number == nil {
		return new(big.Int)
	}
	return list.Number
}

// CheckServer says why clients with these roots would refuse a server certificate
// at that time, or nil. Who revoked it is not looked at.
func CheckServer(pair tls.Certificate, roots []*x509.Certificate, now time.Time) error {
	chain := make([]*x509.Certificate, 0, len(pair.Certificate))
	for _, der := range pair.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("the server certificate: %w", err)
		}
		chain = append(chain, cert)
	}
	return verify(chain, roots, now)
}

func verify(chain, roots []*x509.Certificate, now time.Time) error {
	leaf := chain[0]
	of := fmt.Sprintf("the server certificate of %q", leaf.Subject.CommonName)
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("%s %w on %s", of, live.ErrExpired, date(leaf.NotAfter))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("%s is %w: it begins on %s", of, live.ErrNotYetValid, date(leaf.NotBefore))
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: pool(roots), Intermediates: pool(chain[1:]), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("%s, issued by %q, is of %w: %w", of, leaf.Issuer.CommonName, live.ErrOtherCA, err)
	}
	return nil
}

// pool never is nil: crypto/x509 takes a nil pool for the system's roots.
func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, cert := range certs {
		p.AddCert(cert)
	}
	return p
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
