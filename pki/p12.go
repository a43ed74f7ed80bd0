package pki

import (
	"crypto"
	"crypto/x509"
	"errors"

	pkcs12 "software.sslmate.com/src/go-pkcs12"
)

// p12Iterations is as for the keys of the CA. The library's own 2048 are those
// of the year 2000.
const p12Iterations = 600_000

// ExportP12 puts a key with its chain and roots into a PKCS#12 file that NSS
// (browsers) and OpenSSL 3 import: PBES2 with AES-256, the MAC with SHA-256. No
// browser takes an Ed25519 key. The password may not be empty.
func ExportP12(chain []*x509.Certificate, key crypto.Signer, roots []*x509.Certificate, password string) ([]byte, error) {
	switch {
	case len(chain) == 0:
		return nil, errors.New("export: there is no certificate")
	case key == nil || !samePublicKey(chain[0].PublicKey, key.Public()):
		return nil, errors.New("export: the key is not that of the certificate")
	case password == "":
		return nil, refusef("export: the password is empty")
	}
	above := append(append([]*x509.Certificate(nil), chain[1:]...), roots...)
	data, err := pkcs12.Modern2023.WithIterations(p12Iterations).Encode(key, chain[0], above, password)
	if err != nil {
		return nil, errors.New("export: the key or a certificate does not fit PKCS#12")
	}
	return data, nil
}
