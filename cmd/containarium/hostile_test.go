package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/timestamppb"

	"golang.org/x/crypto/ssh"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// hostileServer has a certificate of our CA, and answers whatever it likes.
type hostileServer struct {
	pb.UnimplementedContainerServiceServer
	list *pb.ListContainersResponse
	err  error
}

func (h *hostileServer) ListContainers(context.Context, *pb.ListContainersRequest) (*pb.ListContainersResponse, error) {
	return h.list, h.err
}

func (h *hostileServer) GetContainer(context.Context, *pb.GetContainerRequest) (*pb.GetContainerResponse, error) {
	return &pb.GetContainerResponse{Container: h.list.GetContainers()[0], JumpHostKeys: h.list.GetJumpHostKeys()}, h.err
}

// amongServers starts the server as jump-2, beside an honest one that is jump-1 and
// has nothing.
func amongServers(t *testing.T, h pb.ContainerServiceServer) (home string) {
	t.Helper()
	ca := pkitest.New(t)
	home = t.TempDir()
	files := ca.Client(t, "admin").WriteFiles(t, t.TempDir(), ca)
	for name, value := range map[string]string{
		"HOME": home, "CONTAINARIUM_CONFIG": filepath.Join(home, "config.toml"), "XDG_STATE_HOME": "",
		"CONTAINARIUM_SERVER": "", "CONTAINARIUM_CERT": "", "CONTAINARIUM_KEY": "", "CONTAINARIUM_CA": "",
	} {
		t.Setenv(name, value)
	}
	honest := &hostileServer{list: &pb.ListContainersResponse{}}
	for n, service := range []pb.ContainerServiceServer{honest, h} {
		address := serve(t, ca.Server(t, "127.0.0.1"), service)
		mustRun(t, "server", "add", fmt.Sprintf("jump-%d", n+1), address, "--cert", files.Cert, "--key", files.Key, "--ca", files.CA)
	}
	return home
}

// serve runs a server that lets everybody in, until the test ends, and returns its
// address.
func serve(t *testing.T, pair pkitest.Pair, service pb.ContainerServiceServer) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair.Cert}}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	pb.RegisterContainerServiceServer(server, service)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// hostKey is a host's public key, as it is told.
func hostKey(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(newSigner(t).PublicKey())))
}

// Names go from a list into other commands: none of them is two, or a flag.
func TestQuietNamesAreNames(t *testing.T) {
	amongServers(t, &hostileServer{list: &pb.ListContainersResponse{Containers: []*pb.Container{
		{Username: "alice"}, {Username: "bob jump-1:carol"}, {Username: "--force"}, {Username: "x\njump-1:carol"}, {Username: ""},
	}}})
	code, out, errs := runLine(t.Context(), false, "ls", "--all", "--quiet")
	if code != exitFine || out.String() != "jump-2:alice\n" || strings.Count(errs.String(), "warning: jump-2 is left out: the server sends ") != 4 {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
}

// An answer of which no document can be made is the failure of its server alone.
func TestSenselessAnswer(t *testing.T) {
	amongServers(t, &hostileServer{list: &pb.ListContainersResponse{Containers: []*pb.Container{
		{Username: "alice", CreatedAt: &timestamppb.Timestamp{Seconds: math.MaxInt64}},
	}}})
	for _, format := range []string{"json", "yaml"} {
		code, out, errs := runLine(t.Context(), false, "ls", "--all", "-o", format)
		if code != exitSome || strings.Count(out.String(), "containers") != 1 || strings.Count(out.String(), "message") != 1 ||
			!oneLine(errs.String()) || !strings.Contains(errs.String(), "ls on jump-2: the server's answer makes no sense: ") {
			t.Errorf("%s: exit code %d, %s%s", format, code, out, errs)
		}
	}
	code, out, errs := runLine(t.Context(), false, "ls", "--all")
	if code != exitFine || !strings.Contains(out.String(), "alice") {
		t.Errorf("exit code %d, %s%s", code, out, errs)
	}
}

// The text of an error is bytes: those that are no UTF-8 drive terminals of 8 bits.
func TestErrorsOfBytes(t *testing.T) {
	if got := clean("a\x9b2J"); got != `a\x9b2J` {
		t.Errorf("%q", got)
	}
	ca := pkitest.New(t)
	files := ca.Client(t, "admin").WriteFiles(t, t.TempDir(), ca)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: patience,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1").Cert}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // gRPC's own library would not send it
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "7")
			w.Header().Set("Grpc-Message", "no%9B2J%FF%C3%BC%0A%1B[2J")
		}),
	}
	go server.ServeTLS(listener, "", "") //nolint:errcheck // until it is closed
	defer server.Close()                 //nolint:errcheck // the test is over
	code, _, errs := runLine(t.Context(), false, "ls", "--server", listener.Addr().String(), "--cert", files.Cert, "--key", files.Key, "--ca", files.CA)
	if code != exitDenied || !oneLine(errs.String()) || !strings.Contains(errs.String(), `no\x9b2J\xffü\u000a\u001b[2J`) {
		t.Errorf("exit code %d, %q", code, errs)
	}
}

