package service

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/footprintai/containarium/pki/identity"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const (
	// maxPEM bounds a request or certificate, in bytes: one with 100 names fits.
	maxPEM = 16 << 10
	// maxSerialText bounds a name or serial: 20 octets in hexadecimal with colons,
	// or a Common Name.
	maxSerialText = 64
	// The bounds of a lifetime, in seconds; the CA has the last word.
	minTTL, maxTTL = 300, 63072000
	maxPage        = 1000
	// maxPageBytes bounds a page, in bytes, well under what a gRPC client takes
	// without being told (4 MiB).
	maxPageBytes = 1 << 20
	maxPageToken = 256
)

// GetTrustBundle implements the RPC.
func (s *Service) GetTrustBundle(context.Context, *pb.GetTrustBundleRequest) (*pb.GetTrustBundleResponse, error) {
	return s.TrustBundle(), nil
}

// RenewCertificate implements the RPC. It fails closed: who renews must hold the
// key of the certificate, and everything must be of one name.
func (s *Service) RenewCertificate(ctx context.Context, request *pb.RenewCertificateRequest) (*pb.RenewCertificateResponse, error) {
	if s.Authority == nil {
		return nil, errNoAuthority()
	}
	// By the certificate of the connection, whose key the handshake proved.
	old := s.Certificate(ctx)
	if old == nil {
		return nil, newStatus(codes.Unauthenticated, "NO_IDENTITY", "the call has no certificate")
	}
	caller := old.Subject.CommonName
	var v violations
	csr := v.csr("csr", request.GetCsr())
	if text := request.GetCertificate(); text != "" {
		old = v.certificate("certificate", text)
	}
	if csr != nil && csr.Subject.CommonName != caller {
		v.add("csr", "must have the Common Name of the caller, %s", caller)
	}
	if old != nil && old.Subject.CommonName != caller {
		v.add("certificate", "must have the Common Name of the caller, %s", caller)
	}
	if csr != nil && old != nil && request.GetCertificate() != "" && !bytes.Equal(csr.RawSubjectPublicKeyInfo, old.RawSubjectPublicKeyInfo) {
		v.add("csr", "must be signed with the key of the certificate that is to be renewed")
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	issued, err := s.Authority.Renew(ctx, caller, old, []byte(request.GetCsr()))
	if err != nil {
		return nil, statusOf(err)
	}
	s.note(caller, issued.GetCertificate(), "renewed a certificate")
	return &pb.RenewCertificateResponse{Issued: issued}, nil
}

// IssueCertificate implements the RPC.
func (s *Service) IssueCertificate(ctx context.Context, request *pb.IssueCertificateRequest) (*pb.IssueCertificateResponse, error) {
	if s.Authority == nil {
		return nil, errNoAuthority()
	}
	var v violations
	if csr := v.csr("csr", request.GetCsr()); csr != nil {
		if err := identity.CheckCommonName(csr.Subject.CommonName); err != nil {
			v.add("csr", "is refused: %s", err)
		}
	}
	if kind := request.GetKind(); kind != pb.CertificateKind_CERTIFICATE_KIND_CLIENT && kind != pb.CertificateKind_CERTIFICATE_KIND_SERVER {
		v.add("kind", "must be client or server")
	}
	if ttl := request.GetTtlSeconds(); ttl != 0 && (ttl < minTTL || ttl > maxTTL) {
		v.add("ttl_seconds", "must be 0 or between %d and %d", minTTL, maxTTL)
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	by := s.by(ctx)
	issued, err := s.Authority.Issue(ctx, by, []byte(request.GetCsr()), request.GetKind(), time.Duration(request.GetTtlSeconds())*time.Second)
	if err != nil {
		return nil, statusOf(err)
	}
	s.note(by, issued.GetCertificate(), "issued a certificate")
	return &pb.IssueCertificateResponse{Issued: issued}, nil
}

// RevokeCertificate implements the RPC. When it returns, this daemon refuses the
// certificates.
func (s *Service) RevokeCertificate(ctx context.Context, request *pb.RevokeCertificateRequest) (*pb.RevokeCertificateResponse, error) {
	if s.Authority == nil {
		return nil, errNoAuthority()
	}
	var v violations
	if name := request.GetNameOrSerial(); name == "" || len(name) > maxSerialText || !printable(name) {
		v.add("name_or_serial", "must be a Common Name or a serial number in hexadecimal")
	}
	if _, known := pb.RevocationReason_name[int32(request.GetReason())]; !known {
		v.add("reason", "must be one that there is")
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	by := s.by(ctx)
	// The work of a moment that must not be cut in half.
	ctx, cancel := s.detach(ctx, changeTimeout)
	defer cancel()
	revoked, err := s.Authority.Revoke(ctx, by, request.GetNameOrSerial(), request.GetReason())
	if errors.Is(err, ErrNoCertificate) {
		return nil, newStatus(codes.NotFound, "NOT_FOUND", fmt.Sprintf("the CA has no certificate of %s", request.GetNameOrSerial()))
	}
	if err != nil {
		return nil, statusOf(err)
	}
	for _, certificate := range revoked {
		s.note(by, certificate, "revoked a certificate")
	}
	return &pb.RevokeCertificateResponse{Revoked: revoked}, nil
}

// ListCertificates implements the RPC.
func (s *Service) ListCertificates(ctx context.Context, request *pb.ListCertificatesRequest) (*pb.ListCertificatesResponse, error) {
	if s.Authority == nil {
		return nil, errNoAuthority()
	}
	var v violations
	if len(request.GetName()) > maxSerialText {
		v.add("name", "must be at most %d bytes", maxSerialText)
	}
	if _, known := pb.CertificateKind_name[int32(request.GetKind())]; !known {
		v.add("kind", "must be one that there is")
	}
	if request.GetPageSize() > maxPage {
		v.add("page_size", "must be at most %d", maxPage)
	}
	after, err := decodeToken(request.GetPageToken())
	if err != nil {
		v.add("page_token", "must be one that an answer had")
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	query := Query{Name: request.GetName(), Kind: request.GetKind()}
	if !request.GetExpired() {
		query.ValidAt = s.Now()
	}
	certificates, err := s.Authority.List(ctx, query)
	if err != nil {
		return nil, statusOf(err)
	}
	return page(certificates, after, int(cmp.Or(request.GetPageSize(), maxPage))), nil
}

// page sorts, what expires first at the front, and returns what comes after that
// place. A page that is bounded by its bytes holds at least one.
func page(certificates []*pb.Certificate, after string, size int) *pb.ListCertificatesResponse {
	slices.SortFunc(certificates, func(a, b *pb.Certificate) int { return cmp.Compare(place(a), place(b)) })
	first, found := slices.BinarySearchFunc(certificates, after, func(c *pb.Certificate, after string) int { return cmp.Compare(place(c), after) })
	if found {
		first++
	}
	response := &pb.ListCertificatesResponse{}
	bytes := 0
	for _, certificate := range certificates[first:] {
		bytes += proto.Size(certificate)
		if n := len(response.GetCertificates()); n == size || n > 0 && bytes > maxPageBytes {
			response.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(place(response.GetCertificates()[n-1])))
			break
		}
		response.Certificates = append(response.Certificates, certificate)
	}
	return response
}

// place orders certificates by their end; the issuer and the serial tell those of
// one instant apart.
func place(c *pb.Certificate) string {
	return fmt.Sprintf("%020d %s %s", c.GetNotAfter().GetSeconds(), c.GetIssuerKeyId(), c.GetSerial())
}

func decodeToken(token string) (string, error) {
	if len(token) > maxPageToken {
		return "", errors.New("too long")
	}
	place, err := base64.RawURLEncoding.DecodeString(token)
	return string(place), err
}

// by is the Common Name of the caller.
func (s *Service) by(ctx context.Context) string {
	if certificate := s.Certificate(ctx); certificate != nil {
		return certificate.Subject.CommonName
	}
	return ""
}

// note logs what the CA did: the audit line has who asked, not for whom.
func (s *Service) note(by string, certificate *pb.Certificate, what string) {
	s.Log.WithField("by", by).WithField("cn", certificate.GetName()).WithField("serial", certificate.GetSerial()).Info(what)
}

// csr checks that a field holds one certificate request that its own key signed.
func (v *violations) csr(field, text string) *x509.CertificateRequest {
	block := v.pem(field, text, "CERTIFICATE REQUEST")
	if block == nil {
		return nil
	}
	csr, err := x509.ParseCertificateRequest(block)
	if err != nil {
		v.add(field, "must be a PKCS #10 certificate request")
		return nil
	}
	if err := csr.CheckSignature(); err != nil {
		v.add(field, "must be signed with its own key")
		return nil
	}
	return csr
}

func (v *violations) certificate(field, text string) *x509.Certificate {
	block := v.pem(field, text, "CERTIFICATE")
	if block == nil {
		return nil
	}
	certificate, err := x509.ParseCertificate(block)
	if err != nil {
		v.add(field, "must be a certificate")
		return nil
	}
	return certificate
}

// pem returns the first block of a field; of a certificate's chain it is the
// certificate.
func (v *violations) pem(field, text, kind string) []byte {
	if len(text) > maxPEM {
		v.add(field, "must be at most %d bytes", maxPEM)
		return nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != kind {
		v.add(field, "must be PEM with a %s", strings.ToLower(kind))
		return nil
	}
	return block.Bytes
}
