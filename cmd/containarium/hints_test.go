package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

// answered is a call that the daemon answered.
func answered(code codes.Code, reason, message string, details ...protoadapt.MessageV1) error {
	st, err := status.New(code, message).WithDetails(append(details, &errdetails.ErrorInfo{Reason: reason})...)
	if err != nil {
		panic(err)
	}
	return &client.Error{Status: st}
}

// unanswered is a call that never got there.
func unanswered(code codes.Code, cause error) error {
	return &client.Error{Status: status.New(code, "gRPC says this"), Cause: cause}
}

func refusal() error {
	return unanswered(codes.Unavailable, &client.HandshakeError{Refused: true, Err: errors.New("remote error: tls: bad certificate")})
}

func handshake(err error) error {
	return unanswered(codes.Unavailable, &client.HandshakeError{Err: err})
}

func TestExplain(t *testing.T) {
	ca := pkitest.New(t)
	bad := ca.Bad(t)
	files := func(pair pkitest.Pair) client.Server {
		f := pair.WriteFiles(t, t.TempDir(), ca)
		return client.Server{Name: "jump-1", Address: "jump-1.example.org:50051", Cert: f.Cert, Key: f.Key, CA: f.CA}
	}
	good := files(ca.Client(t, "admin"))
	empty := &client.Config{Path: "/c.toml", Servers: map[string]client.Server{}}
	two := &client.Config{Path: "/c.toml", Servers: map[string]client.Server{"jump-1": good, "jump-2": {}}}
	unnamed := good
	unnamed.Name = "jump-12"
	leaf := ca.Server(t, "a.example.org", "192.0.2.7").Leaf
	other := pkitest.New(t)
	revoked := files(ca.Client(t, "carol"))
	chain, err := live.ReadCertificates(revoked.Cert)
	if err != nil {
		t.Fatal(err)
	}
	revoked.CRL = filepath.Join(filepath.Dir(revoked.CA), "crl.pem")
	if err := os.WriteFile(revoked.CRL, ca.CRL(t, chain[0].SerialNumber), 0o600); err != nil {
		t.Fatal(err)
	}
	past, future := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2999, 1, 2, 3, 4, 5, 0, time.UTC)
	outdated := func(cert x509.Certificate) error {
		return handshake(&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Cert: &cert, Reason: x509.Expired}})
	}
	used := map[int]bool{}

	for want, f := range map[string]*failure{
		"ls: no server is known in /c.toml; containarium server add NAME HOST": {what: "ls", config: empty, err: client.ErrNoServer},
		"ls: none of the servers in /c.toml is the default; containarium":      {what: "ls", config: two, err: client.ErrNoServer},
		"server add a: there is a server of that name already; containarium":   {what: "server add a", config: two, err: errServerExists},
		`server rm jump-12: there is no server of that name; known are jump-1, jump-2; did you mean "jump-1"?`: {
			what: "server rm jump-12", asked: "jump-12", config: two, err: errServerUnknown},
		"server rm a: there is no server of that name; containarium server add gives": {what: "server rm a", config: empty, err: errServerUnknown},

		"open x: file does not exist; on the CA machine containarium pki issue NAME makes": {server: good, err: &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}},
		"a server certificate (wrong use); give the client's: on the CA machine":           {server: good, err: fmt.Errorf("a server certificate (%w)", live.ErrWrongUse)},
		"it expired; on the CA machine: containarium pki renew admin":                      {server: good, err: fmt.Errorf("it %w", live.ErrExpired)},
		"it expired; on the CA machine: containarium pki renew NAME":                       {server: client.Server{Name: "a"}, err: fmt.Errorf("it %w", live.ErrExpired)},
		"it is revoked; on the CA machine: containarium pki issue admin --force":           {server: good, err: fmt.Errorf("it is %w", live.ErrRevoked)},
		"it is of another CA; give the ca.crt that came with the certificate":              {server: good, err: fmt.Errorf("it is of %w", live.ErrOtherCA)},
		"tls.key can be read by others: chmod 600 tls.key":                                 {server: good, err: errors.New("tls.key can be read by others: chmod 600 tls.key")},

		"^no CA in /x; containarium pki init makes one, --pki-dir says": {what: "pki ls", local: true, err: fmt.Errorf("%w in /x", pki.ErrNoCA)},
		"^the CA's key is encrypted; give --passphrase-file or":         {what: "pki issue a", user: "a", local: true, err: errNoPassphrase},
		"^a exists; choose another name, or --force makes a new key":    {what: "pki issue a", user: "a", local: true, err: &saying{"a exists", pki.ErrExists}},
		"^a CA exists": {what: "pki init", local: true, err: &saying{"a CA exists", pki.ErrExists}},
		"^Incus does not answer; install Incus and set it up by":         {what: "init", local: true, err: errNoIncus},
		"^the Incus profile lacks something; incus admin init --minimal": {what: "init", local: true, err: errLacks},
		"; containarium init --cert FILE --ca FILE finishes the join":    {what: "init", local: true, err: errWaits},
		"^there is no request; containarium init --csr FILE makes":       {what: "init", local: true, err: errNoRequest},
		"; containarium init without --csr goes on":                      {what: "init", local: true, err: errJoined},
		"^is kept; look at it, and remove by hand":                       {what: "init", local: true, err: errKept},
		"^init did not get to its end; what was made stays":              {what: "init", local: true, err: errHalfway},
		"; --out names another directory":                                {what: "pki request a", user: "a", local: true, err: errFileExists},
		"; --out names another file":                                     {what: "pki sign a", user: "a", local: true, err: errFileExists},
		"; choose another file, or --force":                              {what: "pki export a", user: "a", local: true, err: errFileExists},
		"; containarium pki issue a --force ":                            {what: "pki renew a", user: "a", local: true, err: pki.ErrRevoked},
		"; where it is: containarium pki renew; for a new key there containarium pki request a, or here containarium pki issue a": {
			what: "pki rotate a", user: "a", local: true, err: pki.ErrElsewhere},
		"; where the key is: containarium pki export --cert":                  {what: "pki export a", user: "a", local: true, err: pki.ErrElsewhere},
		"no rollover; containarium pki rotate --ca status says how far it is": {what: "pki rotate", local: true, err: &saying{"no rollover", pki.ErrRefused}},
		"; make room, then run it again":                                      {what: "pki crl", local: true, err: syscall.ENOSPC},
		"; containarium pki ls --all shows all there is":                      {what: "pki revoke a", user: "a", local: true, err: pki.ErrNotFound},

		`tls.crt of "alice" expired on `: {server: files(bad["expired"]), err: refusal()},
		"; on the CA machine: containarium pki issue carol --force, if it was not stolen": {server: revoked, err: refusal()},
		"set the clock of this machine":                        {server: files(bad["not yet valid"]), err: refusal()},
		"; give the certificate and the ca.crt of the same CA": {server: files(bad["other CA"]), err: refusal()},
		"the server refuses your certificate: open /none":      {server: client.Server{Name: "a", Cert: "/none"}, err: refusal()},
		"the server accepts no connection with your certificate; it may be revoked or from a CA that the server does not trust, or": {server: good, err: refusal()},

		"does not speak TLS; is this the daemon's port?":             {server: good, err: handshake(tls.RecordHeaderError{Msg: "first record"})},
		"does not speak TLS 1.3; is this the daemon's port":          {server: good, err: unanswered(codes.Unavailable, &client.HandshakeError{Refused: true, Err: errors.New("remote error: tls: protocol version not supported")})},
		"the server's certificate expired on 2026-01-02 03:04 UTC, ": {server: good, err: outdated(x509.Certificate{NotAfter: past})},
		"ago; on the CA machine: containarium pki renew NAME, if":    {server: good, err: outdated(x509.Certificate{NotAfter: past})},
		`"Test CA", which issued the server's certificate, expired`:  {server: good, err: outdated(x509.Certificate{NotAfter: past, IsCA: true, Subject: pkix.Name{CommonName: "Test CA"}})},
		"is not valid yet: it begins on 2999-01-02 03:04 UTC, and by the clock of this machine that is in": {
			server: good, err: outdated(x509.Certificate{NotBefore: future, NotAfter: future})},
		"the server is not trusted: it was revoked on a day; whoever answers there": {server: good, err: handshake(fmt.Errorf("it was %w on a day", live.ErrRevoked))},
		"the server's certificate is not from the CA in " + good.CA + `: it is from "Test intermediate" (SHA-256 ` + pki.Fingerprint(other.Intermediate) +
			`), and that file has "Test root" (SHA-256 ` + pki.Fingerprint(ca.Root) + "); is this the right server": {
			server: good, err: handshake(&tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{leaf, other.Intermediate}, Err: x509.UnknownAuthorityError{Cert: leaf}})},
		"the server's certificate is not from the CA in " + good.CA + "; is this the right server": {
			server: good, err: handshake(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{Cert: leaf}})},
		"is for a.example.org, 192.0.2.7, not for jump-1; use a name that it has": {
			server: good, err: handshake(&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: leaf, Host: "jump-1"}})},
		"the server needs a server certificate: on the CA machine": {
			server: good, err: handshake(&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Cert: leaf, Reason: x509.IncompatibleUsage}})},

		"its host can not be found: jump-1.example.org:50051; containarium server ls": {
			server: good, config: two, err: unanswered(codes.Unavailable, &net.DNSError{Name: "jump-1.example.org", IsNotFound: true})},
		`jump-1.example.org is neither a server in /c.toml nor a host that can be found; known are jump-1, jump-2; did you mean "jump-1"?`: {
			server: unnamed, asked: "jump-12", config: two, err: unanswered(codes.Unavailable, &net.DNSError{Name: "x", IsNotFound: true})},
		"nothing listens at jump-1.example.org:50051; on that host: systemctl status containarium": {
			server: good, err: unanswered(codes.Unavailable, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)})},
		"no way to the host; is it up": {
			server: good, err: unanswered(codes.Unavailable, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)})},
		"no answer from jump-1.example.org:50051 in time; is the host up": {
			server: good, err: unanswered(codes.Unavailable, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded})},
		"x on jump-1: no answer from jump-1.example.org:50051 in time": {
			what: "x", server: good, err: unanswered(codes.DeadlineExceeded, nil)},
		"can not reach jump-1.example.org:50051: odd": {server: good, err: unanswered(codes.Unavailable, errors.New("odd"))},
		"the connection broke; did the daemon stop?":  {server: good, err: unanswered(codes.Unavailable, nil)},

		"the policy gives x no role; its operator gives your name a role":                      {server: good, err: answered(codes.PermissionDenied, "NO_ROLE", "the policy gives x no role")},
		"does not allow it; containarium whoami shows what you may do":                         {server: good, err: answered(codes.PermissionDenied, "", "the role does not allow it")},
		"expired since; containarium pki check looks at your files; on":                        {server: good, err: answered(codes.Unauthenticated, "", "expired since")},
		"bob expired; on the CA machine: containarium pki renew admin":                         {server: good, err: answered(codes.Unauthenticated, "EXPIRED", "bob expired")},
		"is revoked; on the CA machine: containarium pki issue admin --force, if it was not":   {server: good, err: answered(codes.Unauthenticated, "REVOKED", "is revoked")},
		"expired list; on the CA machine containarium pki crl writes new revocation lists":     {server: good, err: answered(codes.Unauthenticated, "REVOCATION_UNKNOWN", "expired list")},
		"another CA; on the CA machine: containarium pki renew admin":                          {server: good, err: answered(codes.Unauthenticated, "OTHER_CA", "another CA")},
		"is locked; on the CA machine: containarium pki renew admin":                           {server: good, err: answered(codes.FailedPrecondition, "CA_LOCKED", "is locked")},
		"a rule; on the CA machine: containarium pki issue admin --force makes a new one":      {server: good, err: answered(codes.FailedPrecondition, "REFUSED_BY_CA", "a rule")},
		"still goes by it; the daemon's log and containarium system say":                       {server: good, err: answered(codes.FailedPrecondition, "NOT_IN_FORCE", "still goes by it")},
		"hosts no CA; --server names another; on the CA machine: containarium pki renew admin": {server: good, err: answered(codes.Unimplemented, "NO_CA", "hosts no CA")},
		"revoked; on the CA machine: containarium pki issue admin --force":                     {server: good, err: answered(codes.FailedPrecondition, "REVOKED", "revoked")},
		"unknown; it is not from this server's CA; there, containarium":                        {what: "pki renew", server: good, err: answered(codes.NotFound, "NOT_FOUND", "unknown")},
		"the last key; --force removes it all the same":                                        {server: good, err: answered(codes.FailedPrecondition, "LAST_KEY", "the last key")},
		"rm alice on jump-1: it runs; containarium stop alice, or give --force": {
			what: "rm alice", user: "alice", server: good, err: answered(codes.FailedPrecondition, "RUNNING", "it runs")},
		"start alice on jump-1: m3 is gone; containarium system shows the members": {
			what: "start alice", user: "alice", server: good, err: answered(codes.FailedPrecondition, "MEMBER_OFFLINE", "m3 is gone")},
		"root is the host's; choose another user name":                         {server: good, err: answered(codes.FailedPrecondition, "NAME_RESERVED", "root is the host's")},
		"it did not stop; --timeout gives it longer":                           {server: good, err: answered(codes.DeadlineExceeded, "STOP_TIMEOUT", "it did not stop")},
		"Incus does not answer; on that host: systemctl status incus":          {server: good, err: answered(codes.Unavailable, "INCUS_UNAVAILABLE", "Incus does not answer")},
		"cut off; containarium rm alice --force removes it now":                {user: "alice", server: good, err: answered(codes.FailedPrecondition, "UNFINISHED", "cut off")},
		"no snapshot; containarium snapshot ls alice shows the snapshots":      {what: "snapshot rm alice", user: "alice", server: good, err: answered(codes.NotFound, "NOT_FOUND", "no snapshot")},
		"a snapshot s1 already; containarium snapshot ls alice shows it":       {what: "snapshot create alice", user: "alice", server: good, err: answered(codes.AlreadyExists, "ALREADY_EXISTS", "a snapshot s1 already")},
		"it loses data; --force throws it away":                                {server: good, err: answered(codes.FailedPrecondition, "LOSES_DATA", "it loses data")},
		"the disk is full; containarium set alice --disk SIZE makes it larger": {user: "alice", server: good, err: answered(codes.ResourceExhausted, "DISK_FULL", "the disk is full")},
		"100 snapshots; containarium snapshot ls alice shows them":             {user: "alice", server: good, err: answered(codes.FailedPrecondition, "TOO_MANY_SNAPSHOTS", "100 snapshots")},
		"later ones; containarium snapshot ls alice shows them":                {user: "alice", server: good, err: answered(codes.FailedPrecondition, "LATER_SNAPSHOTS", "later ones")},
		"32 keys; containarium key ls alice shows them":                        {user: "alice", server: good, err: answered(codes.FailedPrecondition, "TOO_MANY_KEYS", "32 keys")},
		"no key; containarium key ls alice shows the keys":                     {what: "key rm alice", user: "alice", server: good, err: answered(codes.NotFound, "NOT_FOUND", "no key")},
		"create alice on jump-1: no such image":                                {what: "create alice", user: "alice", server: good, err: answered(codes.NotFound, "NOT_FOUND", "no such image")},
		"no container; containarium ls shows who has one":                      {what: "info alice", user: "alice", server: good, err: answered(codes.NotFound, "NOT_FOUND", "no container")},
		"alice has one; containarium info alice shows it":                      {user: "alice", server: good, err: answered(codes.AlreadyExists, "ALREADY_EXISTS", "alice has one")},
		"this; containarium key add --help":                                    {what: "key add alice", user: "alice", server: good, err: answered(codes.InvalidArgument, "", "this")},
		"the daemon is too old: it does not know this call; containarium version --server jump-1 shows its version and ours; update the daemon there": {
			server: good, err: answered(codes.Unimplemented, "", "unknown method")},
		"; containarium ls --server jump-1 shows who has one": {user: "alice", place: "jump-1:alice", server: good, err: answered(codes.NotFound, "NOT_FOUND", "no container")},
		"; containarium stop jump-1:alice, or give --force":   {user: "alice", place: "jump-1:alice", server: good, err: answered(codes.FailedPrecondition, "RUNNING", "it runs")},
		"info alice: alice has two: jump-1:alice, jump-2:alice; name one of them, such as jump-1:alice": {
			what: "info alice", user: "jump-1:alice", err: &saying{"alice has two: jump-1:alice, jump-2:alice", errAmbiguous}},
		"info alice: alice has none; containarium ls --all shows who has one where":                {what: "info alice", user: "alice", err: &saying{"alice has none", errNowhere}},
		"ssh alice on jump-1: it is stopped; containarium start jump-1:alice":                      {what: "ssh alice", user: "alice", place: "jump-1:alice", server: good, err: &saying{"it is stopped", errStopped}},
		"ssh alice on jump-1: it is being made; containarium info alice shows when it ":            {what: "ssh alice", user: "alice", server: good, err: &saying{"it is being made", errNotReady}},
		"ssh alice on jump-1: it has no address; containarium info alice shows it once it has one": {what: "ssh alice", user: "alice", server: good, err: &saying{"it has no address", errNoAddress}},
		"ssh alice on jump-1: its host key is not known; it is learnt while the container runs: wait a moment, or containarium restart alice": {
			what: "ssh alice", user: "alice", server: good, err: &saying{"its host key is not known", errNoHostKey}},
		"create alice: alice has one; containarium info jump-1:alice shows it":        {what: "create alice", user: "alice", place: "jump-1:alice", err: &saying{"alice has one", errHasOne}},
		"create alice: no server answered; run it again when it answers, or --server": {what: "create alice", user: "alice", err: &saying{"no server answered", errUnreached}},
		"rm alice: nothing is changed: what is meant may be on a server that did not answer; name the one that is meant as SERVER:USER": {
			what: "rm alice", user: "alice", err: errUnsure},
		"server discover a.test: no servers of a.test are in the DNS; its DNS needs SRV records _containarium._tcp.a.test; containarium server add": {
			what: "server discover a.test", user: "a.test", err: &net.DNSError{IsNotFound: true}},
		"server discover a.test: the DNS does not answer: server misbehaving; does this machine reach its DNS server?": {
			what: "server discover a.test", user: "a.test", err: &net.DNSError{Err: "server misbehaving"}},
		"server discover a.test: the domain says that it has no servers; containarium server add": {what: "server discover a.test", user: "a.test", err: errNoService},
		"interrupted; the daemon goes on with it; containarium info al":                           {user: "alice", server: good, err: &unfinishedError{begun: true, interrupted: true}},
		"out of time before the daemon answered; it may go on with it":                            {user: "alice", server: good, err: &unfinishedError{}},
		"x on jump-1: an error of its own":                                                        {what: "x", server: good, err: answered(codes.Internal, "INTERNAL", "an error of its own")},
		"create Al on jump-1: USER must a, --memory must b, --ssh-key[1] is c, other must d; containarium create --help": {
			what: "create Al", user: "Al", server: good, err: answered(codes.InvalidArgument, "", "as text", &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "create.username", Description: "must a"},
				{Field: "create.resources.memory", Description: "must b"},
				{Field: "create.ssh_keys[1]", Description: "is c"},
				{Field: "other", Description: "must d"},
			}})},
	} {
		if call, ok := errors.AsType[*client.Error](f.err); ok {
			call.Server = f.server
		}
		if got := explain(t.Context(), f); !strings.Contains("^"+got, want) || strings.Contains(got, "gRPC says") {
			t.Errorf("%s; want %s", got, want)
		}
		for i, hint := range hints {
			if hint.fits(f) {
				used[i] = true
				break
			}
		}
	}
	for i := range hints {
		if !used[i] {
			t.Errorf("the hint in row %d of the table was never given: another comes before it, or this test lacks a case", i)
		}
	}
}

