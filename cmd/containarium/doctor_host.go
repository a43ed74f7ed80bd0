package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/config/strict"
	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/guard"
	"github.com/footprintai/containarium/pki/live"
)

// hostDoctor checks the host of a daemon.
type hostDoctor struct {
	doctorReport
	path, sshDir string
	now          time.Time
	config       *config.Config
}

func (d *hostDoctor) check(ctx context.Context) []checkView {
	var err error
	if d.config, err = config.Load(d.path); err != nil {
		mend := "mend it: containarium daemon --check says all that is wrong"
		if errors.Is(err, fs.ErrNotExist) {
			mend = "containarium init makes this host a jump server"
		}
		d.fail("config", mend, "%s", err)
		return d.checks
	}
	d.ok("config", "%s can be read", d.path)
	d.incus(ctx)
	good := false
	if d.files() {
		good = d.certificate()
		d.authority()
		d.trust()
		d.policy()
	}
	d.audit()
	d.sshd(ctx)
	d.clock(ctx)
	// What the daemon shows is compared with files that are good.
	if d.units(ctx) && good {
		d.serving(ctx)
	}
	return d.checks
}

// fullWarning is how full a pool is worth a warning: a copy-on-write one needs room
// to delete.
const fullWarning = 90 // percent

func (d *hostDoctor) incus(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, incusTimeout)
	defer cancel()
	system, err := newIncus(d.config).System(ctx)
	socket := d.config.Incus.Socket
	switch {
	case errors.Is(err, incusx.ErrUnavailable):
		d.fail("incus", "systemctl status incus; if it is new, incus admin init --minimal", "Incus does not answer at %s", socket)
		return
	case err != nil:
		d.fail("incus", "incus admin init --minimal, or [incus] project and profile in "+d.path, "%s", err)
		return
	}
	d.ok("incus", "Incus %s answers at %s", system.IncusVersion, socket)
	d.site(system)
}

// site looks at what the profile gives to containers.
func (d *hostDoctor) site(system incusx.System) {
	edit := fmt.Sprintf("incus profile edit %s --project %s, or for an Incus that is new incus admin init --minimal", d.config.Incus.Profile, d.config.Incus.Project)
	used := 0
	if system.StorageTotal != nil && *system.StorageTotal > 0 {
		used = int(float64(*system.StorageUsed) / float64(*system.StorageTotal) * 100)
	}
	switch {
	case system.StoragePool == "":
		d.fail("storage", edit, "the profile %s has no root disk on a pool", d.config.Incus.Profile)
	case used >= fullWarning:
		d.warn("storage", "make room, or make the pool larger", "the pool %s is %d%% full", system.StoragePool, used)
	case system.StorageDriver == "dir":
		d.warn("storage", "a pool of btrfs, zfs or lvm does, and copies images at once", "the pool %s is of the driver dir, which enforces no --disk", system.StoragePool)
	default:
		d.ok("storage", "the pool %s (%s) is %d%% full", system.StoragePool, system.StorageDriver, used)
	}
	switch {
	case system.Network == "":
		d.fail("bridge", edit, "the profile %s has no NIC on a network of Incus", d.config.Incus.Profile)
	case system.Subnet == "" || system.Subnet == "none":
		d.fail("bridge", "incus network set "+system.Network+" ipv4.address=auto", "the network %s has no IPv4 addresses to give", system.Network)
	default:
		d.ok("bridge", "the network %s gives addresses of %s", system.Network, system.Subnet)
	}
}

// files looks at who can read and write what the daemon goes by. It reports whether
// the others can be looked at.
func (d *hostDoctor) files() bool {
	c := d.config
	before := len(d.checks)
	for _, f := range []struct {
		path   string
		access guard.Access
	}{
		{c.Server.Key, guard.Secret}, {c.Server.Cert, guard.Public}, {c.Server.CA, guard.Public}, {c.Server.CRL, guard.Public}, {c.Policy.File, guard.Ruling},
	} {
		_, err := guard.ReadFile(f.path, f.access, maxOwnFile)
		if errors.Is(err, fs.ErrNotExist) && f.path == c.Server.CRL {
			continue // said of the lists
		}
		if errors.Is(err, fs.ErrNotExist) {
			d.fail("files", "containarium init makes what is missing", "there is no %s", f.path)
		} else if err != nil {
			// The error says how to mend a mode or an owner.
			text, mend, found := strings.Cut(err.Error(), "): ")
			if !found {
				text, mend = err.Error(), "run it as root, or ls -l "+f.path+" shows what is wrong"
			} else {
				text += ")"
			}
			d.fail("files", mend, "%s", text)
		}
	}
	if len(d.checks) > before {
		return false
	}
	d.ok("files", "nobody else can write what the daemon goes by, or read its key")
	return true
}

