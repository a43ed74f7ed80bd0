package limit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const alice, bob, mallory = "192.0.2.1", "192.0.2.2", "198.51.100.1"

func TestMaxConnections(t *testing.T) {
	k := newKit(t, Config{Connections: 20, PerAddress: 20})
	var conns []*Conn
	for i := range 20 {
		conns = append(conns, k.known(fmt.Sprintf("192.0.2.%d", i)))
	}
	if k.connect("192.0.2.100") != nil {
		t.Error("one more than max_connections was let in")
	}
	k.want(Counts{Open: 20, Accepted: 20, Full: 1})
	_ = conns[7].Close()
	conns[7] = k.known("192.0.2.100")
	if conns[7] == nil {
		t.Error("when there was room again it was refused")
	}
	k.want(Counts{Open: 20, Accepted: 21, Full: 1})
	k.drain(conns...)
}

// TestStrangersMakeRoom: where strangers have taken what is left of
// max_connections, a caller takes the place of one of them.
func TestStrangersMakeRoom(t *testing.T) {
	k := newKit(t, Config{Connections: 20, PerAddress: 20})
	var conns []*Conn
	for range 20 {
		conns = append(conns, k.connect(mallory))
	}
	mine := k.known(alice)
	if mine == nil {
		t.Error("no room for a caller among strangers")
	}
	if k.connect(mallory) == nil {
		// Its oldest is young: nobody makes room for it.
		k.want(Counts{Open: 20, Handshaking: 19, Accepted: 21, Evicted: 1, Full: 1})
	}
	k.drain(append(conns, mine)...)
}

func TestMaxConnectionsPerAddress(t *testing.T) {
	k := newKit(t, Config{Connections: 100, PerAddress: 10})
	var conns []*Conn
	for range 12 {
		conns = append(conns, k.known("2001:db8::1"))
	}
	conns = append(conns, k.known("2001:db8::2")) // the same /64
	k.want(Counts{Open: 10, Accepted: 10, AddressFull: 3})
	conns = append(conns, k.known("2001:db8:1::1"), k.known(alice))
	k.want(Counts{Open: 12, Accepted: 12, AddressFull: 3})
	k.drain(conns...)
}

// TestHandshakesOfOneAddress: 10,000 half-open connections of one address take
// its share and no more, and everybody else gets in.
// Listeners that are beside each other have one set of bounds.
func TestBeside(t *testing.T) {
	k := newKit(t, Config{Connections: 100, PerAddress: 10})
	other := &kit{Listener: k.Beside(newNetwork()), clock: k.clock, t: t, logs: k.logs}
	var conns []*Conn
	for range 6 {
		conns = append(conns, k.known(alice), other.known(alice))
	}
	k.want(Counts{Open: 10, Accepted: 10, AddressFull: 2})
	other.want(Counts{Open: 10, Accepted: 10, AddressFull: 2})
	k.drain(conns...)
}

func TestHandshakesOfOneAddress(t *testing.T) {
	k := newKit(t, Config{newPerSecond: 1_000_000, newBurst: 1_000_000})
	var conns []*Conn
	for i := range 10_000 {
		conns = append(conns, k.connect(mallory))
		if i%1000 == 0 {
			good := k.known(alice)
			if good == nil {
				t.Fatalf("after %d: a caller from elsewhere was refused", i)
			}
			conns = append(conns, good)
		}
	}
	k.want(Counts{Open: 64 + 10, Handshaking: 64, Accepted: 64 + 10, AddressHandshakes: 10_000 - 64})
	k.drain(conns...)
}

// TestHandshakesOfManyAddresses: when they use up all handshakes, a newcomer
// takes the place of the greediest, the oldest first.
func TestHandshakesOfManyAddresses(t *testing.T) {
	k := newKit(t, Config{handshakes: 100, handshakesPerAddress: 30})
	var conns []*Conn
	first := k.connect("198.51.100.3")
	conns = append(conns, first)
	for i := range 99 {
		k.forward(time.Millisecond)
		conns = append(conns, k.connect(fmt.Sprintf("198.51.100.%d", i%4))) // 25 each
	}
	good := k.connect(alice)
	if good == nil {
		t.Fatal("a caller from elsewhere was refused")
	}
	if !first.gone {
		t.Error("the oldest of the greediest is still there")
	}
	if k.connect("198.51.100.2") != nil {
		t.Error("one of the greedy got another")
	}
	k.want(Counts{Open: 100, Handshaking: 100, Accepted: 101, Evicted: 1, HandshakesFull: 1})
	good.Done()
	k.want(Counts{Open: 100, Handshaking: 99, Accepted: 101, Evicted: 1, HandshakesFull: 1})
	k.drain(append(conns, good)...)
}

