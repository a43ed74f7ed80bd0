package client_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// stage is what the examples run on: a fleet of two daemons, and a third host where
// none runs. It stands in for a test, which an example has not.
type stage struct {
	testing.TB
	mu       sync.Mutex
	cleanups []func()
}

func TestMain(m *testing.M) {
	code := m.Run()
	theStage.end()
	os.Exit(code) //nolint:forbidigo // as every TestMain does
}

var theStage = &stage{}

func (s *stage) end() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
}

func (s *stage) Helper()                  {}
func (s *stage) Context() context.Context { return context.Background() }
func (s *stage) Output() io.Writer        { return io.Discard }
func (s *stage) Fatal(args ...any)        { panic(fmt.Sprint(args...)) }
func (s *stage) Errorf(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stderr, format+"\n", args...)
}
func (s *stage) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (s *stage) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *stage) TempDir() string {
	dir, err := os.MkdirTemp("", "containarium-example-")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// servers are those of the fleet: alice has a container on jump-1, bob on jump-2,
// and jump-3 is down.
var servers = sync.OnceValue(func() []client.Server {
	s, ca := theStage, pkitest.New(theStage)
	files := ca.Client(s, "admin").WriteFiles(s, s.TempDir(), ca)
	var servers []client.Server
	for n, user := range []string{"alice", "bob"} {
		d := daemontest.StartWith(s, daemontest.Options{CA: ca, Authority: daemontest.NewAuthority(s, ca), Change: func(c *config.File) { c.Limits.Burst = 1000 }})
		_, err := pb.NewContainerServiceClient(d.Dial(s, "admin")).CreateContainer(s.Context(), &pb.CreateContainerRequest{Username: user, NoWait: true})
		if err != nil {
			s.Fatal(err)
		}
		servers = append(servers, with(client.Server{Name: fmt.Sprintf("jump-%d", n+1), Address: d.Address}, files))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	_ = listener.Close()
	return append(servers, with(client.Server{Name: "jump-3", Address: listener.Addr().String()}, files))
})

// serversFile is the user's servers file, with all of them.
func serversFile() string {
	c, err := client.LoadConfig(theStage.TempDir() + "/config.toml")
	if err != nil {
		theStage.Fatal(err)
	}
	for _, s := range servers() {
		c.Servers[s.Name] = s
	}
	if err := c.Save(); err != nil {
		theStage.Fatal(err)
	}
	return c.Path
}
