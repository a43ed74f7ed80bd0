package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/identity"
)

// certificateView is a certificate as the commands print it. Of one whose file is
// gone only what the journal has is there, and of one that is not in the journal
// only what is in the certificate. The names are those of the API.
type certificateView struct {
	Type      string    `json:"type"` // "certificate"
	Name      string    `json:"name"`
	Kind      pki.Kind  `json:"kind,omitempty"`
	Serial    string    `json:"serial"`
	Subject   string    `json:"subject,omitempty"`
	Issuer    string    `json:"issuer,omitempty"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	SANs      []string  `json:"sans,omitempty"`
	Key       string    `json:"keyType,omitempty"`
	IssuerKey string    `json:"issuerKeyId,omitempty"`
	SHA256    string    `json:"sha256"`
	File      string    `json:"file,omitempty"`
	journalView
}

// journalView is what only the journal knows.
type journalView struct {
	Issued   *time.Time `json:"issuedAt,omitempty"`
	By       string     `json:"requestedBy,omitempty"`
	Replaces string     `json:"replaces,omitempty"`
	// ReplacedBy is the serial number of the latest that replaces it.
	ReplacedBy string `json:"replacedBy,omitempty"`
	// Revoked may lie ahead.
	Revoked *time.Time `json:"revokedAt,omitempty"`
	Reason  pki.Reason `json:"revocationReason,omitempty"`
	// State is good, revoked, replaced or expired, the first of the last three that
	// fits.
	State string `json:"state,omitempty"`
}

func (v *certificateView) addEntry(e pki.Entry) {
	issued := e.Issued
	v.journalView = journalView{Issued: &issued, By: e.By, Replaces: e.Replaces, Revoked: e.Revoked, Reason: e.Reason}
	v.IssuerKey = e.Issuer
}

func viewCertificate(cert *x509.Certificate, file string) certificateView {
	view := certificateView{
		Type: "certificate", Name: cert.Subject.CommonName, Kind: pki.KindOf(cert), Serial: identity.Serial(cert),
		Subject: cert.Subject.String(), Issuer: cert.Issuer.String(),
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
		SANs: append([]string(nil), cert.DNSNames...),
		Key:  keyType(cert.PublicKey), SHA256: pki.Fingerprint(cert), File: file,
	}
	if len(cert.AuthorityKeyId) > 0 {
		view.IssuerKey = fmt.Sprintf("%X", cert.AuthorityKeyId)
	}
	for _, ip := range cert.IPAddresses {
		view.SANs = append(view.SANs, ip.String())
	}
	return view
}

// viewEntry is a certificate of which only the journal is at hand.
func viewEntry(e pki.Entry) certificateView {
	view := certificateView{
		Type: "certificate", Name: e.Name, Kind: e.Kind, Serial: e.Serial,
		NotBefore: e.NotBefore, NotAfter: e.NotAfter, SANs: e.SANs, SHA256: e.SHA256,
	}
	view.addEntry(e)
	return view
}

// replacements maps serial numbers to that of the latest certificate that
// replaces them.
func replacements(entries []pki.Entry) map[string]string {
	by := map[string]string{}
	for _, e := range entries {
		if e.Replaces != "" {
			by[e.Replaces] = e.Serial
		}
	}
	return by
}

// The states of a certificate in the journal.
const (
	stateGood     = "good"
	stateRevoked  = "revoked"
	stateReplaced = "replaced"
	stateExpired  = "expired"
)

func stateOf(e pki.Entry, replacedBy string, now time.Time) string {
	switch {
	case e.RevokedAt(now):
		return stateRevoked
	case now.After(e.NotAfter):
		return stateExpired
	case replacedBy != "":
		return stateReplaced
	}
	return stateGood
}

// stateText is the state for people.
func (v *certificateView) stateText(now time.Time) string {
	if v.Revoked == nil {
		return v.State
	}
	reason := ""
	if v.Reason != "" && v.Reason != pki.Unspecified {
		reason = " (" + hyphenated(v.Reason) + ")"
	}
	switch {
	case v.Revoked.After(now) && !v.Revoked.Before(v.NotAfter.Add(-time.Second)):
		return v.State // replaced for good, and good until it expires
	case v.Revoked.After(now):
		return fmt.Sprintf("%s, revoked from %s%s", v.State, pkiTime(*v.Revoked), reason)
	}
	return fmt.Sprintf("revoked %s%s", pkiTime(*v.Revoked), reason)
}

// hyphenated is a reason as --reason is written.
func hyphenated(reason pki.Reason) string {
	var b strings.Builder
	for _, r := range strings.TrimPrefix(string(reason), "cA") {
		if unicode.IsUpper(r) && b.Len() > 0 {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	if strings.HasPrefix(string(reason), "cA") {
		return "ca-" + b.String()
	}
	return b.String()
}

func keyType(public any) string {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P224() || key.Curve == nil {
			return "ECDSA, of a curve that is too small"
		}
		return "ECDSA " + key.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "of an unknown kind"
}
