// Package pki is the certificate authority: a root, an intermediate below it and
// the client and server certificates that the intermediate signs. Its state is
// one directory:
//
//	state.json              which root and intermediate sign, and the stage of a rollover
//	roots/                  1.crt 1.key and, after a rollover, 2.crt 2.key 2-by-1.crt ...
//	intermediates/          1.crt 1.key ...
//	bundle.pem              the roots to trust
//	crl.pem                 a revocation list for each issuer, once one was written
//	index.jsonl             the journal: one line for all that was signed or revoked
//	issued/NAME/            tls.crt tls.key ca.crt
//	lock                    held while something is changed
//
// A certificate is signed if its request passed the checks of its profile, and
// handed out if the signed result passed them too and its line in the journal is
// on disk. Numbers of roots and intermediates are not used twice, and no key is
// overwritten. Several processes may work on one directory, and a crash at any
// instant leaves it usable: state.json alone says what is in force, and what it
// does not name was left by a crash and counts for nothing.
package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/footprintai/containarium/pki/live"
)

// What callers tell apart.
var (
	// ErrNoCA is returned by Open where there is no CA.
	ErrNoCA = errors.New("no CA")
	// ErrExists is returned where something would have been overwritten. Nothing
	// was changed.
	ErrExists = errors.New("already exists")
	// ErrNotFound is returned where the journal has no such certificate.
	ErrNotFound = errors.New("the CA did not issue it")
	// ErrElsewhere is returned where the journal has the name, and its key is not
	// here: its owner made it, it was taken away, or a crash kept it from its place.
	ErrElsewhere = errors.New("its key is not here")
	// ErrRevoked is returned where a revoked certificate would have been renewed.
	ErrRevoked = errors.New("is revoked")
	// ErrRefused is returned where a request breaks a rule, which the message
	// names. Nothing was changed.
	ErrRefused = errors.New("refused")
	// ErrPassphrase is returned where a key is encrypted and the passphrase is
	// missing or wrong.
	ErrPassphrase = errors.New("the passphrase of the CA's keys")
)

// refusedError is an ErrRefused whose message is the rule alone.
type refusedError struct{ error }

func (refusedError) Is(target error) bool { return target == ErrRefused }
func (e refusedError) Unwrap() error      { return e.error }

// refusef makes the error about a request that breaks a rule.
func refusef(format string, args ...any) error { return refusedError{fmt.Errorf(format, args...)} }

// The files of the directory.
const (
	stateFile        = "state.json"
	rootsDir         = "roots"
	intermediatesDir = "intermediates"
	bundleFile       = "bundle.pem"
	crlFile          = "crl.pem"
	indexFile        = "index.jsonl"
	lockFile         = "lock"
	issuedDir        = "issued"

	leafCert = "tls.crt"
	leafKey  = "tls.key"
	leafCA   = "ca.crt"
)

func certFile(n int) string { return strconv.Itoa(n) + ".crt" }
func keyFile(n int) string  { return strconv.Itoa(n) + ".key" }

// crossFile is the certificate of root n that was signed by root by.
func crossFile(n, by int) string { return fmt.Sprintf("%d-by-%d.crt", n, by) }

// CA is an open directory. It holds no lock between calls, notices what other
// processes do to the directory, and is safe for concurrent use. The exported
// fields are to be set before the first call.
type CA struct {
	// Dir is the directory, as it was given to Open.
	Dir string
	// Root and Intermediate are what signed when the directory was opened. Status
	// says what signs now.
	Root, Intermediate *x509.Certificate
	// Passphrase returns the passphrase of the CA's keys. It is called once at
	// most, when an encrypted key is needed. nil: such a key is an ErrPassphrase.
	Passphrase func() ([]byte, error)
	// Now is the clock, time.Now unless a test sets another.
	Now func() time.Time

	gate    chan struct{} // held by the goroutine that changes something
	settled *snapshot     // whose bundle.pem was looked at; the gate guards it
	keys    keyring
	mu      sync.Mutex // guards what is below; nobody waits for a lock while holding it
	current *snapshot
	journal journal
}

// Open reads the certificates of a CA and checks that they belong together. The
// keys are read when they are needed: the root's may be kept elsewhere.
func Open(dir string) (*CA, error) {
	if _, err := os.Lstat(filepath.Join(dir, stateFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", ErrNoCA, dir)
	}
	// Fails closed: whoever can write here can put another CA in its place.
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return nil, fmt.Errorf("open CA: %s can be written by others (mode %04o): chmod 700 %s", dir, mode, dir)
	}
	ca := &CA{Dir: dir, Now: time.Now, gate: make(chan struct{}, 1)}
	s, err := ca.load()
	if err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	ca.Root, ca.Intermediate = s.root(), s.intermediate()
	return ca, nil
}

// Bundle returns the roots to trust, in PEM: the content of bundle.pem.
func (ca *CA) Bundle() ([]byte, error) {
	s, err := ca.load()
	if err != nil {
		return nil, fmt.Errorf("read the trusted roots: %w", err)
	}
	return s.bundle(), nil
}

// Files names the files of a leaf, whether they are there or not.
func (ca *CA) Files(name string) live.Files {
	folder := filepath.Join(ca.Dir, issuedDir, name)
	return live.Files{
		Cert: filepath.Join(folder, leafCert),
		Key:  filepath.Join(folder, leafKey),
		CA:   filepath.Join(folder, leafCA),
	}
}