// certificate looks at the daemon's own, and at the revocation lists. It reports
// whether a daemon can serve with it.
func (d *hostDoctor) certificate() bool {
	files := live.Files{Cert: d.config.Server.Cert, Key: d.config.Server.Key, CA: d.config.Server.CA, CRL: d.config.Server.CRL}
	chain, err := live.ReadCertificates(files.Cert)
	name := "NAME"
	if err == nil {
		name = mendName(chain[0])
		err = (live.Files{Cert: files.Cert, Key: files.Key, CA: files.CA}).Check(live.Server, d.now)
	}
	if err != nil {
		mend := mendOf(err, name)
		if errors.Is(err, live.ErrExpired) {
			mend = "containarium daemon renew, and systemctl status " + renewTimer + " for why nobody did"
		}
		if mend == "" {
			mend = "on the CA's machine: containarium pki issue " + name + " --server --force, then the three files here"
		}
		d.fail("certificate", mend, "%s", err)
		return false
	}
	f := checkExpiry(files.Cert, chain[0], d.now)
	if f.Mend != "" {
		f.Mend = "containarium daemon renew, and systemctl status " + renewTimer + " for why nobody did"
	}
	d.found("certificate", f)
	d.found("lists", checkLists(files, live.Server, name, d.now)...)
	return true
}

// authority looks at a CA on this host.
func (d *hostDoctor) authority() {
	if d.config.CA.Dir == "" {
		return
	}
	ca, err := openHosted(d.config.CA)
	if err != nil {
		d.fail("ca", "restore it from its copy, or empty [ca] in "+d.path, "%s", err)
		return
	}
	bad := false
	for _, f := range ca.Check() {
		if f.Severity != pki.SeverityOK {
			bad = true
			d.found("ca", findingView{f.Severity, f.What, f.Mend})
		}
	}
	if !bad {
		d.ok("ca", "the CA in %s is well", ca.Dir)
	}
}

// trust looks at who this daemon is when it asks another for roots and lists.
func (d *hostDoctor) trust() {
	from := d.config.TLS
	if from.TrustFrom == "" {
		return
	}
	files := live.Files{Cert: from.ClientCert, Key: from.ClientKey, CA: d.config.Server.CA, CRL: d.config.Server.CRL}
	if err := files.Check(live.Client, d.now); err != nil {
		mend := mendOf(err, "NAME")
		if mend == "" {
			mend = "see [tls] in " + d.path
		}
		d.fail("trust", mend, "%s can not be asked for roots and revocation lists: %s", from.TrustFrom, err)
		return
	}
	d.ok("trust", "%s is asked as %s", from.TrustFrom, from.ClientCert)
}

func (d *hostDoctor) policy() {
	file := d.config.Policy.File
	data, err := strict.ReadFile(file)
	if err == nil {
		p, wrong := parsePolicy(file, data)
		if err = wrong; err == nil && p.Empty() {
			d.warn("policy", "give somebody a role under [identities]", "%s gives nobody a role: every call is denied", file)
			return
		}
	}
	if err != nil {
		d.fail("policy", "containarium policy check --policy "+file, "%s", err)
		return
	}
	d.ok("policy", "%s is good", file)
}

// auditRoom is what a log needs that nobody looks after for a day, in bytes.
const auditRoom = 64 << 20

// audit looks for a place for the log: without one, every change is refused.
func (d *hostDoctor) audit() {
	file := d.config.Audit.File
	if !filepath.IsAbs(file) {
		d.ok("audit", "the audit log goes to %s", map[bool]string{true: "standard output", false: "journald"}[file == "-"])
		return
	}
	dir := filepath.Dir(file)
	var room unix.Statfs_t
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		d.fail("audit", "install -d -m 0750 "+dir, "there is no directory %s for the audit log: every change is refused", dir)
	} else if err := unix.Statfs(dir, &room); err == nil && room.Bavail*uint64(room.Bsize) < auditRoom { //nolint:gosec // the size of a block
		d.fail("audit", "make room", "%s has less than %d MiB left: without its log the daemon refuses every change", dir, auditRoom>>20)
	} else {
		d.ok("audit", "there is room for %s", file)
	}
}
