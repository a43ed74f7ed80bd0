package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/footprintai/containarium/pki/live"
)

// The stages of a root rollover, as Status names them.
const (
	// Stable: one root, no rollover.
	Stable = "stable"
	// Started: both roots are trusted, the old one signs.
	Started = "started"
	// Switched: both roots are trusted, the new one signs.
	Switched = "switched"
)

// state is the content of state.json. The numbers are those of the files.
type state struct {
	Version int    `json:"version"`
	Stage   string `json:"stage"`
	// Encrypted: the keys have a passphrase, and new ones get the same.
	Encrypted    bool      `json:"encrypted"`
	Algorithm    Algorithm `json:"algorithm"`
	Organization string    `json:"organization"`
	// Signs is in force now. Next takes over at the switch, where Stage is Started;
	// Last leaves at the finish, where it is Switched.
	Signs pair  `json:"signs"`
	Next  *pair `json:"next,omitempty"`
	Last  *pair `json:"last,omitempty"`
	// Trusted are the roots in bundle.pem.
	Trusted []int `json:"trusted"`
	// Crossed are the roots that a trusted root vouches for, so that what they
	// signed is good where the trusted root alone is known.
	Crossed []cross `json:"crossed,omitempty"`
	// Intermediates are all that ever signed and whose root still counts.
	Intermediates []int `json:"intermediates"`
}

type pair struct {
	Root         int `json:"root"`
	Intermediate int `json:"intermediate"`
}

type cross struct {
	Root int `json:"root"`
	By   int `json:"by"`
}

const stateVersion = 1

// clone returns a copy that can be changed.
func (s state) clone() state {
	s.Trusted, s.Crossed, s.Intermediates = slices.Clone(s.Trusted), slices.Clone(s.Crossed), slices.Clone(s.Intermediates)
	return s
}

func (s state) encode() ([]byte, error) {
	data, err := json.MarshalIndent(s, "", "  ")
	return append(data, '\n'), err
}

// parseState fails closed: what it does not know may be what matters.
func parseState(data []byte) (state, error) {
	var s state
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return state{}, fmt.Errorf("%s is damaged or newer than this version", stateFile)
	}
	switch {
	case s.Version != stateVersion:
		return state{}, fmt.Errorf("%s has version %d, and this program knows %d", stateFile, s.Version, stateVersion)
	case s.Stage != Stable && s.Stage != Started && s.Stage != Switched,
		(s.Next != nil) != (s.Stage == Started), (s.Last != nil) != (s.Stage == Switched):
		return state{}, fmt.Errorf("%s is damaged: stage %.20q", stateFile, s.Stage)
	case !slices.Contains(s.Trusted, s.Signs.Root), !slices.Contains(s.Intermediates, s.Signs.Intermediate):
		return state{}, fmt.Errorf("%s is damaged: what signs is not trusted", stateFile)
	}
	return s, nil
}

// snapshot is the state with the certificates that it names; immutable.
type snapshot struct {
	state
	raw           []byte
	roots         map[int]*x509.Certificate
	intermediates map[int]*x509.Certificate
	crosses       map[cross]*x509.Certificate
}

func (s *snapshot) root() *x509.Certificate         { return s.roots[s.Signs.Root] }
func (s *snapshot) intermediate() *x509.Certificate { return s.intermediates[s.Signs.Intermediate] }

func (s *snapshot) trusted() []*x509.Certificate {
	var certs []*x509.Certificate
	for _, n := range s.Trusted {
		certs = append(certs, s.roots[n])
	}
	return certs
}

func (s *snapshot) bundle() []byte { return encodeCertificates(s.trusted()...) }

// above is what a leaf is handed out with: the intermediate and, so that those
// who have the old root alone take it too, the cross-signed root last.
func (s *snapshot) above() []*x509.Certificate {
	chain := []*x509.Certificate{s.intermediate()}
	if s.Last != nil {
		chain = append(chain, s.crosses[cross{s.Signs.Root, s.Last.Root}])
	}
	return chain
}

