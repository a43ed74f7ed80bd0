package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
)

// ca opens the CA of this host.
func (h *host) ca() (*pki.CA, error) {
	passphrase, err := givenSecret(h.c, "passphrase")
	if err != nil {
		return nil, err
	}
	ca, err := pki.Open(h.caDir())
	if err != nil {
		return nil, err
	}
	ca.Passphrase = passphraseOf(h.c.Context, h.c, passphrase)
	return ca, nil
}

// authoritySteps make the CA, the server's certificate and the files that the
// daemon goes by.
func (h *host) authoritySteps() []step {
	files := h.config.Server
	fromCA := func(read func(ca *pki.CA) ([]byte, error)) func() ([]byte, error) {
		return func() ([]byte, error) {
			ca, err := h.ca()
			if err != nil {
				return nil, err
			}
			return read(ca)
		}
	}
	issued := func(path func(live.Files) string) func() ([]byte, error) {
		return fromCA(func(ca *pki.CA) ([]byte, error) { return os.ReadFile(path(ca.Files(h.answers.Name))) })
	}
	key := issued(func(f live.Files) string { return f.Key })
	return []step{
		{name: "CA", path: h.caDir(), look: h.lookCA, make: h.makeCA},
		{name: "server certificate", path: h.answers.Name, look: h.lookServer, make: func(ctx context.Context) error {
			return h.issue(ctx, pki.Request{Name: h.answers.Name, Kind: pki.Server, SANs: h.names(), By: asker()})
		}},
		h.file("server key", files.Key, 0o600, "", key, func() (string, error) {
			have, err := live.ReadKey(files.Key)
			want, none := key()
			if _, there := os.Lstat(files.Cert); err == nil && none == nil && there != nil && !bytes.Equal(have, want) {
				return "it is not the key of " + h.answers.Name + " in the CA's directory", nil
			}
			return "", err
		}),
		h.file("server certificate", files.Cert, 0o644, files.Key, issued(func(f live.Files) string { return f.Cert }), nothing),
		h.file("roots", files.CA, 0o644, files.Key, fromCA((*pki.CA).Bundle), nothing),
		h.file("revocation lists", files.CRL, 0o644, files.Key, fromCA(func(ca *pki.CA) ([]byte, error) {
			if _, err := ca.RefreshCRL(h.c.Context); err != nil {
				return nil, err
			}
			return ca.CRLs()
		}), nothing),
	}
}

// nothing differs in a file whose content is looked at elsewhere.
func nothing() (string, error) { return "", nil }

func (h *host) lookCA() (seen, error) {
	ca, err := pki.Open(h.caDir())
	if errors.Is(err, pki.ErrNoCA) {
		return seen{}, nil
	}
	if err != nil {
		return seen{}, err
	}
	return seen{stepKept, "expires " + pkiTime(ca.Root.NotAfter)}, nil
}

func (h *host) makeCA(ctx context.Context) error {
	item := madeItem{Kind: madeCA, Path: h.caDir()}
	if err := h.record.note(item); err != nil {
		return err
	}
	ca, err := pki.Init(ctx, h.caDir(), pki.Options{By: asker()})
	if err != nil {
		return err
	}
	item.SHA256 = pki.Fingerprint(ca.Root)
	return h.record.note(item)
}

// issue makes a certificate, and notes it for undo as one of init's own.
func (h *host) issue(ctx context.Context, request pki.Request) error {
	ca, err := h.ca()
	if err != nil {
		return err
	}
	issued, err := ca.Issue(ctx, request)
	if err != nil {
		return err
	}
	if item := h.record.find(madeCA, h.caDir()); item != nil {
		item.Serials = append(item.Serials, issued.Serial)
	}
	return h.record.save()
}

