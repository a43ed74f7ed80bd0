package pki

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// listOf is the list of an issuer in crl.pem, nil where there is none.
func listOf(t testing.TB, ca *CA, issuer *x509.Certificate) *x509.RevocationList {
	t.Helper()
	lists, err := ca.oldCRLs()
	if err != nil {
		t.Fatal(err)
	}
	list := lists[keyID(issuer)]
	if list != nil {
		if err := list.CheckSignatureFrom(issuer); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// onList returns the reason codes in the list of an issuer, by serial.
func onList(t testing.TB, ca *CA, issuer *x509.Certificate) map[string]int {
	t.Helper()
	list := listOf(t, ca, issuer)
	if list == nil {
		t.Fatal("no list")
	}
	got := map[string]int{}
	for _, entry := range list.RevokedCertificateEntries {
		if entry.RevocationTime.After(list.ThisUpdate) {
			t.Errorf("revoked on %s, after the list of %s", entry.RevocationTime, list.ThisUpdate)
		}
		got[strings.ToUpper(entry.SerialNumber.Text(16))] = entry.ReasonCode
	}
	return got
}

func TestRevoke(t *testing.T) {
	ca, now := newCA(t)
	alice := issue(t, ca, Request{Name: "alice", Kind: Client})
	bob := issue(t, ca, Request{Name: "bob", Kind: Client})
	if crls, err := ca.CRLs(); crls != nil || err != nil {
		t.Errorf("a list from the start: %v", err)
	}
	if fresh, err := ca.RefreshCRL(t.Context()); !fresh || err != nil {
		t.Errorf("RefreshCRL writes the first lists: %v, %v", fresh, err)
	}
	if got := onList(t, ca, ca.Intermediate); len(got) != 0 {
		t.Errorf("on the first list: %v", got)
	}
	if fresh, err := ca.RefreshCRL(t.Context()); fresh || err != nil {
		t.Errorf("RefreshCRL with nothing to do: %v, %v", fresh, err)
	}
	revoked, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: "alice", Reason: "Key-Compromise", By: "ops@host"})
	if err != nil {
		t.Fatal(err)
	}
	at := now.UTC().Truncate(time.Second)
	want := alice.Entry
	want.Revoked, want.Reason, want.RevokedBy = &at, KeyCompromise, "ops@host"
	if diff := cmp.Diff([]Entry{want}, revoked); diff != "" {
		t.Error(diff)
	}
	if found, err := ca.Find("alice"); err != nil || !cmp.Equal(found, revoked) {
		t.Errorf("in the journal: %+v, %v", found, err)
	}
	crls, err := ca.CRLs()
	if err != nil {
		t.Fatal(err)
	}
	if err := opensslVerify(t, alice.Chain, alice.Roots, crls); err == nil || !strings.Contains(err.Error(), "certificate revoked") {
		t.Errorf("OpenSSL of a revoked certificate: %v", err)
	}
	if err := opensslVerify(t, bob.Chain, bob.Roots, crls); err != nil {
		t.Errorf("OpenSSL of a good certificate: %v", err)
	}
	if got := onList(t, ca, ca.Intermediate); !cmp.Equal(got, map[string]int{alice.Serial: 1}) {
		t.Errorf("on the list: %v", got)
	}
	// Once more: nothing to do, and the file stays.
	before := tree(t, ca.Dir)
	if again, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: alice.Serial}); err != nil || len(again) != 0 {
		t.Errorf("revoked twice: %v, %v", again, err)
	}
	if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: "nobody"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
	if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: "bob", Reason: "whim"}); !errors.Is(err, ErrRefused) {
		t.Errorf("an unknown reason: %v", err)
	}
	if diff := cmp.Diff(before, tree(t, ca.Dir)); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
	// Where the file can not be written, it says what is so already, and the next try
	// completes it.
	carol := issue(t, ca, Request{Name: "carol", Kind: Client})
	kept := filepath.Join(t.TempDir(), "crl.pem")
	for _, err := range []error{os.Rename(ca.path(crlFile), kept), os.Mkdir(ca.path(crlFile), 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: "carol"}); err == nil || !strings.Contains(err.Error(), "the journal has it, but no revocation list does yet") {
		t.Errorf("where no list can be written: %v", err)
	}
	for _, err := range []error{os.Remove(ca.path(crlFile)), os.Rename(kept, ca.path(crlFile))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: "carol"}); err != nil {
		t.Error(err)
	}
	if _, ok := onList(t, ca, ca.Intermediate)[carol.Serial]; !ok {
		t.Error("the second try did not put it on the list")
	}
	// What a crash kept from the file comes with the next look.
	if err := ca.record(revokeLine(bob.Entry, *now, Unspecified, "", *now)); err != nil {
		t.Fatal(err)
	}
	if fresh, err := ca.RefreshCRL(t.Context()); !fresh || err != nil {
		t.Errorf("RefreshCRL after a crash: %v, %v", fresh, err)
	}
	if got := onList(t, ca, ca.Intermediate); len(got) != 3 {
		t.Errorf("on the list after a crash: %v", got)
	}
}

