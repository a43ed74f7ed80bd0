package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/guard"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// authority is the CA of a daemon that hosts one. The CA's directory is locked for
// no longer than a call, so that the local command line works beside it.
type authority struct {
	ca *pki.CA
}

// openAuthority opens the CA that a configuration names; nil where it names none.
func openAuthority(c config.CA) (*authority, error) {
	if c.Dir == "" {
		return nil, nil
	}
	ca, err := openHosted(c)
	if err != nil {
		return nil, err
	}
	// Now, so that a daemon that has just got its CA begins with revocation lists.
	// Where that can not be done, refresh tries again and says why.
	ctx, cancel := context.WithTimeout(context.Background(), firstRefresh)
	defer cancel()
	_, _ = ca.RefreshCRL(ctx)
	return &authority{ca}, nil
}

// openHosted opens a CA with the passphrase that the configuration has for it.
func openHosted(c config.CA) (*pki.CA, error) {
	ca, err := pki.Open(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("[ca] dir: %w", err)
	}
	if c.PassphraseFile != "" {
		// Read now: a daemon that can not sign should not say so first when a
		// certificate is about to expire.
		data, err := guard.ReadFile(c.PassphraseFile, guard.Secret, maxSecret+1)
		if err != nil {
			return nil, fmt.Errorf("[ca] passphrase_file: %w", err)
		}
		secret, err := readSecret(bytes.NewReader(data), c.PassphraseFile)
		if err != nil {
			return nil, fmt.Errorf("[ca] passphrase_file: %w", err)
		}
		ca.Passphrase = func() ([]byte, error) { return secret, nil }
		if err := ca.Unlock(); err != nil {
			return nil, fmt.Errorf("[ca] passphrase_file: %w", err)
		}
	}
	return ca, nil
}

// firstRefresh is how long the start of the daemon waits for another process
// that changes the CA.
const firstRefresh = 5 * time.Second

// refreshInterval is how often the revocation lists are looked at: a revocation
// that was set for later takes effect that late, and lists are renewed long before
// they expire.
const refreshInterval = time.Minute