func TestExitCodes(t *testing.T) {
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		err  error
		want int
	}{
		"usage":             {t.Context(), &usageError{}, 2},
		"denied":            {t.Context(), &failure{err: answered(codes.PermissionDenied, "", "")}, 4},
		"nobody":            {t.Context(), &failure{err: answered(codes.Unauthenticated, "", "")}, 4},
		"not found":         {t.Context(), &failure{err: answered(codes.NotFound, "", "")}, 1},
		"unreachable":       {t.Context(), &failure{err: unanswered(codes.Unavailable, nil)}, 1},
		"other":             {t.Context(), errors.New("x"), 1},
		"interrupted":       {interrupted, &failure{err: unanswered(codes.Canceled, nil)}, 130},
		"interrupted usage": {interrupted, &usageError{}, 2},
	} {
		if got := exitCode(test.ctx, test.err); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestReport(t *testing.T) {
	terminal, out, errs := capture(false)
	joined := errors.Join(errors.New("one\nand more\x1b[2J"), errors.Join(errors.New("two")), fmt.Errorf("three: %w and %w", errors.New("a"), errors.New("b")))
	if code := report(t.Context(), terminal, joined); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	want := "containarium: one\\u000aand more\\u001b[2J\ncontainarium: two\ncontainarium: three: a and b\n"
	if errs.String() != want || out.Len() > 0 {
		t.Errorf("%q, %q; want %q", out, errs, want)
	}
}
