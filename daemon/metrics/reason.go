package metrics

import (
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/footprintai/containarium/pki/live"
)

// Reason is a word for what came of a handshake: "ok", or why the connection was
// refused. What it does not know is "other".
func Reason(err error) string {
	var timeout net.Error
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, live.ErrRevoked):
		return "revoked"
	case errors.Is(err, live.ErrStale):
		return "revocation_unknown"
	case errors.Is(err, live.ErrOtherCA), isA[x509.UnknownAuthorityError](err):
		return "unknown_ca"
	case errors.Is(err, live.ErrExpired), expired(err):
		return "expired"
	case isA[x509.CertificateInvalidError](err):
		return "not_a_client" // the wrong use, or a name that is not allowed
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case ended(err):
		return "ended"
	case strings.Contains(err.Error(), "client didn't provide a certificate"): // crypto/tls has no type for it
		return "no_certificate"
	case spokeOtherwise(err):
		return "protocol"
	}
	return "other"
}

// ended knows how a connection goes, by either end.
func ended(err error) bool {
	return slices.ContainsFunc([]error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed}, func(how error) bool {
		return errors.Is(err, how)
	})
}

// spokeOtherwise knows the errors of crypto/tls and of gRPC's credentials, which asks for
// HTTP/2, by how they begin: they have no types.
func spokeOtherwise(err error) bool {
	for _, prefix := range []string{"tls: ", "remote error: tls: ", "credentials: "} {
		if strings.HasPrefix(err.Error(), prefix) {
			return true
		}
	}
	return false
}

func expired(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
