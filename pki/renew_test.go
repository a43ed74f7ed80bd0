package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/pki/live"
)

// A renewal is a fresh issue with the kind, names and lifetime of the old one.
func TestRenew(t *testing.T) {
	ca, now := newCA(t)
	old := issue(t, ca, Request{Name: "jump-1", Kind: Server, SANs: []string{"jump-1", "192.0.2.1"}, TTL: 10 * day})
	*now = now.Add(7 * day)
	req := renewal(t, old)
	fresh, err := ca.Renew(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if fresh.Replaces != old.Serial || fresh.By != "jump-1" || fresh.Kind != Server || !cmp.Equal(fresh.SANs, old.SANs) {
		t.Errorf("%+v", fresh.Entry)
	}
	if want := now.UTC().Truncate(time.Second).Add(10 * day); !fresh.NotAfter.Equal(want) || fresh.Serial == old.Serial {
		t.Errorf("ends on %s, want %s", fresh.NotAfter, want)
	}
	// Without names in the CSR, and with the old key.
	files := ca.Files("jump-1")
	key, err := readKey(files.Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	csr := csrPEM(t, &x509.CertificateRequest{Subject: fresh.Certificate.Subject}, key)
	same, err := ca.Renew(t.Context(), Renewal{Old: old.Certificate, CSR: csr})
	if err != nil || !cmp.Equal(same.SANs, old.SANs) || !samePublicKey(same.Certificate.PublicKey, old.Certificate.PublicKey) {
		t.Errorf("%+v, %v", same.Entry, err)
	}
	// Near the end of the intermediate it is cut, not refused.
	near := issue(t, ca, Request{Name: "near", Kind: Client, TTL: MaxTTL})
	*now = near.NotAfter.Add(-day)
	for now.Before(ca.Intermediate.NotAfter.Add(-30 * day)) {
		if near, err = ca.Renew(t.Context(), renewal(t, near)); err != nil {
			t.Fatal(err)
		}
		*now = near.NotAfter.Add(-day)
	}
	if !near.NotAfter.Equal(ca.Intermediate.NotAfter) {
		t.Errorf("the last ends on %s, the intermediate on %s", near.NotAfter, ca.Intermediate.NotAfter)
	}
}

// Whose certificate it is not, or no longer, gets no other.
func TestRenewRefuses(t *testing.T) {
	ca, now := newCA(t)
	stranger, _ := newCA(t)
	alice := issue(t, ca, Request{Name: "alice", Kind: Client, TTL: 30 * day})
	bob := issue(t, ca, Request{Name: "bob", Kind: Client})
	rotated := issue(t, ca, Request{Name: "rotated", Kind: Client})
	server := issue(t, ca, Request{Name: "jump-1", Kind: Server, SANs: []string{"jump-1"}})
	if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: "bob"}); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Reissue(t.Context(), Local{Name: "rotated", NewKey: true, Overlap: day}); err != nil {
		t.Fatal(err)
	}
	with := func(old Issued, change func(*Renewal)) Renewal {
		req := renewal(t, old)
		change(&req)
		return req
	}
	// Signed by our key, but unknown to the journal.
	unrecorded := issue(t, ca, Request{Name: "unrecorded", Kind: Client})
	journal, err := os.ReadFile(ca.path(indexFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca.path(indexFile), journal[:bytes.LastIndexByte(journal[:len(journal)-1], '\n')+1], 0o600); err != nil {
		t.Fatal(err)
	}
	before := tree(t, ca.Dir)
	for _, test := range []struct {
		name string
		req  Renewal
		want error
		text string
	}{
		{"another CA's", renewal(t, issue(t, stranger, Request{Name: "alice", Kind: Client})), ErrNotFound, "alice"},
		{"unrecorded", renewal(t, unrecorded), ErrNotFound, "not in its journal"},
		{"revoked", renewal(t, bob), ErrRevoked, "is revoked from"},
		{"replaced", renewal(t, rotated), ErrRevoked, "is revoked from"},
		{"the intermediate", with(alice, func(r *Renewal) { r.Old = ca.Intermediate }), ErrRefused, "certificate of the CA"},
		{"other name", with(alice, func(r *Renewal) { r.CSR = renewal(t, bob).CSR }), ErrRefused, `the CSR is for "bob"`},
		{"other SANs", with(server, func(r *Renewal) {
			r.CSR, _, _ = NewRequest("jump-1", Server, []string{"jump-1", "jump-2"}, "", nil)
		}), ErrRefused, "other names"},
		{"no CSR", with(alice, func(r *Renewal) { r.CSR = nil }), ErrRefused, "no CSR"},
		{"no certificate", with(alice, func(r *Renewal) { r.Old = nil }), ErrRefused, "no certificate"},
	} {
		if _, err := ca.Renew(t.Context(), test.req); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, want %v, %q", test.name, err, test.want, test.text)
		}
	}
	if diff := cmp.Diff(before, tree(t, ca.Dir)); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
	*now = now.Add(31 * day)
	if _, err := ca.Renew(t.Context(), renewal(t, alice)); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "expired on") {
		t.Errorf("expired: %v", err)
	}
}

