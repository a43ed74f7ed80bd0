package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
)

// hints says of every kind of failure what it is, where the error's own words
// would not do, and what to do next. The first that fits counts.
var hints = []struct {
	fits func(f *failure) bool
	// problem replaces the error's words; nil keeps them.
	problem func(f *failure) string
	// next may be nil where there is nothing to do about it.
	next func(f *failure) string
}{
	// Before anything is sent.
	{is(client.ErrNoServer), noServer, text("containarium server add NAME HOST --cert FILE --key FILE --ca FILE, or give --server")},
	{is(errServerExists), nil, text("containarium server ls shows it, --force replaces it")},
	{is(errServerUnknown), nil, knownServers},
	{and(about("server discover"), notFound), noService, withUser("its DNS needs SRV records _containarium._tcp.%s; containarium server add names a server without")},
	{is(errNoService), nil, text("containarium server add names a server without the DNS")},
	{and(about("server discover"), as[*net.DNSError]), noDNS, text("does this machine reach its DNS server? containarium server add names a server without")},
	{is(errAmbiguous), nil, withUser("name one of them, such as %s")},
	{is(errNowhere), nil, text("containarium ls --all shows who has one where")},
	{is(errHasOne), nil, withUser("containarium info %s shows it")},
	{is(errUnreached), nil, text("run it again when it answers, or --server names the servers to choose from")},
	{is(errUnsure), nil, text("name the one that is meant as SERVER:USER")},
	{is(errStopped), nil, withUser("containarium start %s")},
	{is(errNotReady), nil, withUser("containarium info %s shows when it runs")},
	{is(errNoAddress), nil, withUser("containarium info %s shows it once it has one")},
	{is(errNoHostKey), nil, withUser("it is learnt while the container runs: wait a moment, or containarium restart %s")},
	{and(ownFiles, is(fs.ErrNotExist)), nil, text("on the CA machine containarium pki issue NAME makes the three files")},
	{and(ownFiles, is(live.ErrWrongUse)), nil, text("give the client's: on the CA machine, containarium pki issue NAME")},
	{and(ownFiles, is(live.ErrExpired)), nil, withOwnName("on the CA machine: containarium pki renew %s")},
	{and(ownFiles, is(live.ErrOtherCA)), nil, text("give the ca.crt that came with the certificate")},
	{and(ownFiles, is(live.ErrRevoked)), nil, withOwnName("on the CA machine: containarium pki issue %s --force")},
	{ownFiles, nil, nil},

	// While a host is made.
	{is(errNoIncus), nil, text("install Incus and set it up by incus admin init --minimal, or --incus-socket says where it is; --no-start makes the files without it")},
	{is(errLacks), nil, text("incus admin init --minimal sets an Incus up that is new, else incus profile edit; --no-start makes the files without it")},
	{is(errWaits), nil, text("containarium init --cert FILE --ca FILE finishes the join, --undo begins anew")},
	{is(errNoRequest), nil, text("containarium init --csr FILE makes a key and the request")},
	{is(errJoined), nil, text("containarium init without --csr goes on with it")},
	{is(errKept), nil, text("look at it, and remove by hand what nobody needs")},
	{is(errNoPassphrase), nil, text("give --passphrase-file or --passphrase-fd")},
	{is(errHalfway), nil, text("what was made stays: mend it and run init again, or containarium init --undo removes it")},

	// On the CA's directory.
	{is(pki.ErrNoCA), nil, text("containarium pki init makes one, --pki-dir says where another is")},
	{and(about("pki issue"), is(pki.ErrExists)), nil, text("choose another name, or --force makes a new key and certificate there")},
	{and(about("pki request"), is(errFileExists)), nil, text("--out names another directory")},
	{and(about("pki sign"), is(errFileExists)), nil, text("--out names another file")},
	{is(errFileExists), nil, text("choose another file, or --force replaces it")},
	{and(ofTheCA, is(pki.ErrRevoked)), nil, withUser("containarium pki issue %s --force makes a new key and certificate")},
	{and(about("pki export"), is(pki.ErrElsewhere)), nil, text("where the key is: containarium pki export --cert FILE --key FILE --ca FILE --p12 FILE")},
	{and(about("pki rotate"), noName, is(pki.ErrRefused)), nil, text("containarium pki rotate --ca status says how far it is")},
	{and(ofTheCA, is(syscall.ENOSPC)), nil, text("make room, then run it again")},
	{is(pki.ErrElsewhere), nil, withUser("where it is: containarium pki renew; for a new key there containarium pki request %[1]s, or here containarium pki issue %[1]s")},
	{is(pki.ErrNotFound), nil, text("containarium pki ls --all shows all there is")},

	// While connecting. TLS hides why a server refuses a certificate: where ours
	// has a fault that we can see, that is why.
	{refused(live.ErrExpired), ownProblem, withOwnName("on the CA machine: containarium pki renew %s")},
	{refused(live.ErrNotYetValid), ownProblem, text("set the clock of this machine and of the CA machine right")},
	{refused(live.ErrRevoked), ownProblem, withOwnName("on the CA machine: containarium pki issue %s --force, if it was not stolen")},
	{refused(live.ErrOtherCA), ownProblem, text("give the certificate and the ca.crt of the same CA")},
	{refused(nil), ownProblem, nil},
	{as[tls.RecordHeaderError], text("what answers there does not speak TLS"), text("is this the daemon's port?")},
	{serverEarly, serverDates, text("set the clock of this machine and of the CA machine right")},
	{serverExpired, serverDates, text("on the CA machine: containarium pki renew NAME, if the clock of this machine is right")},
	{serverRevoked, whyRevoked, text("whoever answers there may have stolen its key; else on the CA machine: containarium pki issue NAME --force")},
	{as[x509.UnknownAuthorityError], otherCA, text("is this the right server, and the ca.crt that came with your certificate?")},
	{as[x509.HostnameError], wrongHost, text("use a name that it has, or on the CA machine: containarium pki issue NAME --server --san HOST")},
	{as[x509.CertificateInvalidError], nil, text("the server needs a server certificate: on the CA machine, containarium pki issue NAME --server")},
	{protocolVersion, text("the server does not speak TLS 1.3"), text("is this the daemon's port?")},
	{serverEnded, text("the server accepts no connection with your certificate"), text("it may be revoked or from a CA that the server does not trust, or the server's revocation lists may be too old; containarium pki check looks at your files, and the daemon's log has the reason")},
	{and(as[*net.DNSError], named), noAddress, text("containarium server ls shows the addresses")},
	{as[*net.DNSError], noHost, knownServers},
	{is(syscall.ECONNREFUSED), nothingListens, text("on that host: systemctl status containarium")},
	{unreachable, text("no way to the host"), text("is it up, and is a firewall or a VPN in between?")},
	{timedOut, noAnswer, text("is the host up, and does a firewall let the port through? --timeout gives it longer")},
	{noWay, noWayText, nil},
	{cut, text("the connection broke"), text("did the daemon stop? containarium system shows whether it is back")},

	// What the daemon answers.
	{reason("NO_ROLE"), nil, text("its operator gives your name a role under [identities] in policy.toml")},
	{code(codes.PermissionDenied), nil, text("containarium whoami shows what you may do")},
	{reason("EXPIRED"), nil, withOwnName("on the CA machine: containarium pki renew %s")},
	{reason("REVOKED"), nil, withOwnName("on the CA machine: containarium pki issue %s --force, if it was not stolen")},
	{reason("REVOCATION_UNKNOWN"), nil, text("on the CA machine containarium pki crl writes new revocation lists, which that server has to get as its crl.pem")},
	{reason("OTHER_CA"), nil, withOwnName("on the CA machine: containarium pki renew %s")},
	{code(codes.Unauthenticated), nil, withOwnName("containarium pki check looks at your files; on the CA machine: containarium pki issue %s --force")},
	{reason("NO_CA"), nil, withOwnName("--server names another; on the CA machine: containarium pki renew %s")},
	{reason("CA_LOCKED"), nil, withOwnName("on the CA machine: containarium pki renew %s")},
	{reason("REFUSED_BY_CA"), nil, withOwnName("on the CA machine: containarium pki issue %s --force makes a new one")},
	{reason("NOT_IN_FORCE"), nil, text("the daemon's log and containarium system say what keeps it from the new files")},
	{and(about("pki renew"), code(codes.NotFound)), nil, withOwnName("it is not from this server's CA; there, containarium pki issue %s")},
	{reason("LAST_KEY"), nil, text("--force removes it all the same")},
	{reason("RUNNING"), nil, withUser("containarium stop %s, or give --force")},
	{reason("NAME_RESERVED"), nil, text("choose another user name")},
	{reason("STOP_TIMEOUT"), nil, text("--timeout gives it longer, --force stops it at once")},
	{reason("INCUS_UNAVAILABLE"), nil, text("on that host: systemctl status incus")},
	{reason("MEMBER_OFFLINE"), nil, text("containarium system shows the members")},
	{reason("UNFINISHED"), nil, withUser("containarium rm %s --force removes it now")},
	{reason("LOSES_DATA"), nil, text("--force throws it away")},
	{reason("DISK_FULL"), nil, withUser("containarium set %s --disk SIZE makes it larger")},
	{reason("TOO_MANY_SNAPSHOTS"), nil, withUser("containarium snapshot ls %s shows them")},
	{reason("LATER_SNAPSHOTS"), nil, withUser("containarium snapshot ls %s shows them")},
	{reason("TOO_MANY_KEYS"), nil, withUser("containarium key ls %s shows them")},
	{and(code(codes.NotFound), about("key ")), nil, withUser("containarium key ls %s shows the keys, if there is a container")},
	{and(code(codes.NotFound), about("create ")), nil, nil},
	{and(code(codes.NotFound), about("snapshot ")), nil, withUser("containarium snapshot ls %s shows the snapshots, if there is a container")},
	{and(code(codes.AlreadyExists), about("snapshot ")), nil, withUser("containarium snapshot ls %s shows it")},
	{code(codes.NotFound), nil, whoHasOne},
	{code(codes.AlreadyExists), nil, withUser("containarium info %s shows it")},
	{code(codes.InvalidArgument), wrongFields, withCommand("containarium %s --help")},
	{code(codes.Unimplemented), text("the daemon is too old: it does not know this call"), onServer("containarium version --server %s shows its version and ours; update the daemon there, or use an older containarium here")},
	{as[*unfinishedError], nil, withUser("containarium info %s shows what became of it")},
}

