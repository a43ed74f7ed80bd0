package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/daemon/audit"
	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

// handshakesPerPair is how many each side makes in a row: some 50 ms of them.
const handshakesPerPair = 25

// BenchmarkHandshakes compares the handshakes of the daemon, with 10,000 revoked
// certificates and every look that it takes at a client, with those of a bare
// crypto/tls server of the same settings: full ones, TLS 1.3, certificates on both
// sides.
func BenchmarkHandshakes(b *testing.B) {
	ca := pkitest.New(b)
	server := ca.Server(b, "127.0.0.1")
	files := server.WriteFiles(b, b.TempDir(), ca)
	files.CRL = filepath.Join(filepath.Dir(files.CA), "crl.pem")
	serials := make([]*big.Int, 10_000)
	for i := range serials {
		serials[i] = big.NewInt(int64(i + 1))
	}
	if err := os.WriteFile(files.CRL, ca.CRL(b, serials...), 0o600); err != nil {
		b.Fatal(err)
	}
	loaded, err := files.Load(live.Server, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	generation := &intercept.Generation{Number: 1, Trust: loaded}
	ours := newConnections(func() *intercept.Generation { return generation }, audit.New(io.Discard), func(error) {}, time.Now, log)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Root)
	bare := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{server.Cert}, NextProtos: []string{"h2"},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, SessionTicketsDisabled: true,
	}
	client := ca.ClientConfig(ca.Client(b, "alice"))
	client.ServerName, client.NextProtos = "127.0.0.1", []string{"h2"}

	ourAddress := serve(b, func(conn net.Conn) (net.Conn, error) {
		secured, _, err := ours.ServerHandshake(conn)
		return secured, err
	})
	bareAddress := serve(b, func(conn net.Conn) (net.Conn, error) {
		secured := tls.Server(conn, bare)
		return secured, secured.Handshake()
	})
	var ratios, rates []float64
	for b.Loop() {
		// Turn about, so that neither always comes first.
		a, z := ourAddress, bareAddress
		if len(ratios)%2 == 1 {
			a, z = z, a
		}
		first, second := shake(b, a, client), shake(b, z, client)
		if len(ratios)%2 == 1 {
			first, second = second, first
		}
		ratios = append(ratios, second.Seconds()/first.Seconds())
		rates = append(rates, handshakesPerPair/first.Seconds())
	}
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(rates), "handshakes/s")
	_, _ = fmt.Fprintf(os.Stdout, "figure: handshake_ratio %.3f x\n", median(ratios))
}

// serve answers each handshake with one byte, for which the client waits: in TLS
// 1.3 it is done before the server has looked at it.
func serve(b *testing.B, handshake func(net.Conn) (net.Conn, error)) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			secured, err := handshake(conn)
			if err != nil {
				_ = conn.Close()
				continue
			}
			_, _ = secured.Write([]byte{1})
			_, _ = secured.Read(make([]byte, 1)) // until the client is gone
			_ = secured.Close()
		}
	}()
	return listener.Addr().String()
}

func shake(b *testing.B, address string, config *tls.Config) time.Duration {
	b.Helper()
	start := time.Now()
	for range handshakesPerPair {
		conn, err := tls.Dial("tcp", address, config)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			b.Fatal(err)
		}
		_ = conn.Close()
	}
	return time.Since(start)
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}
