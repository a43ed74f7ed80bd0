package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/footprintai/containarium/pki/guard"
	"github.com/footprintai/containarium/pki/live"
)

// carryOver returns, in PEM, our lists of the issuers that are missing in a new
// bundle, with the certificates that vouch for them, as far as they are still good
// under the new roots; nil where none is.
func carryOver(ours []byte, missing map[string]bool, roots []*x509.Certificate, now time.Time) []byte {
	if len(missing) == 0 {
		return nil
	}
	var lists []*pem.Block
	issuers := map[string][]byte{}
	for block, rest := pem.Decode(ours); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); block.Type == "CERTIFICATE" && err == nil {
			issuers[string(cert.SubjectKeyId)] = pem.EncodeToMemory(block)
		} else if block.Type == "X509 CRL" {
			lists = append(lists, block)
		}
	}
	var kept []byte
	for _, block := range lists {
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil || !missing[fmt.Sprintf("%X", list.AuthorityKeyId)] {
			continue
		}
		one := append(pem.EncodeToMemory(block), issuers[string(list.AuthorityKeyId)]...)
		if len(live.ParseCRLs(one, roots, now).Problems(now)) == 0 {
			kept = append(kept, one...)
		}
	}
	return kept
}

// write writes what differs from ours, the roots first: a list whose root is not
// trusted yet would close its issuer.
func write(files live.Files, ours *live.Loaded, taken Bundle) error {
	if !bytes.Equal(taken.Roots, ours.RootsPEM) {
		if err := guard.Replace(files.CA, taken.Roots, 0o644); err != nil {
			return err
		}
	}
	if len(taken.CRLs) > 0 && !bytes.Equal(taken.CRLs, ours.CRLsPEM) {
		return guard.Replace(files.CRL, taken.CRLs, 0o644)
	}
	return nil
}