// TestOneEach: among as many addresses as there are handshakes, only one that
// stalls makes room.
func TestOneEach(t *testing.T) {
	k := newKit(t, Config{handshakes: 100})
	var conns []*Conn
	for i := range 100 {
		conns = append(conns, k.connect(fmt.Sprintf("198.51.100.%d", i)))
		k.forward(time.Millisecond)
	}
	if k.connect(alice) != nil {
		t.Error("a young handshake made room")
	}
	k.forward(stalled - 100*time.Millisecond)
	conns = append(conns, k.connect(alice))
	if conns[100] == nil || !conns[0].gone || conns[1].gone {
		t.Errorf("let in: %v, in place of the oldest: %v", conns[100] != nil, conns[0].gone)
	}
	k.want(Counts{Open: 100, Handshaking: 100, Accepted: 101, Evicted: 1, HandshakesFull: 1})
	k.drain(conns...)
}

// TestStalledMakesRoom: of one address, those that take too long go first, and
// those that came first finish where all are honest.
func TestStalledMakesRoom(t *testing.T) {
	k := newKit(t, Config{handshakesPerAddress: 3})
	conns := []*Conn{k.connect(alice), k.connect(alice), k.connect(alice)}
	k.forward(stalled - 1)
	if k.connect(alice) != nil {
		t.Error("a young handshake made room")
	}
	k.forward(1)
	conns = append(conns, k.connect(alice))
	if conns[3] == nil || !conns[0].gone || conns[1].gone {
		t.Errorf("let in: %v, in place of the oldest: %v", conns[3] != nil, conns[0].gone)
	}
	if n, err := conns[0].Write([]byte("x")); err == nil {
		t.Errorf("the one that made room still takes %d bytes", n)
	}
	conns[1].Done()
	conns = append(conns, k.connect(alice))
	k.want(Counts{Open: 4, Handshaking: 3, Accepted: 5, Evicted: 1, AddressHandshakes: 1})
	k.drain(conns...)
}

// TestStalledMakesRoomInItsAddress: also where the address has all that it may.
func TestStalledMakesRoomInItsAddress(t *testing.T) {
	k := newKit(t, Config{Connections: 100, PerAddress: 3})
	conns := []*Conn{k.known(alice), k.known(alice), k.connect(alice)}
	k.forward(stalled)
	conns = append(conns, k.known(alice))
	k.want(Counts{Open: 3, Accepted: 4, Evicted: 1})
	if k.connect(alice) != nil {
		t.Error("a known connection made room")
	}
	k.drain(conns...)
}

// TestLastMakesRoomForItself: the address is forgotten with its last connection,
// and must be there for the next.
func TestLastMakesRoomForItself(t *testing.T) {
	k := newKit(t, Config{handshakesPerAddress: 1})
	conns := []*Conn{k.connect(alice)}
	k.forward(stalled)
	conns = append(conns, k.connect(alice))
	k.want(Counts{Open: 1, Handshaking: 1, Accepted: 2, Evicted: 1})
	k.drain(conns...)
}

func TestConnectionsPerSecond(t *testing.T) {
	k := newKit(t, Config{newPerSecond: 10, newBurst: 20})
	open := func(address string, n int) (in int) {
		for range n {
			if conn := k.known(address); conn != nil {
				in++
				_ = conn.Close()
			}
		}
		return in
	}
	if got := open(mallory, 100); got != 20 {
		t.Errorf("at once: %d, want 20", got)
	}
	k.forward(time.Second)
	if got := open(mallory, 100); got != 10 {
		t.Errorf("a second later: %d, want 10", got)
	}
	if got := open(alice, 20); got != 20 {
		t.Errorf("another address: %d, want 20", got)
	}
	k.want(Counts{Accepted: 50, TooFast: 170})
	k.empty()
}

