package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/daemon/policy"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
)

func pkiIssueCommand() *cli.Command {
	flags := []cli.Flag{
		&cli.BoolFlag{Name: "server", Usage: "make a server's certificate", DisableDefaultText: true},
		&cli.StringSliceFlag{Name: "san", Usage: "a DNS `NAME` or IP address that clients dial; for a server, at least one"},
		ttlFlag(pki.FormatTTL(pki.DefaultTTL) + ", or as long as the CA"),
		algorithmFlag("of the key", string(pki.P256)),
		&cli.StringFlag{Name: "policy", Value: defaultPolicy, Usage: "the policy `FILE` that tells the role of a client", TakesFile: true},
		&cli.StringFlag{Name: "csr", Usage: "sign the request in `FILE`, whose owner keeps the key; its Common Name must be NAME", TakesFile: true},
		&cli.StringFlag{Name: "out", Usage: "with --csr: write the certificate to `FILE`", DefaultText: "standard output", TakesFile: true},
		&cli.StringFlag{Name: "p12", Usage: "write a PKCS#12 `FILE` for browsers as well", TakesFile: true},
		&cli.BoolFlag{Name: "force", Usage: "make a new key and certificate where NAME has files", DisableDefaultText: true},
	}
	return &cli.Command{
		Name:      "issue",
		Usage:     "make a key and a certificate for a user or a server",
		ArgsUsage: "NAME",
		Description: describe(`Writes tls.crt, tls.key and ca.crt and says where they belong. Without --server the
certificate is a client's: NAME is who the daemons take its owner for, and the
policy gives that name a role. A NAME that has files is refused. With --force its
key and certificate are replaced by new ones of the same kind and names; the old
certificate is good until it expires or is revoked by its serial number.`,
			"containarium pki issue ops-laptop",
			"containarium pki issue ci-7 --ttl 12h",
			"containarium pki issue jump-1 --server --san jump-1.example.org --san 192.0.2.1",
			"containarium pki issue ops-laptop --csr tls.csr --out tls.crt",
			"containarium pki issue ops-browser --p12 ops-browser.p12"),
		Flags:  append(append(flags, passphraseFlags()...), passwordFlags()...),
		Action: pkiIssue,
	}
}

const defaultPolicy = "/etc/containarium/policy.toml"

// issuedView is what pki issue and its like print as a document.
type issuedView struct {
	certificateView
	// PrivateKey and CA are files, absent where the key is elsewhere.
	PrivateKey string `json:"key,omitempty"`
	CA         string `json:"ca,omitempty"`
	// Role is what the policy gives a client, "" for none; absent where no policy
	// was read.
	Role *string `json:"role,omitempty"`
	// Chain and Roots are PEM, where no file has them.
	Chain string `json:"chain,omitempty"`
	Roots string `json:"roots,omitempty"`
	P12   string `json:"p12,omitempty"`
}

func viewOfIssued(issued pki.Issued) issuedView {
	view := issuedView{certificateView: viewCertificate(issued.Certificate, issued.Files.Cert), PrivateKey: issued.Files.Key, CA: issued.Files.CA}
	view.addEntry(issued.Entry)
	if issued.Files.Cert == "" {
		view.Chain, view.Roots = string(issued.Chain), string(issued.Roots)
	}
	return view
}

func pkiIssue(c *cli.Context) error {
	name, err := leafName(c)
	if err != nil {
		return err
	}
	request := pki.Request{Name: name, Kind: kindAsked(c), SANs: sansOf(c), By: asker()}
	if request.TTL, err = lifetime(c, "ttl"); err != nil {
		return err
	}
	if request.Algorithm, err = algorithmOf(c); err != nil {
		return err
	}
	if c.IsSet("csr") {
		return issueCSR(c, request)
	}
	if c.IsSet("out") {
		return usagef(c, "--out is for --csr: the files go to the CA's directory")
	}
	role, err := roleOf(c, request)
	if err != nil {
		return err
	}
	password, err := p12Password(c)
	if err != nil {
		return err
	}
	ca, err := openSigner(c)
	if err != nil {
		return err
	}
	issued, err := issueOrReissue(c, ca, request)
	if err != nil {
		return refusedRequest(c, name, err)
	}
	view := viewOfIssued(issued)
	view.Role = role
	if password != nil {
		if err := exportP12(terminalOf(c), issued.Files, c.String("p12"), password, c.Bool("force")); err != nil {
			return pkiFailed(c, name, fmt.Errorf("%s has its certificate, but no PKCS#12 file: %w", name, err))
		}
		view.P12 = c.String("p12")
	}
	if view.P12 == standard {
		terminalOf(c).notef("%s: %s certificate %s, expires %s", issued.Name, issued.Kind, issued.Serial, pkiTime(issued.NotAfter))
		return nil
	}
	return showValue(c, view, func(t *terminal) error {
		return printIssued(c, t, ca, view)
	})
}