// refresh keeps the revocation lists up to date until ctx ends.
func (a *authority) refresh(ctx context.Context, log logrus.FieldLogger) {
	ticker := time.NewTicker(refreshInterval)
	defer ticker.Stop()
	last := ""
	if err := a.ca.Unlock(); err != nil {
		log.WithError(err).Warn("the CA's key can not be used: this daemon renews no certificate and no revocation list")
	}
	for {
		wrote, err := a.ca.RefreshCRL(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && err.Error() != last:
			log.WithError(err).Error("can not renew the CA's revocation lists; they expire if nobody does")
			last = err.Error()
		case err == nil:
			last = ""
		}
		if wrote {
			log.Info("wrote the CA's revocation lists anew")
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Renew implements service.Authority.
func (a *authority) Renew(ctx context.Context, by string, old *x509.Certificate, csr []byte) (*pb.IssuedCertificate, error) {
	issued, err := a.ca.Renew(ctx, pki.Renewal{Old: old, CSR: csr, By: by})
	return issuedProto(issued), authorityError(err)
}

// Issue implements service.Authority.
func (a *authority) Issue(ctx context.Context, by string, csr []byte, kind pb.CertificateKind, ttl time.Duration) (*pb.IssuedCertificate, error) {
	issued, err := a.ca.Sign(ctx, pki.CSRRequest{CSR: csr, Kind: kindOf(kind), TTL: ttl, By: by})
	return issuedProto(issued), authorityError(err)
}

// Revoke implements service.Authority.
func (a *authority) Revoke(ctx context.Context, by, nameOrSerial string, reason pb.RevocationReason) ([]*pb.Certificate, error) {
	entries, err := a.ca.Revoke(ctx, pki.Revocation{NameOrSerial: nameOrSerial, Reason: reasonNames[reason], By: by})
	return entriesProto(entries), authorityError(err)
}

// List implements service.Authority.
func (a *authority) List(_ context.Context, query service.Query) ([]*pb.Certificate, error) {
	var entries []pki.Entry
	var err error
	if query.Name == "" {
		entries, err = a.ca.List()
	} else {
		entries, err = a.ca.Find(query.Name)
	}
	if err != nil {
		return nil, authorityError(err)
	}
	kind := kindOf(query.Kind)
	var certificates []*pb.Certificate
	for _, entry := range entries {
		if query.Name != "" && entry.Name != query.Name || kind != "" && entry.Kind != kind || entry.NotAfter.Before(query.ValidAt) {
			continue
		}
		certificates = append(certificates, entryProto(entry))
	}
	return certificates, nil
}

// authorityError tells the service what it may hand on.
func authorityError(err error) error {
	for _, known := range []struct{ from, to error }{
		{pki.ErrNotFound, service.ErrNoCertificate},
		{pki.ErrRevoked, service.ErrCertificateRevoked},
		{pki.ErrRefused, service.ErrNotSigned},
		{pki.ErrPassphrase, service.ErrAuthorityLocked},
	} {
		if errors.Is(err, known.from) {
			return fmt.Errorf("%w: %w", known.to, err)
		}
	}
	return err
}

var kindProto = map[pki.Kind]pb.CertificateKind{
	pki.Client:       pb.CertificateKind_CERTIFICATE_KIND_CLIENT,
	pki.Server:       pb.CertificateKind_CERTIFICATE_KIND_SERVER,
	pki.Intermediate: pb.CertificateKind_CERTIFICATE_KIND_INTERMEDIATE,
	pki.Root:         pb.CertificateKind_CERTIFICATE_KIND_ROOT,
}

// kindOf is empty where the kind is unspecified.
func kindOf(kind pb.CertificateKind) pki.Kind {
	for k, p := range kindProto {
		if p == kind {
			return k
		}
	}
	return ""
}

var reasonNames = map[pb.RevocationReason]pki.Reason{
	pb.RevocationReason_REVOCATION_REASON_UNSPECIFIED:            pki.Unspecified,
	pb.RevocationReason_REVOCATION_REASON_KEY_COMPROMISE:         pki.KeyCompromise,
	pb.RevocationReason_REVOCATION_REASON_AFFILIATION_CHANGED:    pki.AffiliationChanged,
	pb.RevocationReason_REVOCATION_REASON_SUPERSEDED:             pki.Superseded,
	pb.RevocationReason_REVOCATION_REASON_CESSATION_OF_OPERATION: pki.CessationOfOperation,
}

func issuedProto(issued pki.Issued) *pb.IssuedCertificate {
	return &pb.IssuedCertificate{Chain: string(issued.Chain), Roots: string(issued.Roots), Certificate: entryProto(issued.Entry)}
}

func entriesProto(entries []pki.Entry) []*pb.Certificate {
	certificates := make([]*pb.Certificate, 0, len(entries))
	for _, entry := range entries {
		certificates = append(certificates, entryProto(entry))
	}
	return certificates
}

func entryProto(e pki.Entry) *pb.Certificate {
	certificate := &pb.Certificate{
		Serial:      e.Serial,
		Name:        e.Name,
		Kind:        kindProto[e.Kind],
		Sans:        e.SANs,
		IssuedAt:    timestamppb.New(e.Issued),
		NotBefore:   timestamppb.New(e.NotBefore),
		NotAfter:    timestamppb.New(e.NotAfter),
		IssuerKeyId: e.Issuer,
		Sha256:      e.SHA256,
		RequestedBy: e.By,
		Replaces:    e.Replaces,
	}
	if e.Revoked != nil {
		certificate.RevokedAt = timestamppb.New(*e.Revoked)
		for reason, name := range reasonNames {
			if name == e.Reason {
				certificate.RevocationReason = reason
			}
		}
	}
	return certificate
}
