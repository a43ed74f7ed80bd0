package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/footprintai/containarium/daemon/jump"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/identity"
	"github.com/footprintai/containarium/pki/live"
)

// sshd looks at the way of users through this host.
func (d *hostDoctor) sshd(ctx context.Context) {
	if !d.config.Jump.Accounts {
		d.ok("sshd", "the daemon keeps no accounts here")
		return
	}
	program := sshdProgram()
	if program == "" {
		d.fail("sshd", "apt-get install openssh-server, or [jump] accounts = false in "+d.path, "there is no sshd, through which users reach their containers")
		return
	}
	if _, err := tool(ctx, program, "-t"); err != nil {
		d.fail("sshd", "mend its configuration before it is started again: sshd -t", "%s", err)
		return
	}
	d.ok("sshd", "sshd takes its configuration")
	path := filepath.Join(d.sshDir, snippetFile)
	have, err := os.ReadFile(path)
	const install = "containarium init, or contrib/sshd/containarium.conf says how"
	switch want := snippet(d.config.Jump.Group); {
	case err != nil:
		d.fail("jump", install, "sshd refuses nothing to the users' accounts: %s", err)
	case !bytes.Equal(have, want):
		d.warn("jump", "compare it with contrib/sshd/containarium.conf", "%s is another than that of this version", path)
	default:
		d.effective(ctx, program, path)
	}
}

// effective asks sshd what a user's account may do: a file that it does not include,
// or includes too late, refuses nothing.
func (d *hostDoctor) effective(ctx context.Context, program, path string) {
	accounts := &jump.Accounts{Group: d.config.Jump.Group, Home: d.config.Jump.Home}
	users, err := accounts.Usernames(ctx)
	if err != nil || len(users) == 0 {
		d.ok("jump", "%s is there; what sshd makes of it shows with the first user", path)
		return
	}
	options, err := tool(ctx, program, "-T", "-C", "user="+users[0]+",host=localhost,addr=127.0.0.1")
	if err != nil {
		d.warn("jump", "sshd -T -C user="+users[0]+" shows it", "%s", err)
		return
	}
	d.refused(users[0], path, options)
}

// refused compares what sshd says of a user's account with the worst of what it is
// to refuse.
func (d *hostDoctor) refused(user, path, options string) {
	for _, want := range []string{"forcecommand /usr/sbin/nologin", "allowstreamlocalforwarding no", "allowtcpforwarding local"} {
		if !strings.Contains("\n"+options+"\n", "\n"+want+"\n") {
			d.fail("jump", "Include "+d.sshDir+"/*.conf at the top of sshd_config, then reload sshd", "sshd does not go by %s: for %s it has not %q", path, user, want)
			return
		}
	}
	d.ok("jump", "sshd gives %s the hop and nothing else", user)
}

// clock looks for a clock that is wrong, and for one that nobody keeps right.
func (d *hostDoctor) clock(ctx context.Context) {
	s := d.config.Server
	f := checkClock(live.Files{Cert: s.Cert, Key: s.Key, CA: s.CA, CRL: s.CRL}, d.now)[0]
	if f.Severity == pki.SeverityOK {
		if synced, err := tool(ctx, "timedatectl", "show", "--property=NTPSynchronized", "--value"); err == nil && synced == "no" {
			f = findingView{pki.SeverityWarning, "the clock is not kept right by any other", "timedatectl set-ntp true"}
		}
	}
	d.found("clock", f)
}

// units looks at what systemd does for the daemon. It reports whether one should be
// running.
func (d *hostDoctor) units(ctx context.Context) bool {
	if why := noSystemd(ctx); why != "" {
		d.warn("unit", "see that something starts containarium daemon at boot, and daemon renew every day", "%s", why)
		return true
	}
	state := func(unit string) (enabled, active bool) {
		_, off := systemctl(ctx, "is-enabled", "--quiet", unit)
		_, down := systemctl(ctx, "is-active", "--quiet", unit)
		return off == nil, down == nil
	}
	enabled, active := state(serviceUnit)
	switch {
	case !active:
		d.fail("unit", "systemctl enable --now "+serviceUnit+"; journalctl -u "+serviceUnit+" says why it ended", "%s does not run", serviceUnit)
	case !enabled:
		d.warn("unit", "systemctl enable "+serviceUnit, "%s is not started at boot", serviceUnit)
	default:
		d.ok("unit", "%s runs, and is started at boot", serviceUnit)
	}
	if enabled, running := state(renewTimer); !enabled || !running {
		d.warn("timer", "systemctl enable --now "+renewTimer, "%s does not run: nobody renews the certificate", renewTimer)
	} else {
		d.ok("timer", "%s runs", renewTimer)
	}
	return active
}

// dialTimeout is for a connection to this host itself.
const dialTimeout = 5 * time.Second

// serving looks at the certificate that the daemon shows: another than that of the
// file has not been taken.
func (d *hostDoctor) serving(ctx context.Context) {
	s := d.config.Server
	loaded, err := live.Files{Cert: s.Cert, Key: s.Key, CA: s.CA}.Load(live.Server, d.now)
	if err != nil {
		return // said of the files, or of the certificate
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	_, port, _ := net.SplitHostPort(s.Address)
	address := net.JoinHostPort(dialled(s.Address), port)
	roots := x509.NewCertPool()
	for _, root := range loaded.Roots {
		roots.AddCert(root)
	}
	names := viewCertificate(loaded.Pair.Leaf, "").SANs
	if len(names) == 0 {
		return // it is no server's, which is said
	}
	dialer := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: names[0], Time: func() time.Time { return d.now }}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if errors.Is(err, syscall.ECONNREFUSED) {
		d.fail("serving", "systemctl status "+serviceUnit, "nothing listens at %s", address)
		return
	}
	if err != nil {
		d.fail("serving", "containarium system and the daemon's log say what it goes by", "the daemon at %s does not show the certificate of %s: %s", address, s.Cert, err)
		return
	}
	defer conn.Close() //nolint:errcheck // it was looked at
	shown, ok := conn.(*tls.Conn)
	if !ok || len(shown.ConnectionState().PeerCertificates) == 0 {
		return
	}
	if leaf := shown.ConnectionState().PeerCertificates[0]; !leaf.Equal(loaded.Pair.Leaf) {
		d.fail("serving", "systemctl reload "+serviceUnit+", and containarium system says why it keeps the old one",
			"the daemon goes on with certificate %s, and %s has %s", identity.Serial(leaf), s.Cert, identity.Serial(loaded.Pair.Leaf))
		return
	}
	d.ok("serving", "the daemon answers at %s", address)
}