func kindAsked(c *cli.Context) pki.Kind {
	if c.Bool("server") {
		return pki.Server
	}
	return pki.Client
}

// sansOf are the values of --san; an address never has a comma, so a list of
// them is taken too.
func sansOf(c *cli.Context) []string {
	var sans []string
	for _, names := range c.StringSlice("san") {
		sans = append(sans, strings.Split(names, ",")...)
	}
	return sans
}

// issueOrReissue makes new files, or with --force replaces those that are there.
// The old certificate then is good until it expires, but can not be renewed.
func issueOrReissue(c *cli.Context, ca *pki.CA, request pki.Request) (pki.Issued, error) {
	old := ca.Files(request.Name).Cert
	if _, err := os.Lstat(filepath.Dir(old)); !c.Bool("force") || errors.Is(err, fs.ErrNotExist) {
		return ca.Issue(c.Context, request)
	}
	local := pki.Local{Name: request.Name, NewKey: true, TTL: request.TTL, Algorithm: request.Algorithm, By: request.By}
	chain, err := live.ReadCertificates(old)
	if err != nil {
		return pki.Issued{}, err
	}
	if kind := pki.KindOf(chain[0]); kind != request.Kind {
		return pki.Issued{}, usagef(c, "%s has a %s certificate, and --force keeps its kind and names: move %s away for another", request.Name, kind, filepath.Dir(old))
	}
	if len(request.SANs) > 0 {
		return pki.Issued{}, usagef(c, "--force keeps the names that %s has: without --san, or move %s away", request.Name, filepath.Dir(old))
	}
	local.Overlap = max(0, min(time.Until(chain[0].NotAfter), pki.MaxTTL))
	return ca.Reissue(c.Context, local)
}

// refusedRequest makes a usage error of a request that breaks a rule: here all of
// it comes from the command line.
func refusedRequest(c *cli.Context, name string, err error) error {
	if !errors.Is(err, pki.ErrRefused) {
		return pkiFailed(c, name, err)
	}
	// What was to be done, and with whom, stands on the line already.
	message := err.Error()
	for _, verb := range []string{"issue", "renew"} {
		message = strings.TrimPrefix(message, fmt.Sprintf("%s %q: ", verb, name))
	}
	return usagef(c, "%s", message)
}

// roleOf returns the role of a client, or nil where there is no policy here. A
// policy that was named and can not be read is an error, before anything is
// signed; the default one is only worth a warning.
func roleOf(c *cli.Context, request pki.Request) (*string, error) {
	if request.Kind != pki.Client {
		return nil, nil
	}
	actions, err := intercept.Actions()
	if err != nil {
		return nil, err
	}
	p, err := policy.Load(c.String("policy"), actions)
	switch {
	case err == nil:
		role, _ := p.Role(request.Name)
		return &role, nil
	case c.IsSet("policy"):
		return nil, err
	case !errors.Is(err, fs.ErrNotExist):
		terminalOf(c).warnf("the role is unknown: %s", err)
	}
	return nil, nil
}

// maxRequest bounds what is read as a certificate request, in bytes: as much as
// a daemon takes.
const maxRequest = 16 << 10

