package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/footprintai/containarium/pki/live"
)

// Finding is what Check says of one thing.
type Finding struct {
	// Severity is one of the below.
	Severity string
	// What was found, in a sentence without a period.
	What string
	// Mend says what to do about it, "" where nothing is to be done.
	Mend string
}

// The severities. What has a warning works now.
const (
	SeverityOK      = "ok"
	SeverityWarning = "warning"
	SeverityError   = "error"
)

// When a certificate of the CA is worth a warning: while leaves of the longest
// usual life can still be issued, and there is time for a rollover.
const (
	rootWarning         = 365 * day
	intermediateWarning = 2 * DefaultTTL
)

// clockSlack is how far ahead of the clock the journal may be: clocks of hosts
// that share a directory are a little apart.
const clockSlack = 5 * time.Minute

// Check looks at the whole directory: modes, certificates and keys, the journal,
// the revocation lists, the clock, and what was issued. It needs no passphrase
// and changes nothing.
func (ca *CA) Check() []Finding {
	c := &checkup{ca: ca, now: ca.Now()}
	c.modes()
	s, err := ca.load()
	if err != nil {
		c.bad("the state can not be read: %s", "restore the directory from a backup", err)
		return c.findings
	}
	c.authorities(s)
	entries, err := ca.list()
	if err != nil {
		c.bad("%s", "restore the journal from a backup: nothing is issued or revoked without it", err)
		return c.findings
	}
	c.good("the journal has %d certificates", len(entries))
	c.clock(s, entries)
	c.lists(s, entries)
	c.leaves(entries)
	if s.Stage != Stable {
		c.warn("a rollover of the root is %s; certificates of the old root without a successor: %s", "containarium pki rotate --ca status", s.Stage, counted(s.holders(entries, c.now)))
	}
	return c.findings
}

// checkup collects findings.
type checkup struct {
	ca       *CA
	now      time.Time
	findings []Finding
}

func (c *checkup) good(format string, args ...any) {
	c.findings = append(c.findings, Finding{SeverityOK, fmt.Sprintf(format, args...), ""})
}

func (c *checkup) warn(format, mend string, args ...any) {
	c.findings = append(c.findings, Finding{SeverityWarning, fmt.Sprintf(format, args...), mend})
}

func (c *checkup) bad(format, mend string, args ...any) {
	c.findings = append(c.findings, Finding{SeverityError, fmt.Sprintf(format, args...), mend})
}

// modes looks at who may read the directory and the keys.
func (c *checkup) modes() {
	bad := len(c.findings)
	secret := []string{c.ca.Dir, c.ca.path(stateFile), c.ca.path(indexFile)}
	for _, pattern := range []string{rootsDir + "/*.key", intermediatesDir + "/*.key", issuedDir + "/*/" + leafKey} {
		keys, err := filepath.Glob(c.ca.path(pattern))
		if err == nil { // the only error is one of the pattern
			secret = append(secret, keys...)
		}
	}
	for _, path := range secret {
		info, err := os.Stat(path)
		if err != nil {
			c.bad("%s can not be read", "restore it from a backup", path)
			continue
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			right := "600"
			if info.IsDir() {
				right = "700"
			}
			c.bad("%s is open to others (mode %04o)", "chmod "+right+" "+path, path, mode)
		}
	}
	if len(c.findings) == bad {
		c.good("the directory and its keys are closed to others")
	}
}

// authorities looks at what signs and what is trusted. That they belong together
// was found when they were read.
func (c *checkup) authorities(s *snapshot) {
	root, intermediate := s.root(), s.intermediate()
	c.expiry("the root", root.Subject.CommonName, root.NotAfter, rootWarning, "containarium pki rotate --ca start")
	c.expiry("the intermediate", intermediate.Subject.CommonName, intermediate.NotAfter, intermediateWarning, "containarium pki rotate --intermediate")
	for _, key := range []struct {
		path string
		root bool
	}{
		{c.ca.path(filepath.Join(rootsDir, keyFile(s.Signs.Root))), true},
		{c.ca.path(filepath.Join(intermediatesDir, keyFile(s.Signs.Intermediate))), false},
	} {
		cert := intermediate
		if key.root {
			cert = root
		}
		read, err := readKey(key.path, func() ([]byte, error) { return nil, ErrPassphrase })
		switch {
		case errors.Is(err, ErrPassphrase):
			c.good("%s is encrypted", key.path)
		case errors.Is(err, fs.ErrNotExist) && key.root:
			c.good("%s is kept elsewhere", key.path)
		case errors.Is(err, fs.ErrNotExist):
			c.bad("%s is missing: nothing can be signed", "restore it, or with the root's key: containarium pki rotate --intermediate", key.path)
		case isOpen(key.path): // which modes says
		case err != nil:
			c.bad("%s", "restore it from a backup", err)
		case !samePublicKey(read.Public(), cert.PublicKey):
			c.bad("%s is not the key of the certificate beside it", "restore it from a backup", key.path)
		default:
			c.good("%s fits its certificate; it is not encrypted", key.path)
		}
	}
	if data, err := os.ReadFile(c.ca.path(bundleFile)); err != nil || string(data) != string(s.bundle()) {
		c.bad("%s does not hold the roots that are trusted", "containarium pki crl puts it right", c.ca.path(bundleFile))
	}
}

