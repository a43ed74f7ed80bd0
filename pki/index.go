package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/footprintai/containarium/pki/identity"
)

// Entry is one certificate in the journal.
type Entry struct {
	// Serial is as in identity.Identity.
	Serial string `json:"serial"`
	// Name is the Common Name: for a leaf also the folder under issued.
	Name string   `json:"name"`
	Kind Kind     `json:"kind,omitempty"`
	SANs []string `json:"sans,omitempty"`
	// Issued is when it was signed, in UTC like all the times here.
	Issued    time.Time `json:"issued,omitzero"`
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	// Issuer is the subject key identifier of what signed it, in upper-case
	// hexadecimal: a serial is unique for one issuer alone.
	Issuer string `json:"issuer"`
	// SHA256 is the fingerprint of the certificate, in upper-case hexadecimal.
	SHA256 string `json:"sha256,omitempty"`
	// By is who asked for it, as that was told to the CA.
	By string `json:"by,omitempty"`
	// Replaces is the serial of the certificate that it renews.
	Replaces string `json:"replaces,omitempty"`
	// Revoked is from when on it is revoked, which may lie ahead; nil: it is not.
	Revoked *time.Time `json:"revoked,omitempty"`
	// Reason is why.
	Reason Reason `json:"reason,omitempty"`
	// RevokedBy is who asked for that.
	RevokedBy string `json:"revoked_by,omitempty"`
}

// RevokedAt reports whether it is revoked at that time.
func (e Entry) RevokedAt(now time.Time) bool { return e.Revoked != nil && !e.Revoked.After(now) }

// good reports whether it is of use at that time.
func (e Entry) good(now time.Time) bool { return !e.NotAfter.Before(now) && !e.RevokedAt(now) }

func (e Entry) leaf() bool { return e.Kind == Client || e.Kind == Server }

func newEntry(s signed, now time.Time) Entry {
	return Entry{
		Serial:    identity.Serial(s.cert),
		Name:      s.cert.Subject.CommonName,
		Kind:      s.kind,
		SANs:      s.sans,
		Issued:    now.UTC().Truncate(time.Second),
		NotBefore: s.cert.NotBefore,
		NotAfter:  s.cert.NotAfter,
		Issuer:    issuerID(s.cert),
		SHA256:    Fingerprint(s.cert),
		By:        s.by,
		Replaces:  s.replaces,
	}
}

// issuerID is the key identifier of what signed a certificate; a root names no
// issuer but itself.
func issuerID(cert *x509.Certificate) string {
	if len(cert.AuthorityKeyId) == 0 {
		return keyID(cert)
	}
	return fmt.Sprintf("%X", cert.AuthorityKeyId)
}

func keyID(cert *x509.Certificate) string { return fmt.Sprintf("%X", cert.SubjectKeyId) }

// Fingerprint is the SHA-256 digest of a certificate in upper-case hexadecimal.
func Fingerprint(cert *x509.Certificate) string {
	return fmt.Sprintf("%X", sha256.Sum256(cert.Raw))
}

// line is one line of index.jsonl: what happened, and to which certificate. A
// revocation has of the entry Serial, Name, Issuer, Revoked, Reason and
// RevokedBy, and when it was asked for.
type line struct {
	Op string     `json:"op"`
	At *time.Time `json:"at,omitempty"`
	Entry
}

const (
	opIssue  = "issue"
	opRevoke = "revoke"
)

// maxLine bounds a line, in bytes. The longest that check lets through has 100
// names of 253 bytes.
const maxLine = 64 << 10

func (l line) encode() ([]byte, error) {
	data, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	if len(data) >= maxLine {
		return nil, fmt.Errorf("an entry of %d bytes is too long", len(data))
	}
	return append(data, '\n'), nil
}

func parseLine(raw []byte) (line, error) {
	l, ok := scanLine(raw)
	if !ok {
		l = line{}
		if err := json.Unmarshal(raw, &l); err != nil {
			return line{}, errors.New("is no entry of a journal")
		}
	}
	switch {
	case l.Op != opIssue && l.Op != opRevoke:
		return line{}, fmt.Errorf("has the operation %.40q, which this version does not know", l.Op)
	case l.Serial == "" || l.Name == "" || l.Issuer == "":
		return line{}, errors.New("lacks a serial, name or issuer")
	case l.Op == opIssue && (l.Kind == "" || l.Revoked != nil):
		return line{}, errors.New("lacks a kind, or is revoked from the start")
	case l.Op == opRevoke && l.Revoked == nil:
		return line{}, errors.New("lacks the time from which on it is revoked")
	}
	return l, nil
}

// tornTail returns how many bytes at the end are a line that was not written to
// its end: it does not parse and has no line break, or has a block of zeros,
// which file systems leave after a power failure. What a crash left of an entry
// does not count: nobody has its certificate.
func tornTail(data []byte) int {
	if len(data) == 0 {
		return 0
	}
	start := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
	last := data[start:]
	if bytes.HasSuffix(last, []byte("\n")) {
		if bytes.IndexByte(last, 0) < 0 {
			return 0
		}
	} else if _, err := parseLine(last); err == nil {
		return 0
	}
	return len(last)
}

// record adds lines to the journal and returns when they are on disk. The caller
// holds the lock.
func (ca *CA) record(lines ...line) error {
	if err := appendIndex(ca.path(indexFile), lines...); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// appendIndex is record. On an error the file is as it was, or ends in a torn
// line.
func appendIndex(path string, lines ...line) (err error) {
	var data []byte
	for _, l := range lines {
		raw, err := l.encode()
		if err != nil {
			return err
		}
		data = append(data, raw...)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	end, broken, err := mendTail(f)
	if err != nil {
		return err
	}
	if broken { // an editor took the line break away
		data = append([]byte("\n"), data...)
	}
	if _, err := f.WriteAt(data, end); err != nil {
		return errors.Join(err, f.Truncate(end))
	}
	return f.Sync()
}

// tailSize is how much of the end of a journal is looked at first. Most lines
// are below 500 bytes.
const tailSize = 4 << 10

// mendTail cuts a torn line off and returns where the file ends then, and
// whether the last line lacks its line break.
func mendTail(f *os.File) (end int64, broken bool, err error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, false, err
	}
	for length := int64(tailSize); ; length = 2 * maxLine {
		tail := make([]byte, min(size, length))
		if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
			return 0, false, err
		}
		whole := int64(len(tail)) == size || length > tailSize
		if !whole && bytes.IndexByte(tail[:len(tail)-1], '\n') < 0 {
			continue // not all of the last line
		}
		torn := int64(tornTail(tail))
		if torn > 0 {
			return size - torn, false, f.Truncate(size - torn)
		}
		return size, size > 0 && tail[len(tail)-1] != '\n', nil
	}
}
