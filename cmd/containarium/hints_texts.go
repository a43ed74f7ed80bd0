package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/config/strict"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
)

func text(s string) func(*failure) string { return func(*failure) string { return s } }

func withUser(format string) func(*failure) string {
	return func(f *failure) string { return fmt.Sprintf(format, cmp.Or(f.place, f.user)) }
}

// withOwnName puts the name in our own certificate into a command.
func withOwnName(format string) func(*failure) string {
	return func(f *failure) string {
		name := "NAME"
		if chain, err := live.ReadCertificates(f.server.Cert); err == nil {
			name = mendName(chain[0])
		}
		return fmt.Sprintf(format, name)
	}
}

func withCommand(format string) func(*failure) string {
	return func(f *failure) string {
		return fmt.Sprintf(format, strings.TrimSuffix(f.what, " "+f.user))
	}
}

func whoHasOne(f *failure) string {
	if f.place != "" && f.place != f.user {
		return fmt.Sprintf("containarium ls --server %s shows who has one", f.server.Name)
	}
	return "containarium ls shows who has one"
}

// onServer puts the name of the server into a command.
func onServer(format string) func(*failure) string {
	return func(f *failure) string { return fmt.Sprintf(format, f.server.Name) }
}

func noServer(f *failure) string {
	if len(f.config.Servers) > 0 {
		return fmt.Sprintf("none of the servers in %s is the default", f.config.Path)
	}
	return fmt.Sprintf("no server is known in %s", f.config.Path)
}

func knownServers(f *failure) string {
	names := slices.Sorted(maps.Keys(f.config.Servers))
	if len(names) == 0 {
		return "containarium server add gives a server a name"
	}
	names = append(names, slices.Sorted(maps.Keys(f.config.Groups))...)
	return "known are " + strings.Join(names, ", ") + strict.Suggest(cmp.Or(f.server.Name, f.asked), names)
}

func noService(f *failure) string { return fmt.Sprintf("no servers of %s are in the DNS", f.user) }

func noDNS(f *failure) string {
	dns, _ := errors.AsType[*net.DNSError](f.err)
	return "the DNS does not answer: " + dns.Err
}

func ownProblem(f *failure) string {
	if err := f.server.Files().Check(live.Client, time.Now()); err != nil {
		return "the server refuses your certificate: " + err.Error()
	}
	return f.err.Error()
}

// serverDates says which certificate is out of its time, and by how much.
func serverDates(f *failure) string {
	invalid, _ := errors.AsType[x509.CertificateInvalidError](f.err)
	if invalid.Cert == nil {
		return "the server's certificate has expired or is not valid yet"
	}
	of, now := "the server's certificate", time.Now()
	if invalid.Cert.IsCA {
		of = fmt.Sprintf("%q, which issued the server's certificate,", invalid.Cert.Subject.CommonName)
	}
	if early := invalid.Cert.NotBefore.Sub(now); early > 0 {
		return fmt.Sprintf("%s is not valid yet: it begins on %s, and by the clock of this machine that is in %s", of, pkiTime(invalid.Cert.NotBefore), span(early))
	}
	return fmt.Sprintf("%s expired on %s, %s ago", of, pkiTime(invalid.Cert.NotAfter), span(now.Sub(invalid.Cert.NotAfter)))
}

// whyRevoked has the date, and the reason, of the list that the server is on.
func whyRevoked(f *failure) string {
	handshake, _ := errors.AsType[*client.HandshakeError](f.err)
	return "the server is not trusted: " + handshake.Err.Error()
}

// otherCA names both CAs by their fingerprints, since their names may be equal.
func otherCA(f *failure) string {
	text := "the server's certificate is not from the CA in " + f.server.CA
	refused, ok := errors.AsType[*tls.CertificateVerificationError](f.err)
	if !ok || len(refused.UnverifiedCertificates) == 0 {
		return text
	}
	sent := refused.UnverifiedCertificates
	top := sent[len(sent)-1]
	if top.IsCA {
		text += fmt.Sprintf(": it is from %q (SHA-256 %s)", top.Subject.CommonName, pki.Fingerprint(top))
	} else {
		text += fmt.Sprintf(": it is from %q", top.Issuer.CommonName)
	}
	roots, err := live.ReadCertificates(f.server.CA)
	if err != nil || len(roots) == 0 {
		return text
	}
	return text + fmt.Sprintf(", and that file has %q (SHA-256 %s)", roots[0].Subject.CommonName, pki.Fingerprint(roots[0]))
}

func wrongHost(f *failure) string {
	mismatch, _ := errors.AsType[x509.HostnameError](f.err)
	var names []string
	if mismatch.Certificate != nil {
		names = mismatch.Certificate.DNSNames
		for _, ip := range mismatch.Certificate.IPAddresses {
			names = append(names, ip.String())
		}
	}
	if len(names) == 0 {
		names = []string{"nothing"}
	}
	return fmt.Sprintf("the server's certificate is for %s, not for %s", strings.Join(names, ", "), mismatch.Host)
}

func noAddress(f *failure) string {
	return fmt.Sprintf("its host can not be found: %s", f.server.Address)
}

func noHost(f *failure) string {
	host, _, _ := net.SplitHostPort(f.server.Address)
	return fmt.Sprintf("%s is neither a server in %s nor a host that can be found", host, f.config.Path)
}

func nothingListens(f *failure) string {
	return fmt.Sprintf("nothing listens at %s", f.server.Address)
}

func noAnswer(f *failure) string { return fmt.Sprintf("no answer from %s in time", f.server.Address) }

func noWayText(f *failure) string {
	call, _ := errors.AsType[*client.Error](f.err)
	return fmt.Sprintf("can not reach %s: %v", f.server.Address, call.Cause)
}

// wrongFields names every wrong field as the flag or argument that it came from.
func wrongFields(f *failure) string {
	call, _ := errors.AsType[*client.Error](f.err)
	var texts []string
	for _, v := range call.Violations() {
		texts = append(texts, flagOf(v.Field)+" "+v.Description)
	}
	if len(texts) == 0 {
		return call.Status.Message()
	}
	return strings.Join(texts, ", ")
}

// flagOf returns how a field of a request is written on the command line.
func flagOf(field string) string {
	field = strings.TrimPrefix(field, "create.")
	for prefix, flag := range map[string]string{
		"username":         "USER",
		"resources.cpu":    "--cpu",
		"resources.memory": "--memory",
		"resources.disk":   "--disk",
		"ssh_keys":         "--ssh-key",
		"ssh_key":          "KEY",
		"labels":           "--label",
		"image":            "--image",
		"target":           "--target",
		"states":           "--state",
		"timeout_seconds":  "--timeout",
	} {
		if field == prefix || strings.HasPrefix(field, prefix+"[") {
			return flag + strings.TrimPrefix(field, prefix)
		}
	}
	return field
}
