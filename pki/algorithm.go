package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"

	kmsapi "go.step.sm/crypto/kms/apiv1"
)

// Algorithm is the kind of a key. The empty one is P256.
type Algorithm string

// The algorithms. P-256 is what everything reads, browsers included; no browser
// takes an Ed25519 key.
const (
	P256    Algorithm = "ecdsa-p256"
	P384    Algorithm = "ecdsa-p384"
	Ed25519 Algorithm = "ed25519"
)

// ParseAlgorithm reads the name of an algorithm; an empty one is P256.
func ParseAlgorithm(s string) (Algorithm, error) {
	switch a := Algorithm(s); a {
	case "":
		return P256, nil
	case P256, P384, Ed25519:
		return a, nil
	}
	return "", refusef("the algorithm %.40q is not %s, %s or %s", s, P256, P384, Ed25519)
}

// newKey makes a key.
func newKey(a Algorithm) (crypto.Signer, error) {
	a, err := ParseAlgorithm(string(a))
	if err != nil {
		return nil, err
	}
	switch a {
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// keyRequest asks smallstep for a key of the CA.
func keyRequest(a Algorithm) *kmsapi.CreateKeyRequest {
	algorithms := map[Algorithm]kmsapi.SignatureAlgorithm{P256: kmsapi.ECDSAWithSHA256, P384: kmsapi.ECDSAWithSHA384, Ed25519: kmsapi.PureEd25519}
	return &kmsapi.CreateKeyRequest{SignatureAlgorithm: algorithms[a]}
}

// algorithmOf tells the algorithm of a key, P256 for one that we do not make.
func algorithmOf(public crypto.PublicKey) Algorithm {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P384() {
			return P384
		}
	case ed25519.PublicKey:
		return Ed25519
	}
	return P256
}

// The bounds of an RSA key, in bits. Below 2048 it can be broken (NIST SP 800-57,
// part 1, table 2); above 8192 each handshake costs the other end too much.
const (
	minRSA = 2048
	maxRSA = 8192
)

// checkKey refuses the public key of a request that is weak or of a kind that is
// not known here.
func checkKey(public crypto.PublicKey) error {
	switch key := public.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return refusef("a key on the curve %s: P-256, P-384 and P-521 are good", key.Curve.Params().Name)
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
			return refusef("an RSA key of %d bits: from %d to %d are good", bits, minRSA, maxRSA)
		}
		if key.E < 65537 {
			return refusef("an RSA key with the exponent %d: from 65537 on is good", key.E)
		}
		return nil
	}
	return refusef("a key of a kind that is not known: ECDSA, Ed25519 and RSA are")
}
