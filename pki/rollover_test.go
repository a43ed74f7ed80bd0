package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func roll(t testing.TB, ca *CA, step Step) Status {
	t.Helper()
	status, err := ca.Rollover(t.Context(), step, "ops@host", false)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// chains are what a server may be handed, and roots what somebody may trust, in
// the course of a rollover.
type rollout struct {
	ca     *CA
	now    *time.Time
	chains map[string][]byte
	roots  map[string][]byte
	crls   []byte // with both roots trusted
}

func rolled(t *testing.T, algorithm Algorithm) rollout {
	t.Helper()
	now := time.Now()
	ca, err := initAt(t.Context(), filepath.Join(t.TempDir(), "pki"), Options{Algorithm: algorithm}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.WriteCRL(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	r := rollout{ca: ca, now: &now, chains: map[string][]byte{}, roots: map[string][]byte{}}
	server := func(name string) Issued {
		return issue(t, ca, Request{Name: name, Kind: Server, SANs: []string{name}, Algorithm: algorithm})
	}
	one := server("one")
	r.chains["old"], r.roots["R1"] = one.Chain, one.Roots
	roll(t, ca, Start)
	two := server("two")
	r.chains["old, both trusted"], r.roots["R1 and R2"] = two.Chain, two.Roots
	roll(t, ca, Switch)
	r.chains["new, crossed"] = server("three").Chain
	back, err := os.ReadFile(filepath.Join(ca.Dir, rootsDir, crossFile(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	r.chains["old, crossed"] = append(bytes.Clone(one.Chain), back...)
	if r.crls, err = ca.CRLs(); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Rollover(t.Context(), Finish, "", true); err != nil {
		t.Fatal(err)
	}
	four := server("four")
	r.chains["new"], r.roots["R2"] = four.Chain, four.Roots
	return r
}

// Who is taken by whom, at each step, by Go and by OpenSSL, with revocation too.
// In no step is a certificate refused by somebody who did what the step before
// asked for: has the bundle that was distributed.
func TestRolloverMatrix(t *testing.T) {
	matrix := map[string]map[string]bool{
		"old":               {"R1": true, "R1 and R2": true, "R2": false},
		"old, both trusted": {"R1": true, "R1 and R2": true, "R2": false},
		"old, crossed":      {"R1": true, "R1 and R2": true, "R2": true},
		"new, crossed":      {"R1": true, "R1 and R2": true, "R2": true},
		"new":               {"R1": false, "R1 and R2": true, "R2": true},
	}
	for _, algorithm := range []Algorithm{P256, P384, Ed25519} {
		t.Run(string(algorithm), func(t *testing.T) {
			t.Parallel()
			r := rolled(t, algorithm)
			for chain, row := range matrix {
				for roots, good := range row {
					if err := goVerify(t, r.chains[chain], r.roots[roots], x509.ExtKeyUsageServerAuth); (err == nil) != good {
						t.Errorf("Go: %s for who trusts %s: %v", chain, roots, err)
					}
					if err := opensslVerify(t, r.chains[chain], r.roots[roots], nil, "-purpose", "sslserver"); (err == nil) != good {
						t.Errorf("OpenSSL: %s for who trusts %s: %v", chain, roots, err)
					}
					if err := opensslVerify(t, r.chains[chain], r.roots[roots], r.crls, "-purpose", "sslserver"); (err == nil) != good {
						t.Errorf("OpenSSL with revocation lists: %s for who trusts %s: %v", chain, roots, err)
					}
				}
			}
			crossed := parseChain(t, r.chains["new, crossed"])
			if len(crossed) != 3 || KindOf(crossed[2]) != CrossSigned {
				t.Errorf("the cross-signed root is not last of three: %d", len(crossed))
			}
			if n := len(parseChain(t, r.chains["new"])); n != 2 {
				t.Errorf("%d certificates after the finish", n)
			}
		})
	}
}

// Each stage as Status, the bundle and the lists show it.
func TestRollover(t *testing.T) {
	ca, now := newCA(t)
	alice := issue(t, ca, Request{Name: "alice", Kind: Client})
	bob := issue(t, ca, Request{Name: "bob", Kind: Client})
	if _, err := ca.WriteCRL(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	other, err := Open(ca.Dir) // another process, which notices
	if err != nil {
		t.Fatal(err)
	}
	other.Now = ca.Now
	check := func(stage string, roots, lists int, holders ...string) Status {
		t.Helper()
		status, err := other.Status()
		if err != nil {
			t.Fatal(err)
		}
		var held []string
		for _, e := range status.Holders {
			held = append(held, e.Name)
		}
		if status.Stage != stage || !cmp.Equal(held, holders) {
			t.Errorf("stage %s, holders %q, want %s, %q", status.Stage, held, stage, holders)
		}
		bundle, err := other.Bundle()
		if err != nil {
			t.Fatal(err)
		}
		onDisk, err := os.ReadFile(ca.path(bundleFile))
		if err != nil || !bytes.Equal(bundle, onDisk) || bytes.Count(bundle, []byte("BEGIN CERT")) != roots {
			t.Errorf("%s: bundle.pem has %d roots, want %d, %v", stage, bytes.Count(onDisk, []byte("BEGIN CERT")), roots, err)
		}
		crls, err := other.CRLs()
		if n := bytes.Count(crls, []byte("BEGIN X509 CRL")); err != nil || n != lists {
			t.Errorf("%s: crl.pem has %d lists, want %d, %v", stage, n, lists, err)
		}
		if fresh, err := other.RefreshCRL(t.Context()); fresh || err != nil {
			t.Errorf("%s: the lists were not fresh: %v", stage, err)
		}
		return status
	}
	first := check(Stable, 1, 2)
	roll(t, ca, Start)
	started := check(Started, 2, 4, "alice", "bob")
	if started.NextRoot == nil || started.Root.SHA256 != first.Root.SHA256 || started.Root.Name == started.NextRoot.Name {
		t.Errorf("started: %+v", started)
	}
	roll(t, ca, Switch)
	switched := check(Switched, 2, 4, "alice", "bob")
	if switched.Root.SHA256 != started.NextRoot.SHA256 || len(switched.OldRoots) != 1 || switched.OldRoots[0].SHA256 != first.Root.SHA256 {
		t.Errorf("switched: %+v", switched)
	}
	before := tree(t, ca.Dir)
	if _, err := ca.Rollover(t.Context(), Finish, "", false); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "2 certificates of the old root") {
		t.Errorf("Finish with holders: %v", err)
	}
	if diff := cmp.Diff(before, tree(t, ca.Dir)); diff != "" {
		t.Errorf("a refused step changed:\n%s", diff)
	}
	if _, err := ca.Reissue(t.Context(), Local{Name: "alice", NewKey: true, Overlap: time.Hour}); err != nil {
		t.Fatal(err)
	}
	check(Switched, 2, 4, "bob")
	if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: bob.Serial}); err != nil {
		t.Fatal(err)
	}
	check(Switched, 2, 4)
	roll(t, ca, Finish)
	done := check(Stable, 1, 2)
	if done.Root.SHA256 != switched.Root.SHA256 || len(done.OldRoots) != 0 {
		t.Errorf("finished: %+v", done)
	}
	// The old certificate is nobody's any more.
	if _, err := ca.Renew(t.Context(), renewal(t, alice)); !errors.Is(err, ErrNotFound) {
		t.Errorf("Renew of a certificate of the old root: %v", err)
	}
	// And once more, since it takes place every ten years.
	*now = now.Add(9 * 365 * day)
	roll(t, ca, Start)
	roll(t, ca, Switch)
	issue(t, ca, Request{Name: "carol", Kind: Client})
	*now = now.Add(2 * 365 * day) // it was forgotten, and the old root is over
	issue(t, ca, Request{Name: "dave", Kind: Client})
	roll(t, ca, Finish)
	issue(t, ca, Request{Name: "erin", Kind: Client})
}

// What fits no stage is refused and changes nothing; the plan says the same.
func TestRolloverSteps(t *testing.T) {
	ca, _ := newCA(t)
	issue(t, ca, Request{Name: "alice", Kind: Client})
	all := []Step{Start, Switch, Finish, Abort, "other"}
	for _, stage := range []struct {
		do   Step
		good []Step
	}{{"", []Step{Start}}, {Start, []Step{Switch, Abort}}, {Switch, []Step{Finish, Abort}}} {
		if stage.do != "" {
			roll(t, ca, stage.do)
		}
		before := tree(t, ca.Dir)
		for _, step := range all {
			plan, err := ca.Plan(step)
			good := slices.Contains(stage.good, step)
			if good != (err == nil) || good != (len(plan) > 0) {
				t.Errorf("after %q: Plan(%s) = %q, %v", stage.do, step, plan, err)
			}
			if good {
				continue
			}
			if _, err := ca.Rollover(t.Context(), step, "", true); !errors.Is(err, ErrRefused) {
				t.Errorf("after %q: %s: %v", stage.do, step, err)
			}
		}
		if stage.do != "" {
			if _, err := ca.RotateIntermediate(t.Context(), ""); !errors.Is(err, ErrRefused) {
				t.Errorf("after %q: the intermediate was rotated: %v", stage.do, err)
			}
		}
		if diff := cmp.Diff(before, tree(t, ca.Dir)); diff != "" {
			t.Errorf("after %q something changed:\n%s", stage.do, diff)
		}
	}
}

// An abort locks nobody out: neither who has the old root alone nor who got a
// certificate of the new one.
func TestRolloverAbort(t *testing.T) {
	ca, now := newCA(t)
	old := issue(t, ca, Request{Name: "old", Kind: Client})
	roll(t, ca, Start)
	if got := roll(t, ca, Abort); got.Stage != Stable || got.NextRoot != nil {
		t.Errorf("after an abort: %+v", got)
	}
	if bundle, err := ca.Bundle(); err != nil || !bytes.Equal(bundle, old.Roots) {
		t.Errorf("the bundle after an abort: %v", err)
	}
	roll(t, ca, Start) // with new numbers
	roll(t, ca, Switch)
	between := issue(t, ca, Request{Name: "between", Kind: Client})
	if _, err := ca.WriteCRL(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	roll(t, ca, Abort)
	after := issue(t, ca, Request{Name: "after", Kind: Client})
	crls, err := ca.CRLs()
	if err != nil {
		t.Fatal(err)
	}
	for name, issued := range map[string]Issued{"old": old, "between": between, "after": after} {
		if err := goVerify(t, issued.Chain, old.Roots, x509.ExtKeyUsageClientAuth); err != nil {
			t.Errorf("Go: %s: %v", name, err)
		}
		if err := opensslVerify(t, issued.Chain, old.Roots, crls); err != nil {
			t.Errorf("OpenSSL: %s: %v", name, err)
		}
	}
	if _, err := ca.Renew(t.Context(), renewal(t, between)); err != nil {
		t.Errorf("Renew of what the new root signed: %v", err)
	}
	if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: "between"}); err != nil {
		t.Fatal(err)
	}
	if crls, err = ca.CRLs(); err != nil {
		t.Fatal(err)
	}
	if err := opensslVerify(t, between.Chain, old.Roots, crls); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("revoked after an abort: %v", err)
	}
	*now = now.Add(time.Second)
	roll(t, ca, Start)
	roll(t, ca, Switch)
	if _, err := ca.Rollover(t.Context(), Finish, "", true); err != nil {
		t.Fatal(err)
	}
}

func TestRotateIntermediate(t *testing.T) {
	ca, now := newCA(t)
	old := issue(t, ca, Request{Name: "old", Kind: Client})
	if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: ca.Intermediate.Subject.CommonName}); !errors.Is(err, ErrRefused) {
		t.Errorf("Revoke of what signs: %v", err)
	}
	if _, err := ca.WriteCRL(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(7 * 365 * day)
	made, err := ca.RotateIntermediate(t.Context(), "ops@host")
	if err != nil || len(made) != 1 || made[0].Kind != Intermediate || made[0].By != "ops@host" {
		t.Fatalf("%+v, %v", made, err)
	}
	if made[0].NotAfter.After(ca.Root.NotAfter) {
		t.Errorf("the intermediate ends on %s, after its root", made[0].NotAfter)
	}
	status, err := ca.Status()
	if err != nil || status.Intermediate.SHA256 != made[0].SHA256 || len(status.OldIntermediates) != 1 {
		t.Errorf("%+v, %v", status, err)
	}
	fresh := issue(t, ca, Request{Name: "new", Kind: Client})
	if fresh.Issuer == old.Issuer {
		t.Error("the old intermediate signs still")
	}
	*now = now.Add(-7*365*day + time.Minute)
	again, err := ca.RotateIntermediate(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if status, err = ca.Status(); err != nil || len(status.Holders) != 2 {
		t.Errorf("holders: %+v, %v", status.Holders, err)
	}
	// The old one can be revoked now: the root has a list.
	revoked, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: status.OldIntermediates[0].Serial, Reason: CACompromise})
	if err != nil || len(revoked) != 1 {
		t.Fatalf("%+v, %v", revoked, err)
	}
	crls, err := ca.CRLs()
	if err != nil {
		t.Fatal(err)
	}
	if err := opensslVerify(t, old.Chain, old.Roots, crls); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a leaf of a revoked intermediate: %v", err)
	}
	if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: status.Root.Serial}); !errors.Is(err, ErrRefused) {
		t.Errorf("Revoke of the root: %v", err)
	}
	if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: again[0].Serial}); !errors.Is(err, ErrRefused) {
		t.Errorf("Revoke of the intermediate that signs: %v", err)
	}
}

