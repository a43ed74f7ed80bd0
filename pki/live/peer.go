package live

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/footprintai/containarium/pki/identity"
)

// Why a certificate is refused; each error also says which certificate and why.
var (
	ErrExpired     = errors.New("expired")
	ErrNotYetValid = errors.New("not yet valid")
	ErrOtherCA     = errors.New("another CA")
	ErrRevoked     = errors.New("revoked")
	// ErrStale is a revocation list that says nothing, since it is out of date,
	// damaged or signed by nobody who is trusted.
	ErrStale = errors.New("no usable revocation list")
)

// maxSerial is how long a serial number may be, in octets: RFC 5280, section
// 4.1.2.2.
const maxSerial = 20

type (
	// keyID is the SHA-256 of a SubjectPublicKeyInfo. A CA is told by its key: names
	// are what anybody may choose.
	keyID [sha256.Size]byte
	// serialNumber is right-aligned.
	serialNumber [maxSerial]byte
)

// link is a certificate of a chain and who issued it.
type link struct {
	issuer   keyID
	serial   serialNumber
	notAfter time.Time
	name     string
	// What a list that can not be verified says of its issuer.
	issuerSubject, issuerKeyID []byte
	issuerName                 string
}

// Peer is who holds the other end of a connection, with what it takes to decide
// about it again, as often as a call comes in. It never changes.
type Peer struct {
	identity.Identity
	chains [][]link
}

// NewPeer looks at a connection after its handshake, on the server's side. It
// fails closed, as identity.FromVerified does.
func NewPeer(state tls.ConnectionState) (*Peer, error) {
	id, err := identity.FromVerified(state)
	if err != nil {
		return nil, err
	}
	p := &Peer{Identity: id}
	for _, chain := range state.VerifiedChains {
		links, err := linksOf(chain)
		if err != nil {
			return nil, err
		}
		p.chains = append(p.chains, links)
	}
	return p, nil
}

// linksOf leaves the last certificate of the chain out: a root has no issuer.
func linksOf(chain []*x509.Certificate) ([]link, error) {
	if len(chain) < 2 {
		return nil, errors.New("a certificate without an issuer")
	}
	links := make([]link, 0, len(chain)-1)
	for i, cert := range chain[:len(chain)-1] {
		serial, ok := serialOf(cert.SerialNumber)
		if !ok {
			return nil, fmt.Errorf("the serial number of %q is longer than %d octets", cert.Subject.CommonName, maxSerial)
		}
		issuer := chain[i+1]
		links = append(links, link{
			issuer: keyOf(issuer), serial: serial, notAfter: cert.NotAfter, name: cert.Subject.CommonName,
			issuerSubject: issuer.RawSubject, issuerKeyID: issuer.SubjectKeyId, issuerName: issuer.Subject.CommonName,
		})
	}
	return links, nil
}

