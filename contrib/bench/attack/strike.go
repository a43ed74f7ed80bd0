package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// strikeVerb makes this program the attacker.
const strikeVerb = "strike"

// attack is one way to attack.
type attack struct {
	name, what string
	as         string // the Common Name of the attacker's certificate
	strike     func(*attacker, context.Context)
}

var attacks = []attack{
	{"half-open", "connections that never finish their handshake", "guest", (*attacker).halfOpen},
	{"churn", "connections made and closed, half of them after a handshake with a certificate of a foreign CA", "guest", (*attacker).churn},
	{"denied", "calls that are denied, of one identity, as fast as they go", "guest", (*attacker).denied},
	{"giant-messages", "messages of 8 MiB, and of 200 KiB, which are not too long", "guest", (*attacker).giantMessages},
	{"giant-headers", "headers without end", "guest", (*attacker).giantHeaders},
	{"slow-reads", "lists that are asked for and never read", "reader", (*attacker).slowReads},
}

// attacker is the process that attacks.
type attacker struct {
	target      string
	connections int
	tls         *tls.Config
	foreign     *tls.Config
	dialed      atomic.Int64

	mu  sync.Mutex
	did tally
}

// tally counts what an attacker did, by its name.
type tally map[string]int

func (t tally) String() string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(t)) {
		parts = append(parts, fmt.Sprintf("%s %d", what, t[what]))
	}
	return strings.Join(parts, ", ")
}

func (a *attacker) count(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.did[what]++
}

func (a *attacker) most(what string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.did[what] = max(a.did[what], n)
}

// strike attacks, ends by itself, and prints its tally.
func strike(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) < 2 {
		return errors.New("an attacker has a name")
	}
	at := slices.IndexFunc(attacks, func(a attack) bool { return a.name == args[1] })
	if at < 0 {
		return fmt.Errorf("there is no attack %q", args[1])
	}
	flags := flag.NewFlagSet(strikeVerb, flag.ContinueOnError)
	flags.SetOutput(stderr)
	a := &attacker{did: tally{}}
	var cert, key, ca string
	var length time.Duration
	flags.StringVar(&a.target, "target", "", "")
	flags.IntVar(&a.connections, "half-open", 0, "")
	flags.StringVar(&cert, "cert", "", "")
	flags.StringVar(&key, "key", "", "")
	flags.StringVar(&ca, "ca", "", "")
	flags.DurationVar(&length, "for", 0, "")
	if err := flags.Parse(args[2:]); err != nil {
		return err
	}
	// Nothing but this machine is ever attacked.
	host, _, err := net.SplitHostPort(a.target)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%q is not on the loopback interface", a.target)
	}
	if err := a.load(cert, key, ca); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		a.last(ctx, length)
	}()
	attacks[at].strike(a, ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	return json.NewEncoder(stdout).Encode(a.did)
}

// last waits for the end of an attack: the time is over and a blow was struck,
// which a busy machine may not have let it do in that time.
func (a *attacker) last(ctx context.Context, length time.Duration) {
	timer := time.NewTimer(length)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		a.mu.Lock()
		struck := len(a.did) > 0
		a.mu.Unlock()
		if struck {
			return
		}
		timer.Reset(10 * time.Millisecond)
	}
}

func (a *attacker) load(cert, key, ca string) error {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return err
	}
	roots, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	a.tls = &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		RootCAs:      pool,
		ServerName:   "127.0.0.1",
		NextProtos:   []string{"h2"},
	}
	stranger, err := selfSigned()
	if err != nil {
		return err
	}
	a.foreign = a.tls.Clone()
	a.foreign.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return stranger, nil }
	return nil
}

// sources is how many loopback addresses the attacker has; the callers have another.
const sources = 20

// dial connects from one of the attacker's addresses, in turn.
func (a *attacker) dial(ctx context.Context) (net.Conn, error) {
	source := byte(a.dialed.Add(1)%sources + 1) //nolint:gosec // at most sources
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, source)}, Timeout: 5 * time.Second}
	return dialer.DialContext(ctx, "tcp", a.target)
}

// secure is dial with a handshake.
func (a *attacker) secure(ctx context.Context, config *tls.Config) (*tls.Conn, error) {
	raw, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	_ = raw.SetDeadline(time.Now().Add(5 * time.Second))
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	_ = raw.SetDeadline(time.Time{})
	return conn, nil
}

// workers runs n of them until ctx ends. Each gives its next try up after a pause
// where it returns false, as a program does that is refused.
func workers(ctx context.Context, n int, work func() bool) {
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				if work() {
					continue
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	all.Wait()
}

// moreFiles raises the limit of open files as far as it goes, and returns it.
func moreFiles() int {
	const wanted = 1 << 16
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	// Only root may raise the higher one.
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: wanted, Max: max(limit.Max, wanted)})
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < limit.Max {
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: min(limit.Max, wanted), Max: limit.Max})
	}
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	return int(min(limit.Cur, wanted))
}
