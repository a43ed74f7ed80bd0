package pki

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Reason is why a certificate was revoked.
type Reason string

// The reasons, as RFC 5280, section 5.3.1, names them.
const (
	Unspecified          Reason = "unspecified"
	KeyCompromise        Reason = "keyCompromise"
	CACompromise         Reason = "cACompromise"
	AffiliationChanged   Reason = "affiliationChanged"
	Superseded           Reason = "superseded"
	CessationOfOperation Reason = "cessationOfOperation"
	PrivilegeWithdrawn   Reason = "privilegeWithdrawn"
)

// reasonCodes are those of RFC 5280. A list leaves 0 out.
var reasonCodes = map[Reason]int{
	Unspecified: 0, KeyCompromise: 1, CACompromise: 2, AffiliationChanged: 3, Superseded: 4, CessationOfOperation: 5, PrivilegeWithdrawn: 9,
}

// Reasons are the names of the reasons, in the order of their codes.
func Reasons() []Reason {
	return []Reason{Unspecified, KeyCompromise, CACompromise, AffiliationChanged, Superseded, CessationOfOperation, PrivilegeWithdrawn}
}

// ParseReason reads a reason in any case, with or without hyphens; an empty one
// is Unspecified.
func ParseReason(s string) (Reason, error) {
	if s == "" {
		return Unspecified, nil
	}
	plain := strings.ReplaceAll(s, "-", "")
	for _, reason := range Reasons() {
		if strings.EqualFold(plain, string(reason)) {
			return reason, nil
		}
	}
	return "", refusef("the reason %.40q is none of %v", s, Reasons())
}

// Revocation asks that certificates count no longer.
type Revocation struct {
	// NameOrSerial is the name of leaves, of which all are revoked that have not
	// expired, or the serial number of one certificate.
	NameOrSerial string
	// Reason is Unspecified if it is empty.
	Reason Reason
	// By is as in Request.
	By string
}

// Revoke revokes from now on, writes crl.pem and returns what it revoked: what
// was revoked before is not in it, and where all were, it is empty. It fails with
// ErrNotFound where the journal has no such certificate, and with ErrRefused for
// a root, which no list can revoke, and for the intermediate that signs.
func (ca *CA) Revoke(ctx context.Context, req Revocation) ([]Entry, error) {
	revoked, err := ca.revoke(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("revoke %.70q: %w", req.NameOrSerial, err)
	}
	return revoked, nil
}

func (ca *CA) revoke(ctx context.Context, req Revocation) (revoked []Entry, err error) {
	reason, err := ParseReason(string(req.Reason))
	if err != nil {
		return nil, err
	}
	err = ca.change(ctx, func(s *snapshot) error {
		now := ca.Now()
		entries, err := ca.list()
		if err != nil {
			return err
		}
		found := find(entries, req.NameOrSerial)
		if len(found) == 0 {
			return ErrNotFound
		}
		var lines []line
		for _, entry := range found {
			if entry.RevokedAt(now) || len(found) > 1 && entry.NotAfter.Before(now) {
				continue
			}
			if err := s.checkRevocable(entry); err != nil {
				return err
			}
			l := revokeLine(entry, now, reason, req.By, now)
			lines = append(lines, l)
			entry.Revoked, entry.Reason, entry.RevokedBy = l.Revoked, l.Reason, l.RevokedBy
			revoked = append(revoked, entry)
		}
		// Made before anything is written: with a wrong passphrase nothing changes.
		lists, err := ca.makeCRLs(s, 0, now, lines...)
		if err != nil {
			return err
		}
		if len(lines) > 0 {
			if err := ca.record(lines...); err != nil {
				return err
			}
		} else if stale, err := ca.stale(s, now); err != nil || !stale {
			return err // a crash may have kept an earlier one from crl.pem
		}
		if err := ca.writeCRLs(lists); err != nil {
			return fmt.Errorf("the journal has it, but no revocation list does yet: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return revoked, nil
}

// checkRevocable refuses what would lock everybody out.
func (s *snapshot) checkRevocable(entry Entry) error {
	switch {
	case entry.Kind == Root:
		return refusef("%q is a root, which no list can revoke: a rollover replaces it", entry.Name)
	case entry.Kind == CrossSigned && s.Stage != Stable:
		return refusef("%q is needed until the rollover is over", entry.Name)
	case entry.Kind == Intermediate:
		for _, p := range []*pair{&s.Signs, s.Next, s.Last} {
			if p != nil && Fingerprint(s.intermediates[p.Intermediate]) == entry.SHA256 {
				return refusef("%q signs certificates: it has to be rotated first", entry.Name)
			}
		}
	}
	return nil
}

func revokeLine(entry Entry, from time.Time, reason Reason, by string, now time.Time) line {
	from, now = from.UTC().Truncate(time.Second), now.UTC().Truncate(time.Second)
	return line{Op: opRevoke, At: &now, Entry: Entry{
		Serial: entry.Serial, Name: entry.Name, Issuer: entry.Issuer,
		Revoked: &from, Reason: reason, RevokedBy: cleanBy(by),
	}}
}

// withLines returns the entries as they will be after the lines.
func withLines(entries []Entry, lines []line) []Entry {
	entries = slices.Clone(entries)
	b := book{entries: entries}
	for _, l := range lines {
		_ = b.revoke(l) // each was just found there
	}
	return b.entries
}
