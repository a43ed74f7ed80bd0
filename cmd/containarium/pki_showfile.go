package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/footprintai/containarium/pki"
)

// requestFileView is a certificate request in a file.
type requestFileView struct {
	Type    string   `json:"type"` // "request"
	Name    string   `json:"name"`
	Subject string   `json:"subject"`
	SANs    []string `json:"sans,omitempty"`
	Key     string   `json:"keyType"`
	// Signed says that whoever made it has the key.
	Signed bool   `json:"signatureFits"`
	File   string `json:"file,omitempty"`
}

// listFileView is a revocation list in a file.
type listFileView struct {
	Type       string         `json:"type"` // "crl"
	Issuer     string         `json:"issuer"`
	IssuerKey  string         `json:"issuerKeyId,omitempty"`
	Number     string         `json:"number"`
	ThisUpdate time.Time      `json:"thisUpdate"`
	NextUpdate time.Time      `json:"nextUpdate"`
	Revoked    []revokedEntry `json:"revoked"`
	File       string         `json:"file,omitempty"`
}

type revokedEntry struct {
	Serial string     `json:"serial"`
	At     time.Time  `json:"revokedAt"`
	Reason pki.Reason `json:"revocationReason,omitempty"`
}

// viewBlock reads one PEM block.
func viewBlock(block *pem.Block, path string) (shown, error) {
	if path == standard {
		path = ""
	}
	switch {
	case strings.Contains(block.Type, "PRIVATE KEY"):
		return nil, fmt.Errorf("has a %q among its certificates", block.Type)
	case block.Type == "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a damaged certificate: %w", err)
		}
		return viewCertificate(cert, path), nil
	case block.Type == "CERTIFICATE REQUEST" || block.Type == "NEW CERTIFICATE REQUEST":
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a damaged certificate request: %w", err)
		}
		return viewRequest(csr, path), nil
	case block.Type == "X509 CRL":
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a damaged revocation list: %w", err)
		}
		return viewList(list, path), nil
	}
	return nil, errors.New("has a " + fmt.Sprintf("%.40q", block.Type) + ", which is no certificate, request or revocation list")
}

func viewRequest(csr *x509.CertificateRequest, path string) requestFileView {
	view := requestFileView{
		Type: "request", Name: csr.Subject.CommonName, Subject: csr.Subject.String(), SANs: append([]string(nil), csr.DNSNames...),
		Key: keyType(csr.PublicKey), Signed: csr.CheckSignature() == nil, File: path,
	}
	for _, ip := range csr.IPAddresses {
		view.SANs = append(view.SANs, ip.String())
	}
	return view
}

func (v requestFileView) fields(time.Time) [][2]string {
	signature := "fits the key"
	if !v.Signed {
		signature = "does not fit the key: no CA signs this"
	}
	return [][2]string{
		{"request", v.Name},
		{"names", strings.Join(v.SANs, ", ")},
		{"subject", v.Subject},
		{"key", v.Key},
		{"signature", signature},
		{"file", v.File},
	}
}

func viewList(list *x509.RevocationList, path string) listFileView {
	view := listFileView{
		Type: "crl", Issuer: list.Issuer.String(), Number: numberText(list.Number),
		ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate, Revoked: []revokedEntry{}, File: path,
	}
	if len(list.AuthorityKeyId) > 0 {
		view.IssuerKey = fmt.Sprintf("%X", list.AuthorityKeyId)
	}
	for _, e := range list.RevokedCertificateEntries {
		view.Revoked = append(view.Revoked, revokedEntry{fmt.Sprintf("%X", e.SerialNumber.Bytes()), e.RevocationTime, reasonText(e.ReasonCode)})
	}
	return view
}

func numberText(n *big.Int) string {
	if n == nil {
		return unknown
	}
	return n.String()
}

// reasonText names the reason codes of RFC 5280, section 5.3.1, as it does.
func reasonText(code int) pki.Reason {
	return map[int]pki.Reason{
		1: pki.KeyCompromise, 2: pki.CACompromise, 3: pki.AffiliationChanged, 4: pki.Superseded, 5: pki.CessationOfOperation,
		6: "certificateHold", 8: "removeFromCRL", 9: pki.PrivilegeWithdrawn, 10: "aACompromise",
	}[code]
}

func (v listFileView) fields(now time.Time) [][2]string {
	next := pkiTime(v.NextUpdate) + " (" + remaining(v.ThisUpdate, v.NextUpdate, now) + ")"
	fields := [][2]string{
		{"CRL of", v.Issuer},
		{"number", v.Number},
		{"made", pkiTime(v.ThisUpdate)},
		{"expires", next},
		{"revoked", fmt.Sprint(len(v.Revoked))},
		{"file", v.File},
	}
	for _, e := range v.Revoked {
		reason := ""
		if e.Reason != "" {
			reason = ", " + hyphenated(e.Reason)
		}
		fields = append(fields, [2]string{"", e.Serial + "  " + pkiTime(e.At) + reason})
	}
	return fields
}
