package pkitest

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync/atomic"
	"testing"
	"time"
)

// List says what a revocation list is like. The zero List is a good one that
// revokes nobody.
type List struct {
	Revoked []*big.Int
	// RevokedAt is when; by default now.
	RevokedAt time.Time
	// Reason is a code of RFC 5280, section 5.3.1.
	Reason int
	// Number is higher than that of every list before, unless one is given.
	Number *big.Int
	// ThisUpdate and NextUpdate are now and a day later, unless one is given.
	ThisUpdate, NextUpdate time.Time
	// ByRoot has the root sign it, so that it is about intermediates.
	ByRoot bool
	// BadlySigned spoils the signature.
	BadlySigned bool
	// Alone leaves the certificate of the intermediate out.
	Alone bool
	// Extensions are added to the list's own.
	Extensions []pkix.Extension
}

// lastNumber is that of the last list of this process.
var lastNumber atomic.Int64

// CRL makes a good revocation list in PEM, with the certificate of the
// intermediate, which signed it.
func (ca *CA) CRL(t testing.TB, serials ...*big.Int) []byte {
	t.Helper()
	return ca.CRLs(t, List{Revoked: serials})
}

// CRLs makes a file of such lists. Without any it holds the intermediate's
// certificate alone.
func (ca *CA) CRLs(t testing.TB, lists ...List) []byte {
	t.Helper()
	var data []byte
	alone := false
	for _, list := range lists {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: ca.list(t, list)})...)
		alone = alone || list.Alone
	}
	if alone {
		return data
	}
	return append(data, PEM(ca.Intermediate)...)
}

func (ca *CA) list(t testing.TB, list List) []byte {
	t.Helper()
	now := ca.Now()
	template := &x509.RevocationList{
		Number: list.Number, ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate, ExtraExtensions: list.Extensions,
	}
	if template.Number == nil {
		template.Number = big.NewInt(lastNumber.Add(1))
	}
	if template.ThisUpdate.IsZero() {
		template.ThisUpdate = now
	}
	if template.NextUpdate.IsZero() {
		template.NextUpdate = template.ThisUpdate.Add(24 * time.Hour)
	}
	at := list.RevokedAt
	if at.IsZero() {
		at = now
	}
	for _, serial := range list.Revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: at, ReasonCode: list.Reason})
	}
	issuer, key := ca.Intermediate, ca.key
	if list.ByRoot {
		issuer, key = ca.Root, ca.rootKey
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, issuer, key)
	if err != nil {
		t.Fatal(err)
	}
	if list.BadlySigned {
		der[len(der)-1] ^= 1
	}
	return der
}