func keyOf(cert *x509.Certificate) keyID { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

func serialOf(n *big.Int) (s serialNumber, ok bool) {
	if n == nil || n.BitLen() > 8*maxSerial {
		return s, false
	}
	n.FillBytes(s[:])
	return s, true
}

// issuer is what is known of a CA by its key.
type issuer struct {
	// root is nil where the CA is none that is trusted by itself.
	root  *x509.Certificate
	lists []*list
}

// index makes the map that judge looks things up in.
func (l *Loaded) index() {
	l.issuers = map[keyID]*issuer{}
	at := func(key keyID) *issuer {
		if l.issuers[key] == nil {
			l.issuers[key] = &issuer{}
		}
		return l.issuers[key]
	}
	for _, root := range l.Roots {
		// Of two certificates for one key, the later counts.
		if i := at(keyOf(root)); i.root == nil || root.NotAfter.After(i.root.NotAfter) {
			i.root = root
		}
	}
	if l.CRLs == nil {
		return
	}
	for _, list := range l.CRLs.lists {
		if list.problem == nil {
			i := at(list.issuer)
			i.lists = append(i.lists, list)
		}
	}
}

// Accepts decides about a connection that is open, at its handshake and whenever
// it is used again. It fails closed. A chain is good where none of its
// certificates has expired or is revoked, every list about them is usable, and
// it leads to a root that is trusted now; one good chain is enough. An issuer
// that no list is about revoked nobody.
//
// It allocates nothing unless it refuses. The error is one of ErrExpired,
// ErrRevoked, ErrStale and ErrOtherCA.
func (l *Loaded) Accepts(p *Peer, now time.Time) error {
	if l == nil || p == nil {
		return ErrOtherCA
	}
	var links []link
	worst := verdict{kind: otherCA}
	for i := range p.chains {
		v := l.judge(p.chains[i], now)
		if v.kind == fine {
			return nil
		}
		if links == nil || worst.kind == otherCA {
			links, worst = p.chains[i], v
		}
	}
	if links == nil {
		return ErrOtherCA
	}
	return refusal(fmt.Sprintf("the certificate of %q", p.CommonName), links, worst)
}

type verdictKind int

const (
	fine verdictKind = iota
	otherCA
	expired
	rootExpired
	revoked
	unknown
)

// verdict is about the certificate at that place of a chain; what else is set
// depends on its kind.
type verdict struct {
	kind  verdictKind
	at    int
	entry revocation
	list  *list
	why   error
	root  *x509.Certificate
}

// judge follows a chain up to the first CA whose key is a trusted root's: a root
// that another has cross-signed is trusted by itself, whatever became of the
// other. The zero time is before every date.
func (l *Loaded) judge(links []link, now time.Time) verdict {
	for i := range links {
		link := &links[i]
		if now.After(link.notAfter) {
			return verdict{kind: expired, at: i}
		}
		issuer := l.issuers[link.issuer]
		if l.CRLs != nil {
			if v := l.CRLs.judge(link, issuer, now); v.kind != fine {
				v.at = i
				return v
			}
		}
		if issuer == nil || issuer.root == nil {
			continue
		}
		if now.After(issuer.root.NotAfter) {
			return verdict{kind: rootExpired, root: issuer.root}
		}
		return verdict{kind: fine}
	}
	return verdict{kind: otherCA}
}

func (c *CRLs) judge(link *link, issuer *issuer, now time.Time) verdict {
	if c.broken != nil {
		return verdict{kind: unknown, why: c.broken}
	}
	if issuer != nil {
		for _, list := range issuer.lists {
			if entry, ok := list.revoked[link.serial]; ok {
				return verdict{kind: revoked, entry: entry}
			}
		}
		for _, list := range issuer.lists {
			if now.After(list.NextUpdate) {
				return verdict{kind: unknown, list: list}
			}
		}
	}
	for _, list := range c.lists {
		if list.problem != nil && list.mayBeOf(link) {
			return verdict{kind: unknown, why: list.problem}
		}
	}
	return verdict{kind: fine}
}

// refusal puts a verdict into words; of names the leaf.
func refusal(of string, links []link, v verdict) error {
	link := links[v.at]
	if v.at > 0 {
		of = fmt.Sprintf("the CA certificate %q, above %s,", link.name, of)
	}
	switch v.kind {
	case expired:
		return fmt.Errorf("%s %w on %s", of, ErrExpired, date(link.notAfter))
	case rootExpired:
		return fmt.Errorf("the root certificate %q, above %s, %w on %s", v.root.Subject.CommonName, of, ErrExpired, date(v.root.NotAfter))
	case revoked:
		return fmt.Errorf("%s was %w on %s%s", of, ErrRevoked, date(v.entry.date()), v.entry.because())
	case unknown:
		if v.list != nil {
			return fmt.Errorf("%s can not be checked: %w", of, v.list.expired())
		}
		return fmt.Errorf("%s can not be checked: %w", of, v.why)
	default:
		last := links[len(links)-1]
		return fmt.Errorf("%s leads to %q, which is not trusted (%w)", of, last.issuerName, ErrOtherCA)
	}
}

// date prints an instant to the minute, in UTC, as every tool of the project does.
func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// mayBeOf reports whether a list that can not be trusted could be of the link's
// issuer, going by what it says of itself.
func (l *list) mayBeOf(link *link) bool {
	if !slices.Equal(l.subject, link.issuerSubject) {
		return false
	}
	// Two CAs may have one name, as the roots before and after a rollover.
	return len(l.keyID) == 0 || len(link.issuerKeyID) == 0 || slices.Equal(l.keyID, link.issuerKeyID)
}
