package live

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// ServerConfig returns the configuration of a server that takes only clients
// with a certificate of the CA and an identity, and none who is revoked. At each
// handshake it goes by what current returns then, so that what is loaded anew
// counts from the next connection on. It fails closed where current returns nil. The
// protocols are those of ALPN (RFC 7301), the preferred one first.
func ServerConfig(current func() *Loaded, now func() time.Time, protocols ...string) *tls.Config {
	type built struct {
		from   *Loaded
		config *tls.Config
	}
	var last atomic.Pointer[built]
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             protocols,
		SessionTicketsDisabled: true,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			loaded := current()
			if loaded == nil {
				return nil, errors.New("no certificate is loaded")
			}
			// Two handshakes that meet here build the same one twice.
			b := last.Load()
			if b == nil || b.from != loaded {
				b = &built{from: loaded, config: loaded.serverConfig(current, now, protocols)}
				last.Store(b)
			}
			return b.config, nil
		},
	}
}

func (l *Loaded) serverConfig(current func() *Loaded, now func() time.Time, protocols []string) *tls.Config {
	return &tls.Config{
		NextProtos:   protocols,
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{l.Pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool(l.Roots),
		Time:         now,
		// A resumed session skips the check of the chain; without tickets there is
		// none to resume.
		SessionTicketsDisabled: true,
		// Runs on every handshake, after the chain was verified, and fails it. By now
		// there may be a newer list than the one that the handshake began with.
		VerifyConnection: func(state tls.ConnectionState) error {
			peer, err := NewPeer(state)
			if err != nil {
				return err
			}
			return current().Accepts(peer, now())
		},
	}
}

// ServerConfig returns the configuration of a server that goes by the files as
// they are now. Errors are those of Load.
func (f Files) ServerConfig() (*tls.Config, error) {
	loaded, err := f.Load(Server, time.Now())
	if err != nil {
		return nil, err
	}
	return loaded.serverConfig(func() *Loaded { return loaded }, time.Now, nil), nil
}

// ClientConfig returns the configuration of a client that trusts only servers
// with a certificate of the CA that is not revoked. The dialer sets ServerName;
// without one the handshake fails.
func (l *Loaded) ClientConfig(now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    pool(l.Roots),
		Time:       now,
		// With Certificates set, crypto/tls sends none where the server asks for
		// other CAs, and the server can only answer that one is required. Sent
		// always, the answer names what is wrong with it.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &l.Pair, nil
		},
		VerifyConnection: l.acceptsServer,
	}
}

// acceptsServer refuses a server that is revoked. A list that is out of date
// still counts for whom it names, but closes nothing: a client gets its lists
// from the servers, and without a server it could never fetch a newer one.
func (l *Loaded) acceptsServer(state tls.ConnectionState) error {
	if l.CRLs == nil {
		return nil
	}
	var refused error
	for _, chain := range state.VerifiedChains {
		links, err := linksOf(chain)
		if err != nil {
			return err
		}
		v := l.judge(links, time.Time{})
		if v.kind == fine {
			return nil
		}
		if refused == nil {
			refused = refusal(fmt.Sprintf("the server's certificate, %q,", chain[0].Subject.CommonName), links, v)
		}
	}
	if refused == nil {
		return errors.New("the server has no verified certificate")
	}
	return refused
}

// ClientConfig returns the configuration of a client that goes by the files as
// they are now. Errors are those of Load.
func (f Files) ClientConfig() (*tls.Config, error) {
	loaded, err := f.Load(Client, time.Now())
	if err != nil {
		return nil, err
	}
	return loaded.ClientConfig(time.Now), nil
}