// issueCSR signs the request that --csr names, for the name that was given.
func issueCSR(c *cli.Context, request pki.Request) error {
	for _, flag := range []string{"san", "algorithm", "p12", "force"} {
		if c.IsSet(flag) {
			return usagef(c, "--%s does not go with --csr: the names are those of the request, and its key is elsewhere", flag)
		}
	}
	data, err := terminalOf(c).readInput(c.String("csr"), maxRequest)
	if err != nil {
		return pkiFailed(c, request.Name, err)
	}
	csr, err := parseRequest(data)
	if err != nil {
		return pkiFailed(c, request.Name, fmt.Errorf("%s %w", inputName(c.String("csr")), err))
	}
	if csr.Subject.CommonName != request.Name {
		return pkiFailed(c, request.Name, fmt.Errorf("the request in %s is for %.70q, not for %q", inputName(c.String("csr")), csr.Subject.CommonName, request.Name))
	}
	role, err := roleOf(c, request)
	if err != nil {
		return err
	}
	return sign(c, pki.CSRRequest{CSR: data, Kind: request.Kind, TTL: request.TTL, By: request.By}, csr, role)
}

// inputName is what messages call the source of an input.
func inputName(path string) string {
	if path == standard {
		return "standard input"
	}
	return path
}

// parseRequest reads a single certificate request. The CA checks it; this is for
// messages.
func parseRequest(data []byte) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, errors.New("holds no certificate request in PEM")
	case strings.Contains(block.Type, "PRIVATE KEY"):
		return nil, errors.New("holds a private key, which stays where it is: give the certificate request")
	case block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST":
		return nil, fmt.Errorf("holds a %q, not a certificate request", block.Type)
	case bytes.Contains(rest, []byte("-----BEGIN")):
		return nil, errors.New("holds more than one certificate request")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, errors.New("holds a damaged certificate request")
	}
	return csr, nil
}

func printIssued(c *cli.Context, t *terminal, ca *pki.CA, v issuedView) error {
	lines := []string{
		fmt.Sprintf("%s: %s certificate %s", v.Name, v.Kind, v.Serial),
		fmt.Sprintf("  expires      %s (%s)", pkiTime(v.NotAfter), remaining(v.NotBefore, v.NotAfter, time.Now())),
		"  certificate  " + v.File,
		"  private key  " + v.PrivateKey,
		"  CA           " + v.CA,
	}
	if v.P12 != "" {
		lines = append(lines, "  PKCS#12      "+v.P12)
	}
	if v.Kind == pki.Server {
		lines = append(lines, "  names        "+strings.Join(v.SANs, ", "))
	}
	lines = append(lines, replacedText(ca, v.Replaces, pkiFlag(c, ca.Dir))...)
	if v.Kind == pki.Client {
		lines = append(lines, roleText(c, v.Name, v.Role))
	}
	return printLines(t, append(lines, installText(v.Kind, filepath.Dir(v.File))...))
}

// replacedText says what becomes of the certificate that was replaced.
func replacedText(ca *pki.CA, serial, flag string) []string {
	if serial == "" {
		return nil
	}
	old, err := ca.Find(serial)
	if err != nil || len(old) == 0 {
		return nil
	}
	if state := stateOf(old[0], "", time.Now()); state != stateGood {
		return []string{fmt.Sprintf("It replaces %s, which is %s.", serial, state)}
	}
	return []string{
		fmt.Sprintf("It replaces %s, which is good until it expires. To end it now:", serial),
		fmt.Sprintf("  containarium pki revoke %s --reason superseded%s", serial, flag),
	}
}

func printLines(t *terminal, lines []string) error {
	for _, line := range lines {
		if err := t.printf("%s", line); err != nil {
			return err
		}
	}
	return nil
}

func roleText(c *cli.Context, name string, role *string) string {
	switch {
	case role == nil:
		return fmt.Sprintf("Its role is what the policy of each server gives the name %q.", name)
	case *role == "":
		return fmt.Sprintf("The policy %s gives %q no role: every call will be denied.", c.String("policy"), name)
	}
	return fmt.Sprintf("The policy %s gives %q the role %q.", c.String("policy"), name, *role)
}

// installText says where the three files in a folder belong.
func installText(kind pki.Kind, folder string) []string {
	if kind == pki.Server {
		return []string{
			"On the server the three files belong into /etc/containarium/tls:",
			"  install -D -m 0600 -t /etc/containarium/tls " + quoted(folder) + "/*",
		}
	}
	return []string{
		"On its owner's machine the three files belong into ~/.config/containarium:",
		"  install -D -m 0600 -t ~/.config/containarium " + quoted(folder) + "/*",
		"  containarium server add jump-1 HOST",
	}
}
