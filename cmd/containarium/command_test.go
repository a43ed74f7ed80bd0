package main

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/incusx/incustest"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// asAdmin starts a daemon and has commands call it as admin.
func asAdmin(t *testing.T) *daemontest.Daemon {
	t.Helper()
	d := daemontest.Start(t)
	useAs(t, d, "admin")
	return d
}

// useAs has the commands call a daemon as the CN.
func useAs(t *testing.T, d *daemontest.Daemon, cn string) {
	t.Helper()
	files := d.ClientFiles(t, cn)
	for name, value := range map[string]string{
		"HOME": t.TempDir(), "CONTAINARIUM_CONFIG": "", "CONTAINARIUM_SERVER": d.Address,
		"CONTAINARIUM_CERT": files.Cert, "CONTAINARIUM_KEY": files.Key, "CONTAINARIUM_CA": files.CA,
	} {
		t.Setenv(name, value)
	}
}

func runLine(ctx context.Context, errTTY bool, args ...string) (code int, out, errs *bytes.Buffer) {
	terminal, out, errs := capture(errTTY)
	return run(ctx, terminal, append([]string{"containarium"}, args...)), out, errs
}

// Who watches a create sees its stages, and nothing is left of them at the end.
func TestCreateOnATerminal(t *testing.T) {
	asAdmin(t)
	code, out, errs := runLine(t.Context(), true, "create", "alice", "--ssh-key", publicKey(t))
	if code != exitFine || !strings.HasPrefix(out.String(), "ssh -J alice@127.0.0.1 ") || strings.Count(out.String(), "\n") != 1 {
		t.Fatalf("exit code %d, %q, %q", code, out, errs)
	}
	for _, stage := range pb.CreateStage_name {
		text := stageText(pb.CreateStage(pb.CreateStage_value[stage]))
		// The image of the simulator lacks nothing.
		if want := stage != "CREATE_STAGE_UNSPECIFIED" && stage != "CREATE_STAGE_PREPARE"; strings.Contains(errs.String(), "% "+text+"\r") != want {
			t.Errorf("%s (%s): shown is %q", stage, text, errs)
		}
	}
	if !strings.Contains(errs.String(), "\r\x1b[Kcontainarium: alice has a container on ") || !strings.HasSuffix(errs.String(), "log in with:\n") {
		t.Errorf("the progress is not taken away: %q", errs)
	}
}

func TestCreateThatFailsOnATerminal(t *testing.T) {
	d := asAdmin(t)
	d.Sim.Fail(incustest.Fault{Method: http.MethodPost, Path: "/1.0/instances", OperationError: "no space\x1b[31m left"})
	code, out, errs := runLine(t.Context(), true, "create", "alice", "--ssh-key", publicKey(t))
	_, last, _ := strings.Cut(errs.String(), "\r\x1b[Kcontainarium: ")
	if code != exitFailed || out.Len() > 0 || !strings.Contains(last, "stage instance") || !strings.Contains(last, `no space\u001b[31m left`) || strings.Contains(last, "\x1b") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
}

// interrupter is a terminal at which somebody presses Ctrl-C on seeing text.
type interrupter struct {
	bytes.Buffer
	text      string
	interrupt context.CancelFunc
}

func (w *interrupter) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.text) {
		w.interrupt()
	}
	return w.Buffer.Write(p)
}

func TestInterruptedCreate(t *testing.T) {
	d := asAdmin(t)
	d.Sim.Fail(incustest.Fault{Method: http.MethodPost, Path: "/1.0/instances", Times: 1, OperationDelay: time.Second})
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	errs := &interrupter{text: "creating alice: ", interrupt: interrupt}
	screen, out, _ := capture(true)
	screen.err = errs
	code := run(ctx, screen, []string{"containarium", "create", "alice", "--ssh-key", publicKey(t)})
	if code != exitInterrupted || out.Len() > 0 || !strings.Contains(errs.String(), "interrupted; the daemon goes on with it; containarium info alice") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	for { // the daemon finishes it: a start waits its turn
		if code, _, _ := runLine(t.Context(), false, "start", "alice"); code == exitFine {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("the create came to nothing")
		}
	}
}

func TestInterruptedRead(t *testing.T) {
	asAdmin(t)
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	code, out, errs := runLine(ctx, false, "ls")
	if code != exitInterrupted || out.Len() > 0 || !strings.HasSuffix(errs.String(), ": interrupted\n") || !oneLine(errs.String()) {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
}

// A daemon that takes too long is given up on in time.
func TestTimeout(t *testing.T) {
	d := asAdmin(t)
	d.Sim.Fail(incustest.Fault{Delay: 2 * time.Second})
	for _, line := range []string{"system --timeout 100ms", "--timeout 100ms stop alice --timeout 1m"} {
		code, _, errs := runLine(t.Context(), false, strings.Fields(line)...)
		if code != exitFailed || !strings.Contains(errs.String(), "no answer from ") || !oneLine(errs.String()) {
			t.Errorf("%s: exit code %d, %q", line, code, errs)
		}
	}
}

func TestLogin(t *testing.T) {
	ca := pkitest.New(t)
	files := ca.Client(t, "admin").WriteFiles(t, t.TempDir(), ca)
	for want, test := range map[string]struct {
		server  string
		network *pb.Network
	}{
		"":                                    {"jump-1", &pb.Network{SshPort: 22}},
		"ssh -J al@jump-1 al@10.0.0.2":        {"jump-1", &pb.Network{IpAddress: "10.0.0.2"}},
		"ssh -J al@192.0.2.7 al@10.0.0.2":     {"192.0.2.7:50052", &pb.Network{IpAddress: "10.0.0.2", SshPort: 22}},
		"ssh -J al@[2001:db8::7] al@10.0.0.2": {"2001:db8::7", &pb.Network{IpAddress: "10.0.0.2", SshPort: 22}},
		"ssh -J al@j:2222 -p 23 al@10.0.0.2":  {"jump-1", &pb.Network{IpAddress: "10.0.0.2", SshPort: 23, JumpAddress: "j:2222"}},
	} {
		c, err := client.Dial(client.Server{Name: "jump-1", Address: test.server, Cert: files.Cert, Key: files.Key, CA: files.CA})
		if err != nil {
			t.Fatal(err)
		}
		s := &session{Client: c}
		if got := s.login(&pb.Container{Username: "al", Network: test.network}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		s.close()
	}
}

// hasty is a daemon whose clock is ahead: it ends a create by its deadline before
// the client's has come.
type hasty struct {
	pb.UnimplementedContainerServiceServer
}

func (hasty) CreateContainerStream(_ *pb.CreateContainerStreamRequest, stream grpc.ServerStreamingServer[pb.CreateContainerStreamResponse]) error {
	if err := stream.Send(&pb.CreateContainerStreamResponse{Stage: pb.CreateStage_CREATE_STAGE_IMAGE}); err != nil {
		return err
	}
	return status.FromContextError(context.DeadlineExceeded).Err()
}

func TestCreateThatTheDaemonEndsByTheDeadline(t *testing.T) {
	amongServers(t, hasty{})
	code, out, errs := runLine(t.Context(), false, "create", "alice", "--server", "jump-2", "--ssh-key", publicKey(t))
	const want = "containarium: create alice on jump-2: out of time; the daemon goes on with it; containarium info alice shows what became of it\n"
	if code != exitFailed || out.Len() > 0 || errs.String() != want {
		t.Errorf("exit code %d, %q, %q; want %q", code, out, errs, want)
	}
}