func TestReissue(t *testing.T) {
	ca, now := newCA(t)
	old := issue(t, ca, Request{Name: "alice", Kind: Client, TTL: 10 * day, Algorithm: P384})
	note := filepath.Join(filepath.Dir(old.Files.Cert), "note.txt")
	if err := os.WriteFile(note, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(11 * day) // expired
	renewed, err := ca.Reissue(t.Context(), Local{Name: "alice", By: "ops@host"})
	if err != nil {
		t.Fatal(err)
	}
	if renewed.Replaces != old.Serial || renewed.NotAfter.Sub(renewed.Issued) != 10*day || !samePublicKey(renewed.Certificate.PublicKey, old.Certificate.PublicKey) {
		t.Errorf("renewed: %+v", renewed.Entry)
	}
	if err := renewed.Files.Check(live.Client, *now); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(note); err != nil {
		t.Errorf("another file is gone: %v", err)
	}
	rotated, err := ca.Reissue(t.Context(), Local{Name: "alice", NewKey: true, Overlap: time.Hour, TTL: 20 * day, By: "ops@host"})
	if err != nil {
		t.Fatal(err)
	}
	if rotated.Replaces != renewed.Serial || samePublicKey(rotated.Certificate.PublicKey, old.Certificate.PublicKey) ||
		algorithmOf(rotated.Certificate.PublicKey) != P384 || rotated.NotAfter.Sub(rotated.Issued) != 20*day {
		t.Errorf("rotated: %+v", rotated.Entry)
	}
	if err := rotated.Files.Check(live.Client, *now); err != nil {
		t.Error(err)
	}
	entries, err := ca.Find(renewed.Serial)
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	if e := entries[0]; e.RevokedAt(now.Add(time.Hour-2*time.Second)) || !e.RevokedAt(now.Add(time.Hour)) || e.Reason != Superseded || e.RevokedBy != "ops@host" {
		t.Errorf("the old one: %+v", e)
	}
	if crls, err := ca.CRLs(); crls != nil || err != nil {
		t.Errorf("a list, before anything is revoked: %v", err)
	}
	if _, err := ca.WriteCRL(t.Context(), 0); err != nil || len(onList(t, ca, ca.Intermediate)) != 0 {
		t.Errorf("on a list before it is due: %v", err)
	}
	if fresh, err := ca.RefreshCRL(t.Context()); fresh || err != nil {
		t.Errorf("RefreshCRL before it is due: %v, %v", fresh, err)
	}
	*now = now.Add(time.Hour)
	if fresh, err := ca.RefreshCRL(t.Context()); !fresh || err != nil {
		t.Errorf("RefreshCRL when it is due: %v, %v", fresh, err)
	}
	if got := onList(t, ca, ca.Intermediate); len(got) != 1 || got[renewed.Serial] != 4 {
		t.Errorf("on the list: %v", got)
	}
	if fresh, err := ca.RefreshCRL(t.Context()); fresh || err != nil {
		t.Errorf("RefreshCRL once more: %v, %v", fresh, err)
	}
	// At once: the list comes with it.
	if _, err := ca.Reissue(t.Context(), Local{Name: "alice", NewKey: true}); err != nil {
		t.Fatal(err)
	}
	if got := onList(t, ca, ca.Intermediate); len(got) != 2 || got[rotated.Serial] != 4 {
		t.Errorf("on the list: %v", got)
	}
	// A revoked one gets another key, or nothing.
	if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: "alice", Reason: KeyCompromise}); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Reissue(t.Context(), Local{Name: "alice"}); !errors.Is(err, ErrRevoked) {
		t.Errorf("renewed although revoked: %v", err)
	}
	if _, err := ca.Reissue(t.Context(), Local{Name: "alice", NewKey: true}); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(ca.path(tempPrefix + "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Whoever looks while a folder is exchanged finds one.
func TestExchange(t *testing.T) {
	above := t.TempDir()
	target := filepath.Join(above, "alice")
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := os.Lstat(target); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 200 {
		temp, _, err := stage(above, []file{{leafCert, nil, 0o600}})
		if err != nil {
			t.Fatal(err)
		}
		if err := exchange(temp, target); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Errorf("in the middle: %v", err)
	}
}

func TestReissueRefuses(t *testing.T) {
	ca, _ := newCA(t)
	issue(t, ca, Request{Name: "alice", Kind: Client})
	foreign := issue(t, ca, Request{Name: "bob", Kind: Client})
	if err := os.Rename(filepath.Dir(foreign.Files.Cert), ca.folder("carol")); err != nil {
		t.Fatal(err)
	}
	before := tree(t, ca.Dir)
	for name, test := range map[string]struct {
		req  Local
		want error
	}{
		"nothing there":          {Local{Name: "nobody"}, ErrNotFound},
		"key elsewhere":          {Local{Name: "bob"}, ErrElsewhere},
		"a path":                 {Local{Name: "../issued/alice"}, ErrRefused},
		"another's":              {Local{Name: "carol"}, ErrRefused},
		"overlap for the key":    {Local{Name: "alice", Overlap: time.Hour}, ErrRefused},
		"algorithm for the key":  {Local{Name: "alice", Algorithm: P384}, ErrRefused},
		"an overlap in the past": {Local{Name: "alice", NewKey: true, Overlap: -1}, ErrRefused},
		"a short life":           {Local{Name: "alice", TTL: time.Second}, ErrRefused},
		"an unknown algorithm":   {Local{Name: "alice", NewKey: true, Algorithm: "rsa"}, ErrRefused},
	} {
		if _, err := ca.Reissue(t.Context(), test.req); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, tree(t, ca.Dir)); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
}
