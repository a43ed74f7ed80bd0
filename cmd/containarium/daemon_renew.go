package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/identity"
	"github.com/footprintai/containarium/pki/live"
)

func daemonRenewCommand() *cli.Command {
	return &cli.Command{
		Name:      "renew",
		Usage:     "renew what the daemon of this host goes by, where it is time",
		ArgsUsage: " ",
		Description: describe(`For the timer of the daemon's host. Where two thirds of its lifetime are over it
renews the server's certificate, for the same key: by the CA on this host, else from
the daemon that trust_from in config.toml names. With the CA here it also renews the
administrator's certificate that containarium init made, installs a server's
certificate that containarium pki rotate or renew has made since, and writes the
revocation lists anew when half their time is over. With trust_from it also renews
the client certificate and brings roots and lists here. It says what it did of each;
the daemon notices by itself. Exit status 0 where nothing was to be done.

With -o json: an array of name, file, renewed and, of certificates, notAfter and next,
when it is to be renewed.`,
			"containarium daemon renew",
			"containarium daemon renew --config /etc/containarium/config.toml"),
		Action: daemonRenew,
	}
}

func daemonRenew(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	path, err := filepath.Abs(c.String("config"))
	if err != nil {
		return err
	}
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	r, err := loadRecord(path)
	if err != nil {
		return err
	}
	h := &hostRenewal{
		config: cfg, admin: r.Admin, caDir: cfg.CA.Dir, now: time.Now,
		warn: func(err error) { terminalOf(c).warnf("%s", explain(c.Context, err)) },
	}
	if h.caDir == "" {
		h.caDir = filepath.Join(filepath.Dir(path), "pki")
	}
	failed := h.run(c.Context)
	return firstError(showValue(c, h.done, func(t *terminal) error {
		for _, v := range h.done {
			if err := t.printf("%s", v.text()); err != nil {
				return err
			}
		}
		return nil
	}), failed)
}

// hostRenewal is one run over what a daemon's host has.
type hostRenewal struct {
	config *config.Config
	// admin is who has a certificate in the CA's directory that nobody else renews; may
	// be empty.
	admin, caDir string
	now          func() time.Time
	// warn says what will be tried again and is not urgent.
	warn func(error)
	done []renewalView
}

// renewalView is one certificate, or the revocation lists, as daemon renew prints
// it.
type renewalView struct {
	Name    string `json:"name"`
	File    string `json:"file"`
	Renewed bool   `json:"renewed"`
	// NotAfter and Next are those of a certificate.
	NotAfter *time.Time `json:"notAfter,omitempty"`
	Next     *time.Time `json:"next,omitempty"`
}

func (v renewalView) text() string {
	switch {
	case v.NotAfter == nil && v.Renewed:
		return fmt.Sprintf("%s: wrote %s", v.Name, v.File)
	case v.NotAfter == nil:
		return fmt.Sprintf("%s: %s is fresh", v.Name, v.File)
	case v.Renewed:
		return fmt.Sprintf("%s: renewed %s, which expires %s", v.Name, v.File, pkiTime(*v.NotAfter))
	}
	return fmt.Sprintf("%s: nothing to do before %s; %s expires %s", v.Name, pkiTime(*v.Next), v.File, pkiTime(*v.NotAfter))
}

// run does all that can be done: what fails keeps nothing else from being renewed.
func (h *hostRenewal) run(ctx context.Context) error {
	h.done = []renewalView{}
	ca, err := h.openCA()
	switch {
	case err != nil:
		return err
	case ca == nil && h.config.TLS.TrustFrom != "":
		return h.fromDaemon(ctx)
	case ca == nil:
		return h.byNobody()
	}
	ca.Now = h.now
	here := &caRenewal{h, ca}
	return errors.Join(here.server(ctx), here.administrator(ctx), here.lists(ctx))
}

// openCA opens the CA on this host; nil where there is none, or the daemon hosts none
// and has its certificate from elsewhere.
func (h *hostRenewal) openCA() (*pki.CA, error) {
	ca, err := openHosted(config.CA{Dir: h.caDir, PassphraseFile: h.config.CA.PassphraseFile})
	if h.config.CA.Dir != "" {
		return ca, err
	}
	if errors.Is(err, pki.ErrNoCA) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	chain, err := live.ReadCertificates(h.config.Server.Cert)
	if err != nil {
		return nil, err
	}
	entries, err := ca.Find(identity.Serial(chain[0]))
	if err != nil || len(entries) == 0 || entries[0].SHA256 != pki.Fingerprint(chain[0]) {
		return nil, err
	}
	return ca, nil
}

func (h *hostRenewal) add(name, file string, renewed bool) error {
	chain, err := live.ReadCertificates(file)
	if err != nil {
		return err
	}
	at := dueAt(chain[0].NotBefore, chain[0].NotAfter)
	h.done = append(h.done, renewalView{name, file, renewed, &chain[0].NotAfter, &at})
	return nil
}

// byNobody fails in time where nothing can renew the certificate.
func (h *hostRenewal) byNobody() error {
	file := h.config.Server.Cert
	chain, err := live.ReadCertificates(file)
	if err != nil {
		return err
	}
	if leaf := chain[0]; due(leaf.NotBefore, leaf.NotAfter, h.now()) {
		return fmt.Errorf("daemon renew: %s expires %s and nothing here can renew it: on the CA's machine containarium pki renew %s, or set trust_from in config.toml",
			file, pkiTime(leaf.NotAfter), mendName(leaf))
	}
	return h.add(chain[0].Subject.CommonName, file, false)
}

// fromDaemon renews from the daemon that hosts the CA, the certificate that we call
// with first.
func (h *hostRenewal) fromDaemon(ctx context.Context) error {
	from, own := h.config.TLS, h.config.Server
	server := client.Server{Name: from.TrustFrom, Address: from.TrustFrom, Cert: from.ClientCert, Key: from.ClientKey, CA: own.CA, CRL: own.CRL}
	failed := func(err error) error {
		return &failure{what: "daemon renew", server: server, config: &client.Config{}, err: err}
	}
	if err := sameOwner(from.ClientCert, own.Cert); err != nil {
		return failed(err)
	}
	var errs []error
	for _, files := range []live.Files{
		server.Files(),
		{Cert: own.Cert, Key: own.Key, CA: own.CA, CRL: own.CRL},
	} {
		r := &client.Renewer{
			Client: func() (*client.Client, error) { return client.Dial(server, client.WithClock(h.now)) },
			Files:  files, Now: h.now,
		}
		at, err := r.Due()
		renewed := false
		if err == nil {
			renewed, err = r.Once(ctx)
		}
		if err != nil && ctx.Err() == nil && h.now().Before(at) {
			h.warn(failed(err)) // it has time: the next run looks again
			err = nil
		}
		if err != nil {
			errs = append(errs, failed(err))
			continue
		}
		chain, err := live.ReadCertificates(files.Cert)
		if err == nil {
			err = h.add(chain[0].Subject.CommonName, files.Cert, renewed)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
