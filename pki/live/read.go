package live

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/footprintai/containarium/pki/guard"
)

// maxFile bounds what is read of a file, in bytes. A bundle with 100 roots has
// some 80 kB.
const maxFile = 1 << 20

// maxCRLs bounds what is read of revocation lists, in bytes: 100,000 revoked
// certificates take some 7 MB.
const maxCRLs = 32 << 20

// ReadKey reads a file with a private key, unparsed. A file that the group or
// others can read is refused: the key may be known to somebody else already.
func ReadKey(path string) ([]byte, error) {
	return guard.ReadFile(path, guard.Secret, maxFile)
}

// ReadCertificates reads a file of certificates. It fails closed: a file that
// others can write, that holds no certificate or anything else than certificates
// is refused as a whole.
func ReadCertificates(path string) ([]*x509.Certificate, error) {
	data, err := readPublic(path)
	if err != nil {
		return nil, err
	}
	return ParseCertificates(path, data)
}

// readPublic reads certificates. A file that the group or others can write is
// refused: they could choose whom we trust.
func readPublic(path string) ([]byte, error) {
	return guard.ReadFile(path, guard.Public, maxFile)
}

// readCRLs reads revocation lists. They are signed, but whoever can write the
// file can take a list out of it.
func readCRLs(path string) ([]byte, error) {
	return guard.ReadFile(path, guard.Public, maxCRLs)
}

// ParseRoots reads PEM with the certificates of CAs, at least one, and with
// nothing else; name says in errors where it came from.
func ParseRoots(name string, data []byte) ([]*x509.Certificate, error) {
	roots, err := ParseCertificates(name, data)
	if err != nil {
		return nil, err
	}
	for _, root := range roots {
		// A leaf among the roots would be trusted as itself, whoever signed it.
		if !root.BasicConstraintsValid || !root.IsCA {
			return nil, fmt.Errorf("%s has a certificate that is not a CA's: %s", name, root.Subject)
		}
	}
	return roots, nil
}

// ParseCertificates reads PEM with certificates, at least one, and with nothing
// else; name says in errors where it came from. A private key that was put there
// by mistake is named, not shown.
func ParseCertificates(name string, data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s has a %q among its certificates", name, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", name, len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if bytes.Contains(data, []byte("-----BEGIN")) {
		return nil, fmt.Errorf("%s: certificate %d is cut off or damaged", name, len(certs)+1)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s holds no certificate", name)
	}
	return certs, nil
}
