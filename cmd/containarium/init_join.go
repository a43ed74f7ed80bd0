package main

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
)

// errWaits says that a request was made and its certificate is not here yet.
var errWaits = errors.New("init: this host has made a request to a CA, and has no certificate yet")

// errJoined says that there is a certificate or a CA, and nothing to request.
var errJoined = errors.New("has what a request would be for")

// waits reports whether a request was made here.
func (h *host) waits() bool { return len(h.record.Names) > 0 }

// request makes a key, and a request for the CA's machine to sign.
func (h *host) request(report *initReport) error {
	key, csr := h.config.Server.Key, h.answers.CSR
	for _, there := range []string{h.config.Server.Cert, filepath.Join(h.caDir(), "state.json")} {
		if _, err := os.Lstat(there); err == nil {
			return h.failed(&saying{fmt.Sprintf("init: this host %s: %s", errJoined, there), errJoined})
		}
	}
	names := h.names()
	asks := func(kind pki.Kind, names []string) func() ([]byte, error) {
		return func() ([]byte, error) {
			signer, err := readSigner(key)
			if err != nil {
				return nil, err
			}
			request, _, err := pki.NewRequest(h.answers.Name, kind, names, "", signer)
			return request, err
		}
	}
	client := clientRequest(csr)
	if err := h.run(report, []step{
		h.directory(filepath.Dir(h.path), 0o755), h.directory(filepath.Dir(key), 0o755),
		h.file("server key", key, 0o600, "", func() ([]byte, error) {
			h.record.Names = names
			_, secret, err := pki.NewRequest(h.answers.Name, pki.Server, names, "", nil)
			return secret, err
		}, nothing),
		h.file("request", csr, 0o644, "", asks(pki.Server, names), nothing),
		h.file("client request", client, 0o644, "", asks(pki.Client, nil), nothing),
	}); err != nil {
		return err
	}
	name := h.answers.Name
	report.Next = append(report.Next,
		fmt.Sprintf("containarium pki sign %s --server --out %s.crt    # on the CA's machine, for %s", quoted(filepath.Base(csr)), name, strings.Join(names, ", ")),
		fmt.Sprintf("containarium pki sign %s --out %s-client.crt    # there, if a daemon hosts the CA", quoted(filepath.Base(client)), name),
		"containarium pki bundle --out ca.crt    # there",
		"containarium pki crl --out crl.pem    # there",
		fmt.Sprintf("containarium init --cert %s.crt --ca ca.crt --crl crl.pem --client-cert %[1]s-client.crt --trust-from HOST:50051    # here, with what it made", name),
	)
	return nil
}

// clientRequest is the request for the certificate that the daemon calls with, in a
// file beside that for its own.
func clientRequest(csr string) string {
	extension := filepath.Ext(csr)
	return strings.TrimSuffix(csr, extension) + "-client" + extension
}

// readSigner reads a key of which there is no certificate yet.
func readSigner(path string) (crypto.Signer, error) {
	data, err := live.ReadKey(path)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(data); block != nil {
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if signer, ok := key.(crypto.Signer); ok && err == nil {
			return signer, nil
		}
	}
	return nil, fmt.Errorf("%s holds no private key that this program knows", path)
}

// join installs what the CA's machine made, and starts the daemon. Who calls it has
// a certificate from there, so that no administrator's is made here.
func (h *host) join(report *initReport) error {
	to, from := h.config.Server, h.answers
	if from.Cert == "" { // it is here already
		from.Cert, from.CA = to.Cert, to.CA
	}
	if err := h.checkJoin(from); err != nil {
		return h.failed(err)
	}
	steps := h.directories()
	install := func(name, path, source string) {
		if source != "" {
			steps = append(steps, h.file(name, path, 0o644, to.Key, func() ([]byte, error) { return os.ReadFile(source) }, func() (string, error) {
				return differentFrom(path, source), nil
			}))
		}
	}
	install("server certificate", to.Cert, from.Cert)
	install("roots", to.CA, from.CA)
	install("revocation lists", to.CRL, from.CRL)
	install("client certificate", h.config.TLS.ClientCert, from.ClientCert)
	steps = append(steps, h.configSteps()...)
	steps = append(steps, h.sshdStep())
	if err := h.run(report, steps); err != nil {
		return err
	}
	if h.config.TLS.TrustFrom == "" {
		terminalOf(h.c).warnf("nothing renews %s and brings revocation lists here: --trust-from with --client-cert would; see containarium init --help", to.Cert)
	}
	if err := h.start(report); err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(h.config.Server.Address)
	report.Next = append(report.Next, fmt.Sprintf("containarium server add %s %s    # where the administrator is",
		h.answers.Name, net.JoinHostPort(firstName(h.record.Names), port)))
	return err
}

// differentFrom says that a file is another than the one that was to be installed.
// A later one is in its place for good reason, so it is no error.
func differentFrom(path, source string) string {
	have, err := os.ReadFile(path)
	want, also := os.ReadFile(source)
	if err != nil || also != nil || string(have) == string(want) {
		return ""
	}
	return "it is not " + source
}

func firstName(names []string) string {
	for _, name := range names {
		if name != "localhost" && net.ParseIP(name) == nil && strings.Contains(name, ".") {
			return name
		}
	}
	return "HOST"
}

// checkJoin fails closed: a certificate of another key, for another use, of other
// names or of another CA is not installed.
func (h *host) checkJoin(from answers) error {
	to := h.config.Server
	if _, err := os.Stat(to.Key); errors.Is(err, fs.ErrNotExist) {
		return &saying{fmt.Sprintf("init: there is no key at %s that a certificate could be for", to.Key), errNoRequest}
	}
	files := live.Files{Cert: from.Cert, Key: to.Key, CA: from.CA, CRL: from.CRL}
	if err := files.Check(live.Server, h.now); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	chain, err := live.ReadCertificates(from.Cert)
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	wanted := append(slices.Clone(h.record.Names), from.SANs...)
	if missing := missingNames(viewCertificate(chain[0], "").SANs, wanted); len(missing) > 0 {
		return fmt.Errorf("init: %s is not for %s, which was requested", from.Cert, strings.Join(missing, ", "))
	}
	if from.ClientCert == "" {
		return nil
	}
	if err := (live.Files{Cert: from.ClientCert, Key: to.Key, CA: from.CA, CRL: from.CRL}).Check(live.Client, h.now); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if err := sameOwner(from.ClientCert, from.Cert); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if h.text == nil && h.config.TLS.TrustFrom != from.TrustFrom {
		return fmt.Errorf("init: %s has trust_from = %q: write %q there, or take the file away", h.path, h.config.TLS.TrustFrom, from.TrustFrom)
	}
	return nil
}

// errNoRequest says that a join begins with --csr.
var errNoRequest = errors.New("there is no request")