// explain returns the one line that says what failed, where, why and what to do
// next.
func explain(ctx context.Context, err error) string {
	if usage, ok := errors.AsType[*usageError](err); ok {
		help := strings.TrimSpace("containarium " + usage.command)
		return fmt.Sprintf("%s; %s --help", usage, help)
	}
	f, ok := errors.AsType[*failure](err)
	if !ok {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return "interrupted"
		}
		return err.Error()
	}
	what := f.what
	if f.server.Name != "" {
		what += " on " + f.server.Name
	}
	if _, left := errors.AsType[*unfinishedError](f.err); ctx.Err() != nil && !left {
		return what + ": interrupted"
	}
	problem, next := hinted(f)
	if next != "" {
		next = "; " + next
	}
	if f.local {
		return problem + next
	}
	return what + ": " + problem + next
}

// hinted says what failed, and what to do next, which may be "".
func hinted(f *failure) (problem, next string) {
	problem = f.err.Error()
	if call, ok := errors.AsType[*client.Error](f.err); ok && call.Cause == nil {
		problem = call.Status.Message() // the server and the code are said already
	}
	for _, hint := range hints {
		if !hint.fits(f) {
			continue
		}
		if hint.problem != nil {
			problem = hint.problem(f)
		}
		if hint.next != nil {
			next = hint.next(f)
		}
		break
	}
	return problem, next
}
