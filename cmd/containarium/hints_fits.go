package main

import (
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki/live"
)

func is(target error) func(*failure) bool {
	return func(f *failure) bool { return errors.Is(f.err, target) }
}

func as[T error](f *failure) bool {
	_, ok := errors.AsType[T](f.err)
	return ok
}

func and(tests ...func(*failure) bool) func(*failure) bool {
	return func(f *failure) bool {
		for _, test := range tests {
			if !test(f) {
				return false
			}
		}
		return true
	}
}

func about(prefix string) func(*failure) bool {
	return func(f *failure) bool { return strings.HasPrefix(strings.TrimPrefix(f.what, "remote "), prefix) }
}

func code(want codes.Code) func(*failure) bool {
	return func(f *failure) bool {
		call, ok := errors.AsType[*client.Error](f.err)
		return ok && call.Answered() && call.Code() == want
	}
}

func reason(want string) func(*failure) bool {
	return func(f *failure) bool {
		call, ok := errors.AsType[*client.Error](f.err)
		return ok && call.Reason() == want
	}
}

// ownFiles fits what went wrong before a call: with the files of the server.
func ownFiles(f *failure) bool {
	return !as[*client.Error](f) && !as[*unfinishedError](f) && f.server.Name != ""
}

// notFound fits a name that the DNS does not have.
func notFound(f *failure) bool {
	dns, ok := errors.AsType[*net.DNSError](f.err)
	return ok && dns.IsNotFound
}

// serverEnded fits a handshake that the server ended, for whatever reason.
func serverEnded(f *failure) bool {
	handshake, ok := errors.AsType[*client.HandshakeError](f.err)
	return ok && handshake.Refused
}

// refused fits a handshake that the server ended, if our own certificate has a
// fault of that kind; nil takes any.
func refused(kind error) func(*failure) bool {
	return func(f *failure) bool {
		if !serverEnded(f) || protocolVersion(f) {
			return false
		}
		err := f.server.Files().Check(live.Client, time.Now())
		return err != nil && (kind == nil || errors.Is(err, kind))
	}
}

func serverExpired(f *failure) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](f.err)
	return ok && invalid.Reason == x509.Expired // also of what is not valid yet
}

// serverEarly fits a server's certificate that is not valid yet: a clock is wrong.
func serverEarly(f *failure) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](f.err)
	return ok && serverExpired(f) && invalid.Cert != nil && time.Now().Before(invalid.Cert.NotBefore)
}

// serverRevoked fits a server that we refuse.
func serverRevoked(f *failure) bool { return as[*client.HandshakeError](f) && is(live.ErrRevoked)(f) }

// ofTheCA fits what went wrong with the CA's directory.
func ofTheCA(f *failure) bool { return f.local }

// noName fits commands that are not about one user or server.
func noName(f *failure) bool { return f.user == "" }

// protocolVersion looks at the text: crypto/tls keeps the type of an alert to
// itself.
func protocolVersion(f *failure) bool {
	return as[*client.HandshakeError](f) && strings.Contains(f.err.Error(), "protocol version")
}

// named fits a server that the configuration has.
func named(f *failure) bool {
	_, ok := f.config.Servers[f.server.Name]
	return ok
}

func unreachable(f *failure) bool {
	return is(syscall.EHOSTUNREACH)(f) || is(syscall.ENETUNREACH)(f)
}

func timedOut(f *failure) bool {
	call, ok := errors.AsType[*client.Error](f.err)
	if !ok || call.Answered() {
		return false
	}
	timeout, ok := errors.AsType[net.Error](f.err)
	return call.Code() == codes.DeadlineExceeded || ok && timeout.Timeout()
}

// noWay fits what else keeps a connection from being made.
func noWay(f *failure) bool {
	call, ok := errors.AsType[*client.Error](f.err)
	return ok && call.Cause != nil
}

// cut fits a call whose connection ended once it had begun.
func cut(f *failure) bool {
	call, ok := errors.AsType[*client.Error](f.err)
	return ok && !call.Answered() && call.Code() == codes.Unavailable
}
