package pki

import (
	"fmt"
	"slices"
)

// Plan says in sentences what a step would do, and changes nothing. It fails as
// Rollover would, but for Finish says what is in the way.
func (ca *CA) Plan(step Step) ([]string, error) {
	s, err := ca.load()
	if err != nil {
		return nil, fmt.Errorf("read the state of the CA: %w", err)
	}
	if err := s.fits(step); err != nil {
		return nil, fmt.Errorf("rollover %s: %w", step, err)
	}
	entries, err := ca.list()
	if err != nil {
		return nil, err
	}
	left := s.holders(entries, ca.Now())
	var plan []string
	say := func(format string, args ...any) { plan = append(plan, fmt.Sprintf(format, args...)) }
	switch step {
	case Start:
		say("A new root and a new intermediate are made, and the old root %q and the new one sign each other.", s.root().Subject.CommonName)
		say("The bundle has both roots from then on. Certificates are signed as before.")
		say("Then the bundle has to reach every server and every client: bundle.pem, or the ca.crt that comes with a certificate.")
	case Switch:
		next := s.intermediates[s.Next.Intermediate]
		say("From then on %q signs, and what it signs is handed out with the cross-signed root, so that those who have the old bundle take it too.", next.Subject.CommonName)
		say("Who has the new root alone does not take certificates of the old one: the bundle has to have both everywhere.")
		say("Then every certificate has to be renewed: %s.", counted(left))
	case Finish:
		say("The old root %q leaves the bundle, and its revocation lists leave with it.", s.roots[s.Last.Root].Subject.CommonName)
		say("Who has the old bundle alone takes no certificate that is issued afterwards.")
		if len(left) > 0 {
			say("It is refused without force, which locks out who holds a certificate of the old root: %s.", counted(left))
		}
	case Abort:
		old := s.Signs
		if s.Last != nil {
			old = *s.Last
		}
		say("The old intermediate %q signs, and the new root leaves the bundle.", s.intermediates[old.Intermediate].Subject.CommonName)
		if s.Last != nil {
			say("What the new root has signed stays good until it expires: the old root vouches for it.")
		}
	}
	return plan, nil
}

// counted names the first few.
func counted(entries []Entry) string {
	if len(entries) == 0 {
		return "none is left"
	}
	const most = 5
	var names []string
	for _, e := range entries {
		if !slices.Contains(names, e.Name) {
			names = append(names, e.Name)
		}
	}
	text := fmt.Sprintf("%d, of", len(entries))
	for i, name := range names[:min(len(names), most)] {
		if i > 0 {
			text += ","
		}
		text += " " + name
	}
	if len(names) > most {
		text += fmt.Sprintf(" and %d others", len(names)-most)
	}
	return text
}
