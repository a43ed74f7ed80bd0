package live

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Fingerprint is the SHA-256 of a certificate in upper-case hexadecimal.
func Fingerprint(cert *x509.Certificate) string { return fmt.Sprintf("%X", sha256.Sum256(cert.Raw)) }

// Check says in one line why the other end would refuse the certificate at that
// time, or nil. TLS hides the cause from the end that is refused, so that end
// asks here, before it dials or after it failed. It is no check of anybody else:
// the other end makes its own.
func (f Files) Check(use Use, now time.Time) error {
	loaded, err := f.Load(use, now)
	if err != nil {
		return err
	}
	leaf := loaded.Pair.Leaf
	of := fmt.Sprintf("%s of %q", f.Cert, leaf.Subject.CommonName)
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("%s %w on %s", of, ErrExpired, date(leaf.NotAfter))
	case now.Before(leaf.NotBefore):
		early := leaf.NotBefore.Sub(now).Round(time.Second)
		return fmt.Errorf("%s is %w: it begins on %s, in %s; this clock is that much behind, or the CA's was ahead", of, ErrNotYetValid,
			date(leaf.NotBefore), early)
	}
	sent := loaded.Certificates()
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots:         pool(loaded.Roots),
		Intermediates: pool(sent[1:]),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // Load looked at the use
	})
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return fmt.Errorf("the CA certificate %q in %s or %s is %w or not yet valid", invalid.Cert.Subject.CommonName, f.Cert, f.CA, ErrExpired)
	}
	if err != nil {
		return fmt.Errorf("%s was issued by %s, which %s does not trust (%w); it trusts %s", of, origin(sent), f.CA, ErrOtherCA, described(loaded.Roots))
	}
	return loaded.checkRevoked(of, chains)
}

// Certificates are those that are sent to the other end, the leaf first.
func (l *Loaded) Certificates() []*x509.Certificate {
	certs := []*x509.Certificate{l.Pair.Leaf}
	for _, der := range l.Pair.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			certs = append(certs, cert)
		}
	}
	return certs
}

// checkRevoked goes by the lists at hand, which may be old: who is on one stays
// revoked, and who is not may have been since.
func (l *Loaded) checkRevoked(of string, chains [][]*x509.Certificate) error {
	if l.CRLs == nil {
		return nil
	}
	var refused error
	for _, chain := range chains {
		links, err := linksOf(chain)
		if err != nil {
			return err
		}
		v := l.judge(links, time.Time{})
		if v.kind != revoked {
			return nil
		}
		if refused == nil {
			refused = refusal(of, links, v)
		}
	}
	return refused
}

// origin names who issued the certificate, as far as what is sent shows.
func origin(sent []*x509.Certificate) string {
	top := sent[len(sent)-1]
	if len(sent) == 1 {
		return fmt.Sprintf("%q (key identifier %X)", top.Issuer.CommonName, top.AuthorityKeyId)
	}
	return described([]*x509.Certificate{top})
}

// described names certificates with their fingerprints.
func described(certs []*x509.Certificate) string {
	texts := make([]string, 0, len(certs))
	for _, cert := range certs {
		texts = append(texts, fmt.Sprintf("%q (SHA-256 %s)", cert.Subject.CommonName, Fingerprint(cert)))
	}
	return strings.Join(texts, " and ")
}