// isOpen reports whether others than its owner may use a file.
func isOpen(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o077 != 0
}

func (c *checkup) expiry(what, name string, end time.Time, warning time.Duration, mend string) {
	switch left := end.Sub(c.now); {
	case left < 0:
		c.bad("%s %q expired on %s", mend, what, name, date(end))
	case left < warning:
		c.warn("%s %q expires on %s", mend, what, name, date(end))
	default:
		c.good("%s %q expires on %s", what, name, date(end))
	}
}

// clock compares the clock with what it said before: one that is behind makes
// certificates that are not valid yet or end too early.
func (c *checkup) clock(s *snapshot, entries []Entry) {
	latest := s.intermediate().NotBefore
	for _, e := range entries {
		if e.Issued.After(latest) {
			latest = e.Issued
		}
	}
	if behind := latest.Sub(c.now); behind > clockSlack {
		c.bad("the clock is at least %s behind: something was signed on %s", "set the clock, as with timedatectl", behind.Round(time.Second), date(latest))
		return
	}
	c.good("the clock is not behind the journal")
}

// lists looks at crl.pem.
func (c *checkup) lists(s *snapshot, entries []Entry) {
	const mend = "containarium pki crl"
	data, err := c.ca.CRLs()
	if err != nil {
		c.bad("%s", "restore the mode of the file, or remove it and: "+mend, err)
		return
	}
	if stale, _ := c.ca.stale(s, c.now); data == nil && !stale { // the journal could be read
		c.good("no revocation list was written yet: for servers that have none, revocation is off")
		return
	}
	if data == nil {
		c.bad("%s was not written, and certificates are revoked", mend, c.ca.path(crlFile))
		return
	}
	old, err := c.ca.oldCRLs()
	if err != nil {
		c.bad("%s", mend, err)
		return
	}
	problems := len(c.findings)
	for _, issuer := range c.ca.crlIssuers(s, entries, c.now) {
		list, name := old[keyID(issuer.cert)], issuer.cert.Subject.CommonName
		switch {
		case issuer.signer == nil:
		case list == nil:
			c.warn("%q has no revocation list", mend, name)
		case list.CheckSignatureFrom(issuer.cert) != nil:
			c.bad("the revocation list of %q is badly signed: servers refuse all its certificates", mend, name)
		case c.now.After(list.NextUpdate):
			c.bad("the revocation list of %q expired on %s: servers refuse all its certificates", mend, name, date(list.NextUpdate))
		case c.now.After(list.ThisUpdate.Add(list.NextUpdate.Sub(list.ThisUpdate) / 2)):
			c.warn("the revocation list of %q is older than half its life and expires on %s", mend, name, date(list.NextUpdate))
		default:
			c.good("the revocation list of %q has %d certificates and is good until %s", name, len(list.RevokedCertificateEntries), date(list.NextUpdate))
		}
	}
	for _, f := range c.findings[problems:] {
		if f.Severity != SeverityOK {
			return
		}
	}
	if stale, _ := c.ca.stale(s, c.now); stale {
		c.bad("%s lacks a certificate that is revoked", mend, c.ca.path(crlFile))
	}
}

// leaves looks at what lies in issued.
func (c *checkup) leaves(entries []Entry) {
	known := map[string]Entry{}
	for _, e := range entries {
		known[e.SHA256] = e
	}
	folders, err := os.ReadDir(c.ca.path(issuedDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.bad("%s can not be read", "chmod 700 "+c.ca.path(issuedDir), c.ca.path(issuedDir))
	}
	fine := 0
	for _, folder := range folders {
		if c.leaf(folder.Name(), known) {
			fine++
		}
	}
	c.good("%d of %d certificates in %s are good", fine, len(folders), c.ca.path(issuedDir))
}

func (c *checkup) leaf(name string, known map[string]Entry) bool {
	files := c.ca.Files(name)
	certs, err := live.ReadCertificates(files.Cert)
	if err != nil {
		c.warn("%s", "remove the folder, or issue the name anew", err)
		return false
	}
	leaf := certs[0]
	entry, ok := known[Fingerprint(leaf)]
	switch {
	case !ok:
		c.bad("%s was not issued by this CA", "remove it: the journal has everything that was", files.Cert)
	case entry.RevokedAt(c.now):
		c.warn("%q is revoked since %s", "containarium pki rotate "+name, name, date(*entry.Revoked))
	case c.now.After(leaf.NotAfter):
		c.warn("%q expired on %s", "containarium pki renew "+name, name, date(leaf.NotAfter))
	case leaf.NotAfter.Sub(c.now) < leaf.NotAfter.Sub(leaf.NotBefore)/3:
		c.warn("%q expires on %s", "containarium pki renew "+name, name, date(leaf.NotAfter))
	default:
		return true
	}
	return false
}