// TestAllowFrom: closed before a byte is read or written, over real TCP.
func TestAllowFrom(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	allowed, err := ParseAllowFrom([]string{"127.0.0.2"})
	if err != nil {
		t.Fatal(err)
	}
	k := newKit(t, Config{AllowFrom: allowed})
	k.Listener.Listener = inner
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			conn, err := k.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	dial := func(source string) (net.Conn, error) {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 10 * time.Second}
		return dialer.DialContext(t.Context(), "tcp", inner.Addr().String())
	}
	stranger, err := dial("127.0.0.3")
	if err == nil { // otherwise the end was there first
		defer stranger.Close() //nolint:errcheck // the end of a test
		_ = stranger.SetReadDeadline(time.Now().Add(10 * time.Second))
		var n int
		if n, err = stranger.Read(make([]byte, 1)); n != 0 {
			t.Error("from elsewhere: something was said")
		}
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("from elsewhere: %v, want a reset", err)
	}
	caller, err := dial("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close() //nolint:errcheck // the end of a test
	conn := <-accepted
	if got := addrOf(conn.RemoteAddr()).String(); got != "127.0.0.2" {
		t.Errorf("let in: %s", got)
	}
	k.want(Counts{Open: 1, Handshaking: 1, Accepted: 1, NotAllowed: 1})
	_ = conn.Close()
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	<-accepted
	k.empty()
}

// TestLog: one line for each reason in a while, with the number that it stands
// for.
func TestLog(t *testing.T) {
	allowed, err := ParseAllowFrom([]string{alice, bob})
	if err != nil {
		t.Fatal(err)
	}
	k := newKit(t, Config{AllowFrom: allowed, Connections: 16, PerAddress: 1})
	for range 1000 {
		k.connect(mallory)
	}
	conn := k.known(alice)
	k.connect(alice)
	if diff := cmp.Diff([]string{messages[notAllowed], messages[addressFull]}, warnings(k.logs)); diff != "" {
		t.Error(diff)
	}
	k.forward(logEvery)
	k.connect(mallory)
	if last := k.logs.LastEntry(); last.Message != messages[notAllowed] || last.Data["count"] != uint64(1000) || last.Data["peer"] != mallory+":1" {
		t.Errorf("the next line: %q %v, want it to stand for 1000", last.Message, last.Data)
	}
	k.drain(conn)
}

// TestDrained: whatever order connections end in, none is counted at the end.
func TestDrained(t *testing.T) {
	k := newKit(t, Config{Connections: 40, PerAddress: 10, handshakes: 24, handshakesPerAddress: 6, newPerSecond: 1_000_000, newBurst: 1_000_000})
	var all, full sync.WaitGroup
	full.Add(16)
	for range 16 {
		all.Go(func() {
			var mine []net.Conn
			for range 10 {
				if conn := k.admit(from(fmt.Sprintf("192.0.2.%d", rand.IntN(6)))); conn != nil {
					mine = append(mine, conn)
				}
			}
			full.Done()
			full.Wait() // all of them together are too many
			for range 500 {
				if conn := k.admit(from(fmt.Sprintf("192.0.2.%d", rand.IntN(6)))); conn != nil {
					mine = append(mine, conn)
				}
				k.forward(10 * time.Millisecond)
				if n := len(mine); n > 0 && rand.IntN(2) == 0 {
					if c, ok := mine[rand.IntN(n)].(*Conn); ok {
						c.Done()
					}
				}
				if n := len(mine); n > 10 || n > 0 && rand.IntN(3) == 0 {
					_ = mine[0].Close()
					mine = mine[1:]
				}
				if c := k.Counts(); c.Open > 40 || c.Handshaking > 24 || c.Open < 0 || c.Handshaking < 0 {
					t.Errorf("%+v", c)
				}
			}
			for _, conn := range mine {
				_ = conn.Close()
			}
		})
	}
	all.Wait()
	k.empty()
	if c := k.Counts(); c.AddressHandshakes+c.HandshakesFull == 0 {
		t.Errorf("this met no bound: %+v", c)
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{CheckConnections(Connections, PerAddress), ""},
		{CheckConnections(MinConnections, 1), ""},
		{CheckConnections(15, 1), "max_connections must be between 16 and 50000"},
		{CheckConnections(50_001, 1), "max_connections must be between"},
		{CheckConnections(100, 0), "max_connections_per_address must be between 1 and max_connections (100)"},
		{CheckConnections(100, 101), "max_connections_per_address must be"},
		{CheckRate(Rate, Burst), ""},
		{CheckRate(0, Burst), "rate must be between 1 and 10000"},
		{CheckRate(10_001, Burst), "rate must be"},
		{CheckRate(Rate, 9), "burst must be between 10 and 100000"},
		{CheckRate(Rate, 100_001), "burst must be"},
	} {
		if test.want == "" && test.err != nil || test.want != "" && (test.err == nil || !strings.Contains(test.err.Error(), test.want)) {
			t.Errorf("got %v, want %q", test.err, test.want)
		}
	}
}
