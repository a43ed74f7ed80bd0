package pki

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// journal is what was read of index.jsonl. The file only grows, so that each
// look reads what is new.
type journal struct {
	info    os.FileInfo
	offset  int64 // behind the last whole line that was read
	entries book
}

// book is a journal's entries, each with what happened to it later. A slice that
// was taken of it never changes.
type book struct {
	lines   int
	entries []Entry
	at      map[[2]string]int // by issuer and serial; made for the first revocation
}

// apply reads lines into the book. A torn last line does not count. Anything
// else that is no entry is an error: with a part of it missing the journal would
// lie.
func (b *book) apply(data []byte) error {
	data = data[:len(data)-tornTail(data)]
	b.entries = slices.Grow(b.entries, bytes.Count(data, []byte("\n"))+1)
	copied := false
	for len(data) > 0 {
		var raw []byte
		raw, data, _ = bytes.Cut(data, []byte("\n"))
		b.lines++
		l, err := parseLine(raw)
		if err == nil && l.Op == opRevoke {
			if !copied { // others may be reading it
				b.entries, copied = slices.Clone(b.entries), true
			}
			err = b.revoke(l)
		} else if err == nil {
			b.add(l.Entry)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", b.lines, err)
		}
	}
	return nil
}

func (b *book) add(e Entry) {
	if b.at != nil {
		b.at[[2]string{e.Issuer, e.Serial}] = len(b.entries)
	}
	b.entries = append(b.entries, e)
}

// revoke notes a revocation. Of several the earliest counts.
func (b *book) revoke(l line) error {
	if b.at == nil {
		b.at = make(map[[2]string]int, len(b.entries))
		for i, e := range b.entries {
			b.at[[2]string{e.Issuer, e.Serial}] = i
		}
	}
	i, ok := b.at[[2]string{l.Issuer, l.Serial}]
	if !ok {
		return errors.New("revokes what was not issued")
	}
	if e := &b.entries[i]; e.Revoked == nil || l.Revoked.Before(*e.Revoked) {
		e.Revoked, e.Reason, e.RevokedBy = l.Revoked, l.Reason, l.RevokedBy
	}
	return nil
}

// parseIndex reads a whole journal.
func parseIndex(data []byte) ([]Entry, error) {
	var b book
	if err := b.apply(data); err != nil {
		return nil, err
	}
	return b.entries, nil
}

// List returns everything that was signed, the CA's own certificates included,
// in the order in which it was.
func (ca *CA) List() ([]Entry, error) {
	entries, err := ca.list()
	return slices.Clone(entries), err
}

// list is List; the caller changes nothing of it.
func (ca *CA) list() ([]Entry, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	path := ca.path(indexFile)
	if err := ca.journal.catchUp(path); err != nil {
		ca.journal = journal{}
		return nil, fmt.Errorf("read the journal: %s: %w", path, err)
	}
	return slices.Clip(ca.journal.entries.entries), nil
}

// catchUp reads what is new in the file, or all of it where it is another one.
func (j *journal) catchUp(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return errors.Unwrap(err) // the caller names the file
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if j.info == nil || !os.SameFile(j.info, info) || info.Size() < j.offset {
		*j = journal{}
	}
	j.info = info
	data := make([]byte, info.Size()-j.offset)
	n, err := f.ReadAt(data, j.offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	data = data[:n]
	whole := bytes.LastIndexByte(data[:len(data)-tornTail(data)], '\n') + 1
	if err := j.entries.apply(data[:whole]); err != nil {
		return err
	}
	j.offset += int64(whole)
	// A last line whose break an editor took away counts; it is read again when
	// something follows it.
	if rest := data[whole:]; len(rest) > tornTail(rest) {
		b := j.entries
		b.at = nil
		if err := b.apply(rest); err != nil {
			return err
		}
		*j = journal{entries: b} // and all is read at the next look
	}
	return nil
}

// Find returns the certificates with that name or, if there are none, with that
// serial number, the last issued first. Serial numbers may have colons and
// lower-case letters. None found is no error.
func (ca *CA) Find(nameOrSerial string) ([]Entry, error) {
	entries, err := ca.list()
	if err != nil {
		return nil, err
	}
	return find(entries, nameOrSerial), nil
}

func find(entries []Entry, nameOrSerial string) []Entry {
	serial := strings.ToUpper(strings.ReplaceAll(nameOrSerial, ":", ""))
	var named, numbered []Entry
	for _, entry := range slices.Backward(entries) {
		if entry.Name == nameOrSerial {
			named = append(named, entry)
		}
		if entry.Serial == serial {
			numbered = append(numbered, entry)
		}
	}
	if len(named) > 0 {
		return named
	}
	return numbered
}

func (ca *CA) path(name string) string { return filepath.Join(ca.Dir, name) }
