package daemon

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/daemon/audit"
	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

// desk is a registry with a generation that a test replaces.
type desk struct {
	connections
	ca         *pkitest.CA
	generation *intercept.Generation
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{ca: pkitest.New(t)}
	files := d.ca.Server(t, "127.0.0.1").WriteFiles(t, t.TempDir(), d.ca)
	loaded, err := files.Load(live.Server, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	d.generation = &intercept.Generation{Number: 1, Trust: loaded}
	log := logrus.New()
	log.SetOutput(io.Discard)
	d.connections = newConnections(func() *intercept.Generation { return d.generation }, audit.New(io.Discard), func(error) {}, time.Now, log)
	return d
}

func (d *desk) size() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open)
}

// connect makes one connection, and returns the server's ends of it: below TLS,
// and above.
func (d *desk) connect(t *testing.T) (raw, secured net.Conn, err error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // one was accepted
	config := d.ca.ClientConfig(d.ca.Client(t, "alice"))
	config.NextProtos = []string{"h2"}
	go func() {
		conn, err := tls.Dial("tcp", listener.Addr().String(), config)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}()
	if raw, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	secured, _, err = d.ServerHandshake(raw)
	return raw, secured, err
}

// However a connection ends, the registry forgets it: it would grow forever
// otherwise.
func TestTheRegistryForgetsWhatIsClosed(t *testing.T) {
	d := newDesk(t)
	_, first, err := d.connect(t)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := d.connect(t)
	if err != nil {
		t.Fatal(err)
	}
	if d.size() != 2 {
		t.Fatalf("%d connections, want 2", d.size())
	}
	if err := first.Close(); err != nil || d.size() != 1 {
		t.Errorf("closed above TLS: %v, %d left", err, d.size())
	}
	// As gRPC does when a client leaves right after its handshake.
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if d.sweep(); d.size() != 0 {
		t.Errorf("closed below TLS: %d left", d.size())
	}
}

// What is loaded between the handshake and the entry in the registry is found by
// the look after it.
func TestAConnectionIsLookedAtAgainOnceItIsRegistered(t *testing.T) {
	d := newDesk(t)
	good := d.generation
	elsewhere := newDesk(t).generation // of a CA that did not issue the client
	looks := 0
	d.current = func() *intercept.Generation {
		if looks++; looks == 1 {
			d.sweep() // finds nothing: it is not registered yet
			return elsewhere
		}
		return good
	}
	// TLS goes by the good generation; the registry's look comes first here.
	if _, _, err := d.connect(t); err == nil || d.size() != 0 {
		t.Errorf("error %v, %d connections; want a refusal and none", err, d.size())
	}
}