// A name is all its certificates that are of use.
func TestRevokeName(t *testing.T) {
	ca, now := newCA(t)
	first := issue(t, ca, Request{Name: "alice", Kind: Client, TTL: day})
	*now = now.Add(2 * day)
	second, err := ca.Reissue(t.Context(), Local{Name: "alice", TTL: 30 * day})
	if err != nil {
		t.Fatal(err)
	}
	third, err := ca.Reissue(t.Context(), Local{Name: "alice", NewKey: true, Overlap: day})
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: "alice", Reason: KeyCompromise})
	if err != nil || len(revoked) != 2 {
		t.Fatalf("%+v, %v", revoked, err)
	}
	if got := onList(t, ca, ca.Intermediate); !cmp.Equal(got, map[string]int{second.Serial: 1, third.Serial: 1}) {
		t.Errorf("on the list: %v; expired %s", got, first.Serial)
	}
	// It brought the scheduled revocation forward.
	if found, err := ca.Find(second.Serial); err != nil || !found[0].RevokedAt(*now) || found[0].Reason != KeyCompromise {
		t.Errorf("%+v, %v", found, err)
	}
}

// A revoked certificate stays on the lists until it was on one after it expired.
func TestExpiredLeavesTheList(t *testing.T) {
	ca, now := newCA(t)
	issue(t, ca, Request{Name: "short", Kind: Client, TTL: day})
	issue(t, ca, Request{Name: "long", Kind: Client})
	for _, name := range []string{"short", "long"} {
		if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: name}); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		wait time.Duration
		want int
	}{{day - time.Minute, 2}, {time.Hour, 2}, {time.Second, 1}} {
		*now = now.Add(step.wait)
		crls, err := ca.WriteCRL(t.Context(), 0)
		if err != nil || crls[1].Revoked != step.want || len(onList(t, ca, ca.Intermediate)) != step.want {
			t.Errorf("%s later: %+v, want %d, %v", step.wait, crls, step.want, err)
		}
		if fresh, err := ca.RefreshCRL(t.Context()); fresh || err != nil {
			t.Errorf("%s later: refreshed: %v, %v", step.wait, fresh, err)
		}
	}
}

func TestWriteCRL(t *testing.T) {
	ca, now := newCA(t)
	crls, err := ca.WriteCRL(t.Context(), 7*day)
	if err != nil || len(crls) != 2 {
		t.Fatal(crls, err)
	}
	for i, issuer := range []*x509.Certificate{ca.Root, ca.Intermediate} {
		if crls[i].Issuer != issuer.Subject.CommonName || crls[i].Revoked != 0 || listOf(t, ca, issuer).Number.Cmp(crls[i].Number) != 0 {
			t.Errorf("%+v", crls[i])
		}
		if end := now.UTC().Truncate(time.Second).Add(7 * day); !crls[i].NextUpdate.Equal(end) || !crls[i].ThisUpdate.Before(*now) {
			t.Errorf("from %s to %s, want %s", crls[i].ThisUpdate, crls[i].NextUpdate, end)
		}
	}
	info, err := os.Stat(ca.path(crlFile))
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	// The numbers grow: on a clock that stands still or goes back, and where the
	// file is lost.
	last := crls[1].Number
	grow := func(what string) {
		t.Helper()
		crls, err := ca.WriteCRL(t.Context(), 7*day)
		if err != nil || crls[1].Number.Cmp(last) <= 0 {
			t.Errorf("%s: %s after %s, %v", what, crls[1].Number, last, err)
		}
		last = crls[1].Number
	}
	grow("the same instant")
	*now = now.Add(-time.Second)
	grow("an earlier one")
	*now = now.Add(2 * time.Second)
	if err := os.Remove(ca.path(crlFile)); err != nil {
		t.Fatal(err)
	}
	grow("a lost file")
	for _, damage := range []string{"", "x", string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte("x")})), "-----BEGIN X509 CRL-----\n"} {
		if err := os.WriteFile(ca.path(crlFile), []byte(damage), 0o644); err != nil {
			t.Fatal(err)
		}
		if fresh, err := ca.RefreshCRL(t.Context()); !fresh || err != nil {
			t.Errorf("RefreshCRL of a damaged file %q: %v, %v", damage, fresh, err)
		}
	}
	// A list keeps the life that was asked for.
	if _, err := ca.WriteCRL(t.Context(), 7*day); err != nil {
		t.Fatal(err)
	}
	issue(t, ca, Request{Name: "alice", Kind: Client})
	if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: "alice"}); err != nil {
		t.Fatal(err)
	}
	list := listOf(t, ca, ca.Intermediate)
	if life := list.NextUpdate.Sub(list.ThisUpdate); life != 7*day+time.Minute {
		t.Errorf("a life of %s", life)
	}
	*now = now.Add(7*day/2 - time.Minute)
	if fresh, err := ca.RefreshCRL(t.Context()); fresh || err != nil {
		t.Errorf("RefreshCRL before half the life: %v, %v", fresh, err)
	}
	*now = now.Add(2 * time.Minute)
	if fresh, err := ca.RefreshCRL(t.Context()); !fresh || err != nil {
		t.Errorf("RefreshCRL after half the life: %v, %v", fresh, err)
	}
	for _, ttl := range []time.Duration{-time.Hour, time.Minute, MaxCRLTTL + 1} {
		if _, err := ca.WriteCRL(t.Context(), ttl); !errors.Is(err, ErrRefused) {
			t.Errorf("a life of %s: %v", ttl, err)
		}
	}
}

func TestReasons(t *testing.T) {
	ca, _ := newCA(t)
	for _, reason := range Reasons() {
		name := string(reason)
		issue(t, ca, Request{Name: name, Kind: Client})
		revoked, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: name, Reason: reason})
		if err != nil || len(revoked) != 1 || revoked[0].Reason != reason {
			t.Fatal(revoked, err)
		}
		if got := onList(t, ca, ca.Intermediate)[revoked[0].Serial]; got != reasonCodes[reason] {
			t.Errorf("%s has the code %d", reason, got)
		}
	}
	if reason, err := ParseReason(""); reason != Unspecified || err != nil {
		t.Errorf("%s, %v", reason, err)
	}
}