// The root's key may be kept elsewhere: leaves are issued and revoked without
// it, and its own list stays.
func TestRootKeyElsewhere(t *testing.T) {
	ca, now := newCA(t)
	issue(t, ca, Request{Name: "alice", Kind: Client})
	before, err := ca.WriteCRL(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(ca.path(rootKey)); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(day)
	if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: "alice"}); err != nil {
		t.Fatal(err)
	}
	after, err := ca.WriteCRL(t.Context(), 0)
	if err != nil || len(after) != 2 {
		t.Fatalf("%+v, %v", after, err)
	}
	if after[0].Number.Cmp(before[0].Number) != 0 || after[1].Number.Cmp(before[1].Number) <= 0 {
		t.Errorf("numbers %v and %v", before, after)
	}
	for _, step := range []func() error{
		func() error { _, err := ca.Rollover(t.Context(), Start, "", false); return err },
		func() error { _, err := ca.RotateIntermediate(t.Context(), ""); return err },
	} {
		if err := step(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without the root's key: %v", err)
		}
	}
}

// No file of an older number is ever written again.
func TestNumbersAreNew(t *testing.T) {
	ca, _ := newCA(t)
	roll(t, ca, Start)
	roll(t, ca, Abort)
	if err := os.WriteFile(ca.path(filepath.Join(rootsDir, "7.key")), nil, 0o600); err != nil { // a crash
		t.Fatal(err)
	}
	before := tree(t, filepath.Join(ca.Dir, rootsDir))
	roll(t, ca, Start)
	after := tree(t, filepath.Join(ca.Dir, rootsDir))
	for path, content := range before {
		if after[path] != content && !strings.HasPrefix(content, "d") {
			t.Errorf("%s was changed", path)
		}
	}
	for _, name := range []string{"8.crt", "8.key", "8-by-1.crt", "1-by-8.crt"} {
		if _, ok := after[ca.path(filepath.Join(rootsDir, name))]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	if err := create(ca.Dir, file{rootKey, nil, 0o600}); !errors.Is(err, ErrExists) {
		t.Errorf("create over a key: %v", err)
	}
}

// The state and the files fit each other, or nothing is signed.
func TestDamagedState(t *testing.T) {
	ca, _ := newCA(t)
	good, err := os.ReadFile(ca.path(stateFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"newer":         {`"version": 1`, `"version": 2`},
		"unknown key":   {`"version": 1`, `"version": 1, "other": 2`},
		"unknown stage": {`"stable"`, `"other"`},
		"half a stage":  {`"stable"`, `"switched"`},
		"no such root":  {`"root": 1`, `"root": 2`},
		"cut off":       {"}\n}", ""},
	} {
		bad := strings.Replace(string(good), change[0], change[1], 1)
		if bad == string(good) && name != "cut off" {
			t.Fatalf("%s: nothing to change in %s", name, good)
		}
		if name == "cut off" {
			bad = string(good[:len(good)/2])
		}
		if err := os.WriteFile(ca.path(stateFile), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(ca.Dir); err == nil {
			t.Errorf("%s: opened", name)
		}
		if _, err := ca.Issue(t.Context(), Request{Name: "a", Kind: Client}); err == nil {
			t.Errorf("%s: issued", name)
		}
	}
}

// renewal asks for the successor of what was issued.
func renewal(t testing.TB, old Issued) Renewal {
	t.Helper()
	csr, _, err := NewRequest(old.Name, old.Kind, old.SANs, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return Renewal{Old: old.Certificate, CSR: csr, By: old.Name}
}

func parseKey(t testing.TB, data []byte) any {
	t.Helper()
	block, _ := pem.Decode(data)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(fmt.Errorf("key: %w", err))
	}
	return key
}