// Who asks for one user's container is not sent to another's.
func TestSSHToAnother(t *testing.T) {
	home := amongServers(t, &hostileServer{list: &pb.ListContainersResponse{Containers: []*pb.Container{{
		Username: "bob", State: pb.ContainerState_CONTAINER_STATE_RUNNING, Network: &pb.Network{IpAddress: "10.0.0.2", SshHostKey: hostKey(t)},
	}}, JumpHostKeys: []string{hostKey(t)}}})
	code, _, errs := runLine(t.Context(), false, "ssh", "jump-2:alice")
	if code != exitFailed || !oneLine(errs.String()) || !strings.Contains(errs.String(), `the server sends the container of "bob" instead`) {
		t.Errorf("exit code %d, %q", code, errs)
	}
	if _, err := os.Stat(filepath.Join(home, ".local")); err == nil {
		t.Error("files were written")
	}
}

// What a server calls its users never takes over logins to a server, nor to this
// machine; what it does not tell is said.
func TestSSHConfigOfHostileServer(t *testing.T) {
	var containers []*pb.Container
	for _, user := range []string{"alice", "jump-1", "jump-2", "localhost", "bob"} {
		containers = append(containers, &pb.Container{Username: user, Network: &pb.Network{IpAddress: "10.0.0.2", SshHostKey: hostKey(t)}})
	}
	containers[4].Network.SshHostKey = ""
	h := &hostileServer{list: &pb.ListContainersResponse{Containers: containers}}
	home := amongServers(t, h)
	code, _, errs := runLine(t.Context(), false, "ssh-config")
	if code != exitFine || strings.Count(errs.String(), "warning: ") != 2 ||
		!strings.Contains(errs.String(), "warning: jump-2 does not tell the host keys of its jump host: ssh goes by your own known_hosts there\n") ||
		!strings.Contains(errs.String(), "warning: jump-2:bob is left out: the container's SSH host key is not known yet") {
		t.Errorf("exit code %d, %q", code, errs)
	}
	data, err := os.ReadFile(filepath.Join(home, ".ssh", "containarium_config"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "Host "); ok && !strings.Contains(line, hopSuffix) {
			names = append(names, strings.TrimSpace(name))
		}
	}
	if got := strings.Join(names, ", "); got != "jump-2.alice alice, jump-2.jump-1, jump-2.jump-2, jump-2.localhost, *" {
		t.Errorf("%s", got)
	}
	bastion := client.Server{Name: "eu", Address: "bastion:50051"}
	if names := hostsOf(&targets{config: &client.Config{Servers: map[string]client.Server{"eu": bastion}}}); !names["bastion"] || !names["eu"] {
		t.Errorf("%v", names)
	}
	// A million keys of a jump host would be pinned for each of a million containers.
	for range maxJumpKeys + 1 {
		h.list.JumpHostKeys = append(h.list.JumpHostKeys, hostKey(t))
	}
	_, _, errs = runLine(t.Context(), false, "ssh-config")
	if !strings.Contains(errs.String(), "the server sends 17 host keys of its jump host, more than 16\n") || !strings.Contains(errs.String(), "0 containers are in") {
		t.Errorf("%q", errs)
	}
}

// What a user is to paste into a shell is a login, or nothing.
func TestLoginOfHostileServer(t *testing.T) {
	server := client.Server{Name: "jump-1", Address: "jump-1.example:50051"}
	if got := loginOf(server, &pb.Container{Username: "alice", Network: &pb.Network{IpAddress: "10.0.0.2"}}); got != "ssh -J alice@jump-1.example alice@10.0.0.2" {
		t.Errorf("%q", got)
	}
	for _, c := range []*pb.Container{
		{Username: "alice;id", Network: &pb.Network{IpAddress: "10.0.0.2"}},
		{Username: "-oProxyCommand=id", Network: &pb.Network{IpAddress: "10.0.0.2"}},
		{Username: "alice", Network: &pb.Network{IpAddress: "10.0.0.2; id"}},
		{Username: "alice", Network: &pb.Network{IpAddress: "10.0.0.2", JumpAddress: "jump$(id)"}},
		{Username: "alice", Network: &pb.Network{IpAddress: "10.0.0.2", JumpAddress: "jump -oProxyCommand=id"}},
	} {
		if got := loginOf(server, c); got != "" {
			t.Errorf("%q", got)
		}
	}
}

// A file of 10,000 containers is not copied line by line.
func TestManagedFileIsLong(t *testing.T) {
	text := beginMark + "\n" + strings.Repeat("\tHostName 10.0.0.2\n", 200_000) + endMark + "\nmine\n"
	var m managed
	if n := testing.AllocsPerRun(1, func() { m, _ = parseManaged(text) }); n > 10 {
		t.Errorf("%v allocations", n)
	}
	if len(m.body) != 200_000*len("\tHostName 10.0.0.2\n") || m.before != "" || m.after != "mine\n" {
		t.Errorf("%d bytes, %q, %q", len(m.body), m.before, m.after)
	}
}
