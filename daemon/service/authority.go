package service

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// Authority is the CA of a daemon that hosts one. It checks whatever it is asked
// to sign by its own rules and keeps nothing open between calls. By is the Common
// Name of who asks. Errors that are not its own failure wrap one of those below.
type Authority interface {
	// Renew signs the key of a request anew for the name, kind and lifetime of a
	// certificate of its own that is neither expired nor revoked.
	Renew(ctx context.Context, by string, old *x509.Certificate, csr []byte) (*pb.IssuedCertificate, error)
	// Issue signs a request; a lifetime of 0 is the CA's default.
	Issue(ctx context.Context, by string, csr []byte, kind pb.CertificateKind, ttl time.Duration) (*pb.IssuedCertificate, error)
	// Revoke revokes a certificate, or all of a name, and writes the revocation
	// lists. It returns those that were not revoked before.
	Revoke(ctx context.Context, by, nameOrSerial string, reason pb.RevocationReason) ([]*pb.Certificate, error)
	// List returns what was signed and fits, in any order.
	List(ctx context.Context, query Query) ([]*pb.Certificate, error)
}

// Query says which certificates are asked for.
type Query struct {
	// Name is a Common Name; empty means all.
	Name string
	// Kind may be unspecified, which means all.
	Kind pb.CertificateKind
	// ValidAt leaves out what expired before; zero leaves out nothing.
	ValidAt time.Time
}

// What an Authority says no to.
var (
	ErrNoCertificate      = errors.New("no such certificate")
	ErrCertificateRevoked = errors.New("the certificate is revoked")
	// ErrNotSigned is a request that breaks a rule of the CA; the error says which.
	ErrNotSigned = errors.New("the CA does not sign that")
	// ErrAuthorityLocked is a CA whose key can not be opened.
	ErrAuthorityLocked = errors.New("the key of the CA can not be opened")
)

// NotInForceError is a revocation that the CA has on record and that this daemon
// does not go by.
type NotInForceError struct{ Err error }

func (e *NotInForceError) Error() string {
	return fmt.Sprintf("the CA has it revoked, but this daemon still goes by what it loaded before: %v", e.Err)
}

func (e *NotInForceError) Unwrap() error { return e.Err }

// errNoAuthority answers whoever asks a daemon without CA.
func errNoAuthority() error {
	return newStatus(codes.Unimplemented, "NO_CA", "this daemon hosts no CA ([ca] dir in its configuration is empty): ask the one that does")
}
