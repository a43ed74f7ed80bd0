package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/footprintai/containarium/contrib"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/daemon/policy"
	"github.com/footprintai/containarium/incusx"
)

// incusTimeout bounds what Incus is asked before anything is made.
const incusTimeout = 15 * time.Second

// readConfig takes the configuration that is there, or else the one that is to be
// written.
func (h *host) readConfig() error {
	loaded, err := config.Load(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return h.write("")
	}
	h.config = loaded
	return err
}

// write makes the text of the configuration, with an image unless the default one
// is there.
func (h *host) write(image string) (err error) {
	h.text = h.configText(image)
	h.config, err = config.Parse(h.path, h.text)
	return err
}

// configText has what differs from the defaults.
func (h *host) configText(image string) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	dir, a := filepath.Dir(h.path), h.answers
	beside := func(name string) string { return filepath.Join(dir, name) }
	line("# Made by containarium init. What is not here has its default, which")
	line("# config.example.toml explains. A change needs a restart of the daemon.")
	line("")
	line("[server]")
	address := a.Address
	if address == "" {
		address = config.Defaults().Server.Address
	}
	line("address = %q", address)
	elsewhere := dir != filepath.Dir(defaultDaemonConfig)
	if elsewhere {
		for _, f := range [][2]string{{"cert", "tls.crt"}, {"key", "tls.key"}, {"ca", "ca.crt"}, {"crl", "crl.pem"}} {
			line("%s = %q", f[0], beside(filepath.Join("tls", f[1])))
		}
	}
	if a.TrustFrom != "" {
		line("\n[tls]\ntrust_from = %q", a.TrustFrom)
		line("client_cert = %q\nclient_key = %q", beside("tls/client.crt"), beside("tls/tls.key"))
	}
	if !h.joins() {
		line("\n[ca]\ndir = %q", beside("pki"))
		if file := h.c.String("passphrase-file"); filepath.IsAbs(file) {
			line("passphrase_file = %q", file)
		}
	}
	if elsewhere {
		line("\n[policy]\nfile = %q", beside("policy.toml"))
		line("\n[audit]\nfile = %q", beside("log/audit.log"))
	}
	if a.Socket != "" || a.Project != "" {
		line("\n[incus]")
		if a.Socket != "" {
			line("socket = %q", a.Socket)
		}
		if a.Project != "" {
			line("project = %q", a.Project)
		}
	}
	if image != "" {
		line("\n[containers]\nimage = %q", image)
	}
	return b.Bytes()
}

// checkIncus says what is missing before anything is made. Where nothing is to be
// started it does not matter yet.
func (h *host) checkIncus() error {
	ctx, cancel := context.WithTimeout(h.c.Context, incusTimeout)
	defer cancel()
	client := newIncus(h.config)
	system, err := client.System(ctx)
	if err == nil {
		h.bridge = system.Network
		if err = lacks(h.config, system); err != nil {
			err = fmt.Errorf("init: %w", err)
		}
	} else if h.c.Err() == nil {
		err = &saying{fmt.Sprintf("init: %s: %s", h.config.Incus.Socket, err), errNoIncus}
	}
	if err != nil && h.answers.NoStart {
		terminalOf(h.c).warnf("%s", explain(h.c.Context, h.failed(err)))
		return nil
	}
	if err != nil || h.text == nil {
		return h.failed(err)
	}
	// Where nobody made the small image a create takes the distribution's.
	if _, err := client.FindImage(ctx, h.config.Containers.Image); errors.Is(err, incusx.ErrNotFound) {
		return h.write(plainImage)
	}
	return nil
}

// plainImage needs nothing but the containers' network.
const plainImage = "images:debian/12"

var (
	errNoIncus = errors.New("Incus does not answer") //nolint:staticcheck // a name
	errLacks   = errors.New("the Incus profile lacks something")
)

func newIncus(c *config.Config) *incusx.Client {
	return incusx.New(incusx.Config{Socket: c.Incus.Socket, Project: c.Incus.Project, Profile: c.Incus.Profile, Remotes: c.Incus.Remotes, SSHPort: c.Containers.SSHPort})
}

// lacks says what the profile does not give to containers.
func lacks(c *config.Config, system incusx.System) error {
	var missing []string
	if system.StoragePool == "" {
		missing = append(missing, "root disk on a storage pool")
	}
	if system.Network == "" {
		missing = append(missing, "NIC on a bridge")
	}
	if len(missing) == 0 {
		return nil
	}
	return &saying{fmt.Sprintf("the profile %s of the Incus project %s gives containers no %s", c.Incus.Profile, c.Incus.Project, strings.Join(missing, " and no ")), errLacks}
}

// policyText is the policy that we ship, with the administrator's name in it.
func policyText(admin string) ([]byte, error) {
	text := contrib.Policy
	if p, err := parsePolicy("policy.toml", []byte(text)); err != nil || isAdmin(p, admin) {
		return []byte(text), err
	}
	text = strings.Replace(text, "\n[identities]\n", fmt.Sprintf("\n[identities]\n%q = \"admin\"\n", admin), 1)
	p, err := parsePolicy("policy.toml", []byte(text))
	if err == nil && !isAdmin(p, admin) {
		err = fmt.Errorf("the policy has no place for %s", admin)
	}
	return []byte(text), err
}

// isAdmin asks for what only an administrator may do.
func isAdmin(p *policy.Policy, cn string) bool { return p.Decide(cn, "container.delete", "").Allow }

func parsePolicy(name string, data []byte) (*policy.Policy, error) {
	actions, err := intercept.Actions()
	if err != nil {
		return nil, err
	}
	return policy.Parse(name, data, actions)
}

// joins reports whether the CA is elsewhere: the server's certificate comes from
// there, or is here without a CA.
func (h *host) joins() bool {
	if h.answers.CSR != "" || h.answers.Cert != "" {
		return true
	}
	if _, err := os.Stat(filepath.Join(h.caDir(), "state.json")); err == nil {
		return false
	}
	_, err := os.Stat(h.serverCert())
	return err == nil
}

// caDir is the directory of the CA of this host, and serverCert the server's
// certificate, also while the configuration is yet to be made.
func (h *host) caDir() string {
	if h.config != nil && h.config.CA.Dir != "" {
		return h.config.CA.Dir
	}
	return filepath.Join(filepath.Dir(h.path), "pki")
}

func (h *host) serverCert() string {
	if h.config != nil {
		return h.config.Server.Cert
	}
	return filepath.Join(filepath.Dir(h.path), "tls", "tls.crt")
}

// failed is a failure of init, for the hints.
func (h *host) failed(err error) error { return pkiFailed(h.c, "", err) }
