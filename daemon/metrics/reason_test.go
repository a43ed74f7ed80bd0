package metrics_test

import (
	"context"
	"crypto/tls"
	"io"
	"math/big"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/footprintai/containarium/daemon/metrics"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

// handshakes is a server that has one handshake at a time.
type handshakes struct {
	ca     *pkitest.CA
	loaded *live.Loaded
	bound  time.Duration
}

func newHandshakes(t *testing.T, ca *pkitest.CA, crls []byte) handshakes {
	t.Helper()
	files := ca.Server(t, "127.0.0.1").WriteFiles(t, t.TempDir(), ca)
	if crls != nil {
		if err := os.WriteFile(files.CRL, crls, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := files.Load(live.Server, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return handshakes{ca, loaded, time.Minute}
}

func (h handshakes) config() *tls.Config {
	return live.ServerConfig(func() *live.Loaded { return h.loaded }, time.Now, "h2")
}

// overHTTP and overGRPC are the handshakes of the two ports.
func (h handshakes) overHTTP(raw net.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), h.bound)
	defer cancel()
	return tls.Server(raw, h.config()).HandshakeContext(ctx)
}

func (h handshakes) overGRPC(raw net.Conn) error {
	if err := raw.SetDeadline(time.Now().Add(h.bound)); err != nil { // as gRPC does
		return err
	}
	_, _, err := credentials.NewTLS(h.config()).ServerHandshake(raw)
	return err
}

// of returns what comes of a handshake with a client over TCP.
func (h handshakes) of(t *testing.T, handshake func(net.Conn) error, client func(net.Conn)) error {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // one is accepted
	go func() {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return
		}
		defer conn.Close() //nolint:errcheck // the server has its own end
		client(conn)
	}()
	raw, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close() //nolint:errcheck // it is over
	return handshake(raw)
}

// as is a client that presents a pair, and stays until the server is done.
func (h handshakes) as(pair pkitest.Pair, change ...func(*tls.Config)) func(net.Conn) {
	config := h.ca.ClientConfig(pair)
	config.ServerName, config.NextProtos = "127.0.0.1", []string{"h2"}
	for _, f := range change {
		f(config)
	}
	return func(raw net.Conn) {
		conn := tls.Client(raw, config)
		_ = conn.Handshake()
		_, _ = io.Copy(io.Discard, raw)
	}
}

// says is a client that speaks no TLS.
func says(words string, stays bool) func(net.Conn) {
	return func(raw net.Conn) {
		_, _ = io.WriteString(raw, words)
		if stays {
			_, _ = io.Copy(io.Discard, raw)
		}
	}
}

// resets is a client that breaks its connection off.
func resets(raw net.Conn) {
	if conn, ok := raw.(*net.TCPConn); ok {
		_ = conn.SetLinger(0)
	}
}

func TestReasonsOfHandshakes(t *testing.T) {
	ca := pkitest.New(t)
	good := ca.Client(t, "alice")
	plain := newHandshakes(t, ca, nil)
	listed := newHandshakes(t, ca, ca.CRL(t, good.Leaf.SerialNumber))
	stale := newHandshakes(t, ca, ca.CRLs(t, pkitest.List{ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: time.Now().Add(-time.Hour)}))
	hasty := plain
	hasty.bound = 20 * time.Millisecond
	type attempt struct {
		server handshakes
		client func(net.Conn)
		want   string
	}
	attempts := map[string]attempt{
		"a good client":       {plain, plain.as(good), "ok"},
		"revoked":             {listed, listed.as(good), "revoked"},
		"another is revoked":  {listed, listed.as(ca.Client(t, "bob")), "ok"},
		"a stale list":        {stale, stale.as(good), "revocation_unknown"},
		"no certificate":      {plain, plain.as(pkitest.Pair{}), "no_certificate"},
		"TLS 1.2":             {plain, plain.as(good, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), "protocol"},
		"a client's refusal":  {plain, plain.as(good, func(c *tls.Config) { c.RootCAs = pkitest.New(t).Pool() }), "protocol"},
		"another ALPN":        {plain, plain.as(good, func(c *tls.Config) { c.NextProtos = []string{"smtp"} }), "protocol"},
		"plain HTTP":          {plain, says("GET /metrics HTTP/1.1\r\nHost: jump-1\r\n\r\n", true), "protocol"},
		"nothing":             {plain, says("", false), "ended"},
		"half a record":       {plain, says("\x16\x03\x01\x02", false), "ended"},
		"a reset":             {plain, resets, "ended"},
		"silence":             {hasty, says("", true), "timeout"},
		"silence in a record": {hasty, says("\x16\x03\x01\x02", true), "timeout"},
	}
	// What Bad makes, and is not named here, has no identity.
	wants := map[string]string{
		"other CA": "unknown_ca", "self-signed": "unknown_ca", "expired": "expired", "not yet valid": "expired",
		"server certificate": "not_a_client",
	}
	for what, pair := range ca.Bad(t) {
		want := wants[what]
		if want == "" {
			want = "other"
		}
		attempts[what] = attempt{plain, plain.as(pair), want}
	}
	for what, a := range attempts {
		for port, handshake := range map[string]func(net.Conn) error{"http": a.server.overHTTP, "grpc": a.server.overGRPC} {
			t.Run(port+" "+what, func(t *testing.T) {
				err := a.server.of(t, handshake, a.client)
				if got := metrics.Reason(err); got != a.want {
					t.Errorf("%q, want %q: %v (%T)", got, a.want, err, err)
				}
			})
		}
	}
}

// What a connection is looked at for once more, after its handshake.
func TestReasonsAfterHandshakes(t *testing.T) {
	ca := pkitest.New(t)
	h := newHandshakes(t, ca, nil)
	good := ca.Client(t, "alice")
	var peer *live.Peer
	err := h.of(t, func(raw net.Conn) error {
		conn := tls.Server(raw, h.config())
		err := conn.Handshake()
		if err == nil {
			peer, err = live.NewPeer(conn.ConnectionState())
		}
		return err
	}, h.as(good))
	if err != nil {
		t.Fatal(err)
	}
	for want, loaded := range map[string]*live.Loaded{
		"ok":                 h.loaded,
		"unknown_ca":         newHandshakes(t, pkitest.New(t), nil).loaded,
		"revoked":            newHandshakes(t, ca, ca.CRL(t, good.Leaf.SerialNumber)).loaded,
		"revocation_unknown": newHandshakes(t, ca, ca.CRLs(t, pkitest.List{Revoked: []*big.Int{big.NewInt(7)}, BadlySigned: true})).loaded,
	} {
		if err := loaded.Accepts(peer, time.Now()); metrics.Reason(err) != want {
			t.Errorf("%q, want %q: %v", metrics.Reason(err), want, err)
		}
	}
	if err := h.loaded.Accepts(peer, time.Now().Add(2*time.Hour)); metrics.Reason(err) != "expired" {
		t.Errorf("%q, want expired: %v", metrics.Reason(err), err)
	}
}

// A handshake that is closed to make room for others.
func TestReasonOfAnEviction(t *testing.T) {
	h := newHandshakes(t, pkitest.New(t), nil)
	for port, handshake := range map[string]func(net.Conn) error{"http": h.overHTTP, "grpc": h.overGRPC} {
		err := h.of(t, func(raw net.Conn) error {
			go func() { _ = raw.Close() }()
			return handshake(raw)
		}, says("", true))
		if metrics.Reason(err) != "ended" {
			t.Errorf("%s: %q, want ended: %v", port, metrics.Reason(err), err)
		}
	}
}

// A write to who is gone already, which only a race brings about.
func TestReasonOfABrokenPipe(t *testing.T) {
	err := &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}
	if metrics.Reason(err) != "ended" {
		t.Errorf("%q, want ended: %v", metrics.Reason(err), err)
	}
}

// gRPC takes nobody who does not ask for HTTP/2.
func TestReasonWithoutALPN(t *testing.T) {
	ca := pkitest.New(t)
	h := newHandshakes(t, ca, nil)
	client := h.as(ca.Client(t, "alice"), func(c *tls.Config) { c.NextProtos = nil })
	for want, handshake := range map[string]func(net.Conn) error{"ok": h.overHTTP, "protocol": h.overGRPC} {
		if err := h.of(t, handshake, client); metrics.Reason(err) != want {
			t.Errorf("%q, want %q: %v", metrics.Reason(err), want, err)
		}
	}
}
