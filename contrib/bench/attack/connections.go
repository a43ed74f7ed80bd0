package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// halfOpen keeps many connections that say nothing, or the begin of a handshake and
// then a byte now and then. What the daemon closes is opened again.
func (a *attacker) halfOpen(ctx context.Context) {
	n := a.connections
	if most := moreFiles() - 100; n > most {
		a.most(fmt.Sprintf("scaled down for want of files from %d to", n), most)
		n = most
	}
	var open atomic.Int64
	// 4,000 a second: all are there after a few seconds.
	pace := make(chan struct{})
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			for range 20 {
				select {
				case pace <- struct{}{}:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for {
				select {
				case <-pace:
				case <-ctx.Done():
					return
				}
				conn, err := a.dial(ctx)
				if err != nil {
					a.count("refused")
					continue
				}
				a.count("made")
				a.most("open at once", int(open.Add(1)))
				loris(ctx, conn, i%2 == 0)
				open.Add(-1)
			}
		})
	}
	all.Wait()
}

// loris holds a connection until the daemon closes it.
func loris(ctx context.Context, conn net.Conn, talks bool) {
	defer conn.Close()                                          //nolint:errcheck // the attacker's end
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // an end that waits for no tick
	if talks {
		_, _ = conn.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}) // the begin of a ClientHello
	}
	buf := make([]byte, 1)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, err := conn.Read(buf)
		if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() { //nolint:errorlint // as it is
			if err != nil {
				return
			}
		}
		if talks {
			if _, err := conn.Write(buf); err != nil {
				return
			}
		}
	}
}

// churn makes connections and closes them, half of them after a handshake that fails.
func (a *attacker) churn(ctx context.Context) {
	var n atomic.Int64
	workers(ctx, 32, func() bool {
		if n.Add(1)%2 == 0 {
			conn, err := a.dial(ctx)
			if err != nil {
				a.count("refused")
				return false
			}
			a.count("made")
			_ = conn.Close()
			return true
		}
		conn, err := a.secure(ctx, a.foreign)
		if err != nil {
			a.count("no handshake")
			return false
		}
		// TLS 1.3: the client learns with the first read that it was refused.
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, _ = conn.Read(make([]byte, 1))
		a.count("handshakes")
		_ = conn.Close()
		return true
	})
}

// selfSigned is a certificate that the daemon does not trust.
func selfSigned() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "admin"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