// names are what clients may dial.
func (h *host) names() []string {
	names := hostNames(h.c.Context, h.bridge)
	for _, name := range append(slices.Clone(h.answers.SANs), dialled(h.config.Server.Address)) {
		if name = strings.ToLower(name); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// dialled is the host that this host itself dials to reach the daemon.
func dialled(address string) string {
	name, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(name); err != nil || name == "" || ip != nil && ip.IsUnspecified() {
		return "127.0.0.1"
	}
	return name
}

// lookServer looks at the files that the daemon has or, where there are none yet,
// at those in the CA's directory.
func (h *host) lookServer() (seen, error) {
	if differs, err := h.lookInstalled(); err == nil {
		return differs, nil
	}
	ca, err := pki.Open(h.caDir())
	if errors.Is(err, pki.ErrNoCA) {
		return seen{}, nil
	}
	if err != nil {
		return seen{}, err
	}
	chain, err := live.ReadCertificates(ca.Files(h.answers.Name).Cert)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return seen{}, nil
	case err != nil:
		return seen{}, err
	case pki.KindOf(chain[0]) != pki.Server:
		return seen{}, fmt.Errorf("%s in %s is a client: --name gives the server another name", h.answers.Name, ca.Dir)
	}
	return seen{stepKept, "expires " + pkiTime(chain[0].NotAfter)}, nil
}

// lookInstalled looks at the certificate and the key that the daemon has. It fails
// where one of them is missing.
func (h *host) lookInstalled() (seen, error) {
	files := h.config.Server
	if _, err := os.Stat(files.Key); err != nil {
		return seen{}, err
	}
	chain, err := live.ReadCertificates(files.Cert)
	if errors.Is(err, fs.ErrNotExist) {
		return seen{}, err
	}
	if err == nil {
		err = live.Files{Cert: files.Cert, Key: files.Key, CA: files.CA}.Check(live.Server, h.now)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return seen{stepDiffers, err.Error()}, nil
	}
	if missing := missingNames(viewCertificate(chain[0], "").SANs, h.answers.SANs); len(missing) > 0 {
		return seen{stepDiffers, "it is not for " + strings.Join(missing, ", ") + ": containarium pki issue " + mendName(chain[0]) + " --server --force keeps its names; see containarium pki issue --help"}, nil
	}
	return seen{stepKept, "expires " + pkiTime(chain[0].NotAfter)}, nil
}

// missingNames are those that were wanted and are not there.
func missingNames(have, wanted []string) []string {
	var missing []string
	for _, name := range wanted {
		ip := net.ParseIP(name)
		if !slices.ContainsFunc(have, func(h string) bool { return strings.EqualFold(h, name) || ip != nil && ip.Equal(net.ParseIP(h)) }) {
			missing = append(missing, name)
		}
	}
	return missing
}

// adminSteps make the administrator's certificate and an entry of the servers file
// that has it.
func (h *host) adminSteps() []step {
	admin := h.answers.Admin
	return []step{
		{name: "admin certificate", path: admin, look: func() (seen, error) {
			ca, err := pki.Open(h.caDir())
			if errors.Is(err, pki.ErrNoCA) {
				return seen{}, nil
			}
			if err != nil {
				return seen{}, err
			}
			files := ca.Files(admin)
			_, err = os.Lstat(files.Cert)
			if errors.Is(err, fs.ErrNotExist) {
				return seen{}, nil
			}
			if err := files.Check(live.Client, h.now); err != nil {
				return seen{stepDiffers, err.Error()}, nil
			}
			return seen{state: stepKept}, err
		}, make: func(ctx context.Context) error {
			return h.issue(ctx, pki.Request{Name: admin, Kind: pki.Client, By: asker()})
		}},
		h.entryStep(),
	}
}

// entry is the server as the servers file has it.
func (h *host) entry() client.Server {
	_, port, _ := net.SplitHostPort(h.config.Server.Address)
	issued := h.caDir() + "/issued/" + h.answers.Admin
	return client.Server{
		Name: h.answers.Name, Address: net.JoinHostPort(dialled(h.config.Server.Address), port),
		Cert: issued + "/tls.crt", Key: issued + "/tls.key", CA: issued + "/ca.crt",
	}
}
