package pki

import (
	"context"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// Step is one step of a root rollover.
type Step string

// The steps. At none of them anybody is locked out who did what the step before
// asked for: to distribute the bundle after the start, to renew the leaves after
// the switch.
const (
	Start  Step = "start"  // makes the new root, and lets the bundle have both
	Switch Step = "switch" // lets the new one sign
	Finish Step = "finish" // lets the old one leave the bundle
	Abort  Step = "abort"  // goes back to the old one, before the finish
)

// RotateIntermediate makes a new intermediate, which signs from now on, and
// returns what was signed for that: its entry. Leaves of the old one stay good,
// and it keeps its revocation list until the last of them expired. It is refused
// in the middle of a rollover.
func (ca *CA) RotateIntermediate(ctx context.Context, by string) ([]Entry, error) {
	var made []Entry
	err := ca.change(ctx, func(s *snapshot) error {
		if err := s.canRotate(); err != nil {
			return err
		}
		now := ca.Now()
		root, err := ca.rootAuthority(s)
		if err != nil {
			return err
		}
		intermediate, err := newAuthority(Intermediate, s.Organization, s.Algorithm, root, now)
		if err != nil {
			return err
		}
		n, err := ca.free(intermediatesDir)
		if err != nil {
			return err
		}
		files, err := ca.filesOf(s, intermediate, n)
		if err != nil {
			return err
		}
		if made, err = ca.keep(now, by, files, intermediate); err != nil {
			return err
		}
		next := s.clone()
		next.Signs.Intermediate = n
		next.Intermediates = append(next.Intermediates, n)
		return ca.commit(next, now, true)
	})
	if err != nil {
		return nil, fmt.Errorf("rotate the intermediate: %w", err)
	}
	return made, nil
}

func (s *snapshot) canRotate() error {
	if s.Stage != Stable {
		return refusef("a rollover of the root is on its way: finish or abort it first")
	}
	return nil
}

// Rollover does one step of a root rollover and returns where that leads. With
// force, Finish does not mind that there are certificates of the old root left,
// which nobody takes afterwards. A step that does not fit the stage is refused.
func (ca *CA) Rollover(ctx context.Context, step Step, by string, force bool) (Status, error) {
	err := ca.change(ctx, func(s *snapshot) error {
		now := ca.Now()
		if err := s.fits(step); err != nil {
			return err
		}
		switch step {
		case Start:
			return ca.start(s, by, now)
		case Switch:
			next := s.clone()
			next.Stage, next.Signs, next.Last, next.Next = Switched, *s.Next, &s.Signs, nil
			next.Intermediates = append(next.Intermediates, next.Signs.Intermediate)
			return ca.commit(next, now, true)
		case Finish:
			return ca.finish(s, now, force)
		default:
			return ca.abort(s, now)
		}
	})
	if err != nil {
		return Status{}, fmt.Errorf("rollover %s: %w", step, err)
	}
	return ca.Status()
}

// fits refuses a step that does not follow the one before.
func (s *snapshot) fits(step Step) error {
	stages := map[Step][]string{Start: {Stable}, Switch: {Started}, Finish: {Switched}, Abort: {Started, Switched}}
	good, ok := stages[step]
	switch {
	case !ok:
		return refusef("the step %.40q is not %s, %s, %s or %s", step, Start, Switch, Finish, Abort)
	case slices.Contains(good, s.Stage):
		return nil
	case s.Stage == Stable:
		return refusef("no rollover has been started")
	case s.Stage == Started:
		return refusef("a rollover has been started: the next step is %s", Switch)
	}
	return refusef("the new root signs already: the next step is %s", Finish)
}

func (ca *CA) start(s *snapshot, by string, now time.Time) error {
	old, err := ca.rootAuthority(s)
	if err != nil {
		return fmt.Errorf("the old root has to sign the new one: %w", err)
	}
	root, intermediate, err := newPair(s.Organization, s.Algorithm, now)
	if err != nil {
		return err
	}
	forward, err := newCross(root, old, now)
	if err != nil {
		return err
	}
	back, err := newCross(old, root, now)
	if err != nil {
		return err
	}
	next := s.clone()
	next.Stage, next.Next = Started, &pair{}
	if next.Next.Root, err = ca.free(rootsDir); err != nil {
		return err
	}
	if next.Next.Intermediate, err = ca.free(intermediatesDir); err != nil {
		return err
	}
	files, err := ca.filesOf(s, root, next.Next.Root)
	if err != nil {
		return err
	}
	more, err := ca.filesOf(s, intermediate, next.Next.Intermediate)
	if err != nil {
		return err
	}
	files = append(append(files, more...),
		file{filepath.Join(rootsDir, crossFile(next.Next.Root, s.Signs.Root)), encodeCertificates(forward.cert), 0o644},
		file{filepath.Join(rootsDir, crossFile(s.Signs.Root, next.Next.Root)), encodeCertificates(back.cert), 0o644})
	if _, err := ca.keep(now, by, files, root, intermediate, forward, back); err != nil {
		return err
	}
	next.Trusted = append(next.Trusted, next.Next.Root)
	next.Crossed = append(next.Crossed, cross{next.Next.Root, s.Signs.Root})
	return ca.commit(next, now, true)
}

func (ca *CA) finish(s *snapshot, now time.Time, force bool) error {
	entries, err := ca.list()
	if err != nil {
		return err
	}
	if left := s.holders(entries, now); len(left) > 0 && !force {
		return refusef("%d certificates of the old root have no successor yet, %q among them: renew or revoke them, wait until they expired, or force it", len(left), left[0].Name)
	}
	next := s.clone()
	next.Stage, next.Last = Stable, nil
	next.Trusted = []int{s.Signs.Root}
	next.Crossed = nil
	s.forget(&next, entries, now)
	return ca.commit(next, now, false)
}

// abort locks nobody out: what the new root signed in the meantime was handed
// out with the cross-signed root, and is good where the old root alone is known.
func (ca *CA) abort(s *snapshot, now time.Time) error {
	entries, err := ca.list()
	if err != nil {
		return err
	}
	next := s.clone()
	next.Stage, next.Next, next.Last = Stable, nil, nil
	if s.Last != nil {
		next.Signs = *s.Last
	}
	next.Trusted = []int{next.Signs.Root}
	s.forget(&next, entries, now)
	return ca.commit(next, now, false)
}

// forget drops the cross-signed roots and the intermediates that nobody needs
// under the next state.
func (s *snapshot) forget(next *state, entries []Entry, now time.Time) {
	inUse := map[int]bool{next.Signs.Root: true}
	for _, n := range next.Intermediates {
		id := keyID(s.intermediates[n])
		if slices.ContainsFunc(entries, func(e Entry) bool { return e.Issuer == id && e.leaf() && e.good(now) }) {
			inUse[s.rootOf(s.intermediates[n])] = true
		}
	}
	next.Crossed = slices.DeleteFunc(next.Crossed, func(c cross) bool {
		return !inUse[c.Root] || !slices.Contains(next.Trusted, c.By)
	})
	next.Intermediates = slices.DeleteFunc(next.Intermediates, func(n int) bool {
		root := s.rootOf(s.intermediates[n])
		return !slices.Contains(next.Trusted, root) && !slices.ContainsFunc(next.Crossed, func(c cross) bool { return c.Root == root })
	})
}

// rootAuthority is the root that signs, with its key.
func (ca *CA) rootAuthority(s *snapshot) (*authority, error) {
	key, err := ca.rootSigner(s, s.Signs.Root)
	if err != nil {
		return nil, err
	}
	return &authority{kind: Root, cert: s.root(), key: key}, nil
}

// free returns a number that no file of the folder has, nor any that a crash
// left there.
func (ca *CA) free(folder string) (int, error) {
	names, err := filepath.Glob(filepath.Join(ca.Dir, folder, "*"))
	if err != nil {
		return 0, err
	}
	highest := 0
	for _, name := range names {
		var n, by int
		if _, err := fmt.Sscanf(filepath.Base(name), "%d-by-%d", &n, &by); err == nil {
			highest = max(highest, n, by)
		} else if _, err := fmt.Sscanf(filepath.Base(name), "%d.", &n); err == nil {
			highest = max(highest, n)
		}
	}
	return highest + 1, nil
}

// filesOf are the files of an authority of that number.
func (ca *CA) filesOf(s *snapshot, a *authority, n int) ([]file, error) {
	secret, err := ca.secret(s)
	if err != nil {
		return nil, err
	}
	key, err := encodeKey(a.key, secret)
	if err != nil {
		return nil, err
	}
	return []file{
		{filepath.Join(a.folder(), keyFile(n)), key, 0o600},
		{filepath.Join(a.folder(), certFile(n)), encodeCertificates(a.cert), 0o644},
	}, nil
}

// keep records the certificates and then writes their files. Until the state
// names them they count for nothing.
func (ca *CA) keep(now time.Time, by string, files []file, authorities ...*authority) ([]Entry, error) {
	var entries []Entry
	var lines []line
	for _, a := range authorities {
		entry := newEntry(a.signed(by), now)
		entries = append(entries, entry)
		lines = append(lines, line{Op: opIssue, Entry: entry})
	}
	if err := ca.record(lines...); err != nil {
		return nil, err
	}
	return entries, create(ca.Dir, files...)
}

// commit puts a state in force. The revocation lists come first where issuers
// join, so that nobody meets one without a list, and last where they leave.
func (ca *CA) commit(next state, now time.Time, listsFirst bool) error {
	s, err := ca.read(next)
	if err != nil {
		return err
	}
	if s.raw, err = next.encode(); err != nil {
		return err
	}
	if listsFirst {
		if err := ca.rewriteCRLs(s, now); err != nil {
			return err
		}
	}
	if err := replace(ca.Dir, file{stateFile, s.raw, 0o600}); err != nil {
		return err
	}
	if err := ca.settle(s); err != nil {
		return err
	}
	if !listsFirst {
		if err := ca.rewriteCRLs(s, now); err != nil {
			return fmt.Errorf("the step is done, but the revocation lists are the old ones: %w", err)
		}
	}
	return nil
}

// Status says what signs and where a rollover stands.
type Status struct {
	// Stage is Stable, Started or Switched.
	Stage string
	// Root and Intermediate sign now.
	Root, Intermediate Entry
	// NextRoot and NextIntermediate take over at the switch.
	NextRoot, NextIntermediate *Entry
	// OldRoots are trusted until the finish. OldIntermediates signed before, and
	// their leaves are good still.
	OldRoots, OldIntermediates []Entry
	// Holders are the leaves that are good now, were signed by an old intermediate,
	// and have no successor that is good. In a rollover: by one of the old root.
	Holders []Entry
}

// Status reads the state and the journal.
func (ca *CA) Status() (Status, error) {
	s, err := ca.load()
	if err != nil {
		return Status{}, fmt.Errorf("read the state of the CA: %w", err)
	}
	entries, err := ca.list()
	if err != nil {
		return Status{}, err
	}
	bySHA := map[string]Entry{}
	for _, e := range entries {
		if !e.leaf() {
			bySHA[e.SHA256] = e
		}
	}
	entry := func(cert *x509.Certificate) Entry {
		if e, ok := bySHA[Fingerprint(cert)]; ok {
			return e
		}
		return newEntry(signed{cert: cert, kind: KindOf(cert)}, cert.NotBefore.Add(backdate))
	}
	status := Status{Stage: s.Stage, Root: entry(s.root()), Intermediate: entry(s.intermediate()), Holders: s.holders(entries, ca.Now())}
	if s.Next != nil {
		root, intermediate := entry(s.roots[s.Next.Root]), entry(s.intermediates[s.Next.Intermediate])
		status.NextRoot, status.NextIntermediate = &root, &intermediate
	}
	if s.Last != nil {
		status.OldRoots = []Entry{entry(s.roots[s.Last.Root])}
	}
	for _, n := range s.Intermediates {
		if n != s.Signs.Intermediate {
			status.OldIntermediates = append(status.OldIntermediates, entry(s.intermediates[n]))
		}
	}
	return status, nil
}

// holders are the leaves of an old issuer that are still needed.
func (s *snapshot) holders(entries []Entry, now time.Time) []Entry {
	fresh := map[string]bool{} // the issuers that stay
	for n, cert := range s.intermediates {
		switch s.Stage {
		case Stable:
			fresh[keyID(cert)] = n == s.Signs.Intermediate
		case Started:
			fresh[keyID(cert)] = n == s.Next.Intermediate
		default:
			fresh[keyID(cert)] = s.rootOf(cert) == s.Signs.Root
		}
	}
	successors := map[string][]int{}
	for i, e := range entries {
		if e.Replaces != "" {
			successors[e.Replaces] = append(successors[e.Replaces], i)
		}
	}
	// A successor counts if it is good, or has one that is. A journal has no
	// circles: what replaces comes later.
	var succeeded func(e Entry, i int) bool
	succeeded = func(e Entry, i int) bool {
		return slices.ContainsFunc(successors[e.Serial], func(j int) bool {
			return j > i && (entries[j].good(now) || succeeded(entries[j], j))
		})
	}
	var holders []Entry
	for i, e := range entries {
		if known, ok := fresh[e.Issuer]; ok && !known && e.leaf() && e.good(now) && !succeeded(e, i) {
			holders = append(holders, e)
		}
	}
	return holders
}
