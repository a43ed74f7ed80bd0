package pki

import (
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"time"
)

// Kind is what a certificate is for.
type Kind string

// The kinds. A leaf has exactly one use: a stolen server certificate opens no
// container, and a client can not pose as a server.
const (
	Client       Kind = "client"
	Server       Kind = "server"
	Root         Kind = "root"
	Intermediate Kind = "intermediate"
	// CrossSigned is a root's key and name, signed by another root.
	CrossSigned Kind = "cross-signed"
)

const day = 24 * time.Hour

// The lifetimes of the CA's own certificates, and what a leaf gets when nobody
// says otherwise.
const (
	rootLifetime         = 3653 * day // ten years
	intermediateLifetime = 1826 * day // five years
	DefaultTTL           = 90 * day
)

// The bounds of a lifetime that is asked for. Below five minutes, clocks that are
// a little apart make a certificate useless before it arrives. Two years is the
// round figure under 825 days, the longest that Apple's systems accept of any
// server, private CAs included.
const (
	MinTTL = 5 * time.Minute
	MaxTTL = 730 * day
)

// backdate is how far a certificate begins in the past, for hosts whose clock is
// behind. It is not counted in a lifetime.
const backdate = time.Minute

// profile is what the certificates of a kind have in common.
type profile struct {
	usage x509.ExtKeyUsage
	names bool // has subject alternative names, and must have them
}

var profiles = map[Kind]profile{
	Client: {usage: x509.ExtKeyUsageClientAuth},
	Server: {usage: x509.ExtKeyUsageServerAuth, names: true},
}

// KindOf tells the kind of any certificate, or "" where it is none of ours: a
// leaf for both uses, or for neither.
func KindOf(cert *x509.Certificate) Kind {
	if cert.IsCA {
		if cert.CheckSignatureFrom(cert) == nil {
			return Root
		}
		if cert.MaxPathLen == -1 {
			return CrossSigned
		}
		return Intermediate
	}
	if len(cert.ExtKeyUsage) == 1 && len(cert.UnknownExtKeyUsage) == 0 {
		for kind, p := range profiles {
			if p.usage == cert.ExtKeyUsage[0] {
				return kind
			}
		}
	}
	return ""
}

// newSerial returns a random positive number of exactly 20 octets, the most that
// RFC 5280, section 4.1.2.2, allows; 158 of its bits are random.
func newSerial() *big.Int {
	octets := make([]byte, 20)
	_, _ = rand.Read(octets)          // never fails
	octets[0] = octets[0]&0x7f | 0x40 // positive, and no leading zero
	return new(big.Int).SetBytes(octets)
}
