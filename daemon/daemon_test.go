package daemon_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/incusx/incustest"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// With anything wrong that it must trust, there is no daemon.
func TestDaemonRefusesToStart(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, c *config.Config)
		want   string
	}{
		"key that others can read":     {func(t *testing.T, c *config.Config) { chmod(t, c.Server.Key, 0o644) }, "chmod 600"},
		"policy that others can write": {func(t *testing.T, c *config.Config) { chmod(t, c.Policy.File, 0o666) }, "chmod go-w"},
		"policy with a mistake":        {func(t *testing.T, c *config.Config) { write(t, c.Policy.File, "[role.x]\n") }, `:1: unknown key "role"; did you mean "roles"?`},
		"no policy":                    {func(t *testing.T, c *config.Config) { c.Policy.File += "x" }, "no such file"},
		"no audit log":                 {func(t *testing.T, c *config.Config) { c.Audit.File = "/no/such/folder/audit.log" }, "open audit log"},
		"client certificate": {func(t *testing.T, c *config.Config) {
			ca := pkitest.New(t)
			files := ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca)
			c.Server.Cert, c.Server.Key = files.Cert, files.Key
		}, "load the server certificate"},
		"port in use": {func(t *testing.T, c *config.Config) { c.Server.Address = daemontest.Start(t).Address }, "address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newConfig(t)
			test.change(t, c)
			log := logrus.New()
			log.SetOutput(io.Discard)
			_, err := daemon.New(c, daemon.Options{Version: "test", Log: log})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

func newConfig(t *testing.T) *config.Config {
	t.Helper()
	dir := t.TempDir()
	ca := pkitest.New(t)
	files := ca.Server(t, "127.0.0.1").WriteFiles(t, dir, ca)
	c := &config.Config{File: config.Defaults()}
	c.Server.Address = "127.0.0.1:0"
	c.Server.Cert, c.Server.Key, c.Server.CA = files.Cert, files.Key, files.CA
	c.Policy.File = filepath.Join(dir, "policy.toml")
	c.Audit.File = filepath.Join(dir, "audit.log")
	write(t, c.Policy.File, daemontest.Policy)
	return c
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The daemon starts and stays up while Incus is away, says so, and recovers.
func TestIncusAwayAndBack(t *testing.T) {
	sim := incustest.Start(t)
	sim.Down()
	d := daemontest.StartOn(t, sim)
	conn := d.Dial(t, "admin")
	containers := pb.NewContainerServiceClient(conn)
	_, err := containers.ListContainers(t.Context(), &pb.ListContainersRequest{})
	if st := status.Convert(err); st.Code() != codes.Unavailable || st.Message() != "Incus on this host does not answer; the daemon goes on trying" {
		t.Errorf("list while Incus is away: %v", err)
	}
	health := healthpb.NewHealthClient(conn)
	is := func(want healthpb.HealthCheckResponse_ServingStatus) func() bool {
		return func() bool {
			response, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{})
			return err == nil && response.GetStatus() == want
		}
	}
	eventually(t, "not serving", is(healthpb.HealthCheckResponse_NOT_SERVING))
	if err := sim.Up(); err != nil {
		t.Fatal(err)
	}
	if _, err := containers.ListContainers(t.Context(), &pb.ListContainersRequest{}); err != nil {
		t.Errorf("list once Incus is back: %v", err)
	}
	eventually(t, "serving", is(healthpb.HealthCheckResponse_SERVING))
}

// A stop lets a create finish; a stream that only watches does not hold it up.
func TestStopDrains(t *testing.T) {
	d := daemontest.Start(t)
	conn := d.Dial(t, "admin")
	watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	d.Sim.Fail(incustest.Fault{Method: "POST", Path: "/1.0/instances", OperationDelay: 300 * time.Millisecond})
	created := make(chan error, 1)
	go func() {
		_, err := pb.NewContainerServiceClient(conn).CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "alice"})
		created <- err
	}()
	eventually(t, "the create's beginning", func() bool { return d.Sim.Requests("POST", "/1.0/instances") > 0 })
	if err := d.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := <-created; err != nil {
		t.Errorf("the create that was under way: %v", err)
	}
}

// A create that takes longer than a stop may is rolled back before the daemon
// ends.
func TestStopRollsBackWhatIsLate(t *testing.T) {
	d := daemontest.Start(t, func(c *config.File) { c.Server.DrainTimeout = 50 * time.Millisecond })
	conn := d.Dial(t, "admin")
	created := make(chan error, 1)
	go func() {
		_, err := pb.NewContainerServiceClient(conn).CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "alice", Image: "nodhcp"})
		created <- err
	}()
	eventually(t, "the create's account", func() bool { return d.Sim.Requests("POST", "/1.0/instances/*/exec") > 0 })
	if err := d.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := <-created; err == nil {
		t.Error("the create came back as done")
	}
	again := daemontest.StartOn(t, d.Sim)
	_, err := pb.NewContainerServiceClient(again.Dial(t, "admin")).GetContainer(t.Context(), &pb.GetContainerRequest{Username: "alice"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("get after the stop: %v, want NotFound", err)
	}
}

// The stages of a create arrive in their order, the container last.
func TestCreateStream(t *testing.T) {
	d := daemontest.Start(t)
	client := pb.NewContainerServiceClient(d.Dial(t, "operator-1"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := client.CreateContainerStream(ctx, &pb.CreateContainerStreamRequest{Create: &pb.CreateContainerRequest{Username: "alice"}})
	if err != nil {
		t.Fatal(err)
	}
	last := pb.CreateStage_CREATE_STAGE_UNSPECIFIED
	var result *pb.CreateContainerResponse
	for result == nil {
		message, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if result = message.GetResult(); result == nil && message.GetStage() <= last {
			t.Errorf("stage %s after %s", message.GetStage(), last)
		}
		last = max(last, message.GetStage())
	}
	if last != pb.CreateStage_CREATE_STAGE_SSH || result.GetContainer().GetUsername() != "alice" {
		t.Errorf("last stage %s, result %v", last, result)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("after the result: %v", err)
	}
}

func TestAMessageThatIsTooLargeIsRefused(t *testing.T) {
	d := daemontest.Start(t)
	_, err := pb.NewContainerServiceClient(d.Dial(t, "admin")).GetContainer(t.Context(), &pb.GetContainerRequest{Username: strings.Repeat("a", 1<<20)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("error %v, want ResourceExhausted", err)
	}
}