// issuers are the certificates below the trusted roots that may stand in a chain.
func (s *snapshot) issuers() []*x509.Certificate {
	var certs []*x509.Certificate
	for _, n := range slices.Sorted(maps.Keys(s.intermediates)) {
		certs = append(certs, s.intermediates[n])
	}
	for _, c := range s.Crossed {
		certs = append(certs, s.crosses[c])
	}
	return certs
}

// rootOf returns the number of the root that signed an intermediate, or 0.
func (s *snapshot) rootOf(intermediate *x509.Certificate) int {
	for n, root := range s.roots {
		if bytes.Equal(intermediate.AuthorityKeyId, root.SubjectKeyId) {
			return n
		}
	}
	return 0
}

// load returns the state that is in force. Where state.json is as it was, what
// was read then is taken.
func (ca *CA) load() (*snapshot, error) {
	raw, err := os.ReadFile(filepath.Join(ca.Dir, stateFile))
	if err != nil {
		return nil, err
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.current != nil && bytes.Equal(ca.current.raw, raw) {
		return ca.current, nil
	}
	state, err := parseState(raw)
	if err != nil {
		return nil, err
	}
	s, err := ca.read(state)
	if err != nil {
		return nil, err
	}
	s.raw = raw
	ca.current = s
	return s, nil
}

// read reads the certificates that a state names. It fails closed: with files of
// two CAs nothing is signed.
func (ca *CA) read(st state) (*snapshot, error) {
	s := &snapshot{state: st, roots: map[int]*x509.Certificate{}, intermediates: map[int]*x509.Certificate{}, crosses: map[cross]*x509.Certificate{}}
	roots := slices.Clone(st.Trusted)
	for _, c := range st.Crossed {
		roots = append(roots, c.Root)
	}
	for _, n := range roots {
		cert, err := readOne(filepath.Join(ca.Dir, rootsDir, certFile(n)))
		if err != nil {
			return nil, err
		}
		if KindOf(cert) != Root {
			return nil, fmt.Errorf("%s in %s is not the certificate of a root", certFile(n), rootsDir)
		}
		s.roots[n] = cert
	}
	for _, c := range st.Crossed {
		cert, err := readOne(filepath.Join(ca.Dir, rootsDir, crossFile(c.Root, c.By)))
		if err != nil {
			return nil, err
		}
		by, ok := s.roots[c.By]
		if !ok || cert.CheckSignatureFrom(by) != nil || !samePublicKey(cert.PublicKey, s.roots[c.Root].PublicKey) {
			return nil, fmt.Errorf("%s in %s was not signed by %s", crossFile(c.Root, c.By), rootsDir, certFile(c.By))
		}
		s.crosses[c] = cert
	}
	numbers := st.Intermediates
	if st.Next != nil {
		numbers = append(slices.Clone(numbers), st.Next.Intermediate)
	}
	for _, n := range numbers {
		cert, err := readOne(filepath.Join(ca.Dir, intermediatesDir, certFile(n)))
		if err != nil {
			return nil, err
		}
		by := s.rootOf(cert)
		if by == 0 || cert.CheckSignatureFrom(s.roots[by]) != nil {
			return nil, fmt.Errorf("%s in %s was not signed by a root of this CA", certFile(n), intermediatesDir)
		}
		s.intermediates[n] = cert
	}
	return s, s.consistent()
}

// consistent refuses a state whose numbers do not fit each other.
func (s *snapshot) consistent() error {
	for _, p := range []*pair{&s.Signs, s.Next, s.Last} {
		if p == nil {
			continue
		}
		if root, intermediate := s.roots[p.Root], s.intermediates[p.Intermediate]; root == nil || intermediate == nil || s.rootOf(intermediate) != p.Root {
			return fmt.Errorf("intermediate %d was not signed by root %d", p.Intermediate, p.Root)
		}
	}
	if s.Last != nil && s.crosses[cross{s.Signs.Root, s.Last.Root}] == nil {
		return errors.New("the cross-signed root is missing")
	}
	return nil
}

func readOne(path string) (*x509.Certificate, error) {
	certs, err := live.ReadCertificates(path)
	if err != nil {
		return nil, err
	}
	if len(certs) != 1 {
		return nil, fmt.Errorf("%s holds %d certificates instead of one", path, len(certs))
	}
	return certs[0], nil
}
