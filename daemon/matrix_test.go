package daemon_test

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// callers are every kind of caller with a good certificate, and the user name
// that its requests name.
var callers = map[string]struct{ cn, username string }{
	"admin":          {"admin", "alice"},
	"operator":       {"operator-1", "alice"},
	"tenant":         {"alice", "alice"},
	"another tenant": {"bob", "alice"},
	"guest":          {"guest", "alice"},   // a role that allows nothing
	"nobody":         {"mallory", "alice"}, // no role
}

var (
	all       = []string{"admin", "operator", "tenant", "another tenant", "guest"}
	own       = []string{"admin", "operator", "tenant"}
	operators = []string{"admin", "operator"}
	admins    = []string{"admin"}
	// Collections: open to whoever may read some container, and filtered.
	filtered = []string{"admin", "operator", "tenant", "another tenant"}
)

// matrix says who may call what. A method without an entry fails the test.
var matrix = map[string][]string{
	"/containarium.v1.ContainerService/CreateContainer":              operators,
	"/containarium.v1.ContainerService/CreateContainerStream":        operators,
	"/containarium.v1.ContainerService/ListContainers":               filtered,
	"/containarium.v1.ContainerService/GetContainer":                 own,
	"/containarium.v1.ContainerService/DeleteContainer":              admins,
	"/containarium.v1.ContainerService/StartContainer":               own,
	"/containarium.v1.ContainerService/StopContainer":                own,
	"/containarium.v1.ContainerService/RestartContainer":             own,
	"/containarium.v1.ContainerService/AddSSHKey":                    own,
	"/containarium.v1.ContainerService/RemoveSSHKey":                 own,
	"/containarium.v1.ContainerService/GetMetrics":                   own,
	"/containarium.v1.ContainerService/WatchContainers":              filtered,
	"/containarium.v1.ContainerService/UpdateContainer":              operators,
	"/containarium.v1.ContainerService/CreateSnapshot":               operators,
	"/containarium.v1.ContainerService/ListSnapshots":                own,
	"/containarium.v1.ContainerService/RestoreSnapshot":              own,
	"/containarium.v1.ContainerService/DeleteSnapshot":               operators,
	"/containarium.v1.ImageService/ListImages":                       operators,
	"/containarium.v1.ImageService/PrepareImage":                     operators,
	"/containarium.v1.ImageService/DeleteImage":                      admins,
	"/containarium.v1.ContainerService/GetSystemInfo":                operators,
	"/containarium.v1.AuthService/WhoAmI":                            all,
	"/containarium.v1.AuthService/GetTrustBundle":                    all,
	"/containarium.v1.AuthService/RenewCertificate":                  all,
	"/containarium.v1.AuthService/IssueCertificate":                  admins,
	"/containarium.v1.AuthService/RevokeCertificate":                 admins,
	"/containarium.v1.AuthService/ListCertificates":                  admins,
	"/grpc.health.v1.Health/Check":                                   all,
	"/grpc.health.v1.Health/List":                                    all,
	"/grpc.health.v1.Health/Watch":                                   all,
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      admins,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": admins,
	"/containarium.v1.ContainerService/NoSuchMethod":                 nil,
	"/containarium.v2.ContainerService/CreateContainer":              nil,
}

// methods finds every method of every service that the daemon registers.
func methods(t *testing.T) map[string]protoreflect.MethodDescriptor {
	t.Helper()
	found := map[string]protoreflect.MethodDescriptor{}
	for _, service := range []string{
		pb.ContainerService_ServiceDesc.ServiceName,
		pb.AuthService_ServiceDesc.ServiceName,
		pb.ImageService_ServiceDesc.ServiceName,
		healthpb.Health_ServiceDesc.ServiceName,
		reflectionpb.ServerReflection_ServiceDesc.ServiceName,
		reflectionalphapb.ServerReflection_ServiceDesc.ServiceName,
	} {
		descriptor, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
		if err != nil {
			t.Fatal(err)
		}
		rpcs := descriptor.(protoreflect.ServiceDescriptor).Methods()
		for i := range rpcs.Len() {
			found["/"+service+"/"+string(rpcs.Get(i).Name())] = rpcs.Get(i)
		}
	}
	return found
}

// request fills in the user name wherever a request has one. Creates and
// preparations ask for an image that there is not, so that none is made.
func request(t *testing.T, rpc protoreflect.MethodDescriptor, username string) proto.Message {
	t.Helper()
	switch rpc.Name() {
	case "CreateContainer":
		return &pb.CreateContainerRequest{Username: username, Image: "no-such-image"}
	case "CreateContainerStream":
		return &pb.CreateContainerStreamRequest{Create: &pb.CreateContainerRequest{Username: username, Image: "no-such-image"}}
	case "PrepareImage":
		return &pb.PrepareImageRequest{Image: "no-such-image"}
	}
	m := dynamicpb.NewMessage(rpc.Input())
	if field := rpc.Input().Fields().ByName("username"); field != nil {
		m.Set(field, protoreflect.ValueOfString(username))
	}
	return m
}

// call calls a method with one request and returns the code of its end, or of
// its first response where it is a stream.
func call(ctx context.Context, conn *grpc.ClientConn, name string, rpc protoreflect.MethodDescriptor, in proto.Message) codes.Code {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := dynamicpb.NewMessage(rpc.Output())
	if !rpc.IsStreamingServer() {
		return status.Code(conn.Invoke(ctx, name, in, out))
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, name)
	if err == nil {
		_ = stream.SendMsg(in) // a refusal shows in RecvMsg
		_ = stream.CloseSend()
		err = stream.RecvMsg(out)
	}
	if err == io.EOF {
		err = nil
	}
	return status.Code(err)
}

func TestEveryMethodByEveryCaller(t *testing.T) {
	ca := pkitest.New(t)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca, Authority: daemontest.NewAuthority(t, ca)})
	rpcs := methods(t)
	for name := range rpcs {
		if _, ok := matrix[name]; !ok {
			t.Errorf("%s has no entry in the matrix: say who may call it", name)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(callers)) {
		caller := callers[kind]
		conn := d.Dial(t, caller.cn)
		for _, name := range slices.Sorted(maps.Keys(matrix)) {
			rpc, ok := rpcs[name]
			if !ok { // unknown to the daemon: any request will do
				rpc = rpcs["/containarium.v1.ContainerService/GetContainer"]
			}
			before := len(d.Audit(t))
			code := call(t.Context(), conn, name, rpc, request(t, rpc, caller.username))
			allowed := slices.Contains(matrix[name], kind)
			if denied := code == codes.PermissionDenied; denied == allowed || code == codes.Unauthenticated || code == codes.Unimplemented || code == codes.Unknown || code == codes.Internal {
				t.Errorf("%s by %s: %s, allowed should be %t", name, kind, code, allowed)
			}
			checkAudit(t, d, before, name, caller.cn, allowed)
		}
	}
}

// checkAudit waits for the one line that a call leaves: a stream's comes when its
// handler has seen that the caller is gone.
func checkAudit(t *testing.T, d *daemontest.Daemon, before int, name, cn string, allowed bool) {
	t.Helper()
	eventually(t, "an audit line of "+name, func() bool { return len(d.Audit(t)) > before })
	records := d.Audit(t)
	last := records[len(records)-1]
	if len(records) != before+1 || last.Method != name || last.CN != cn || (last.Decision == "allow") != allowed {
		t.Errorf("%s by %s left %d audit lines, the last %+v; allowed should be %t", name, cn, len(records)-before, last, allowed)
	}
	if allowed && (last.Role == "" || last.Rule == "" || last.Serial == "" || last.RequestID == "" || !strings.HasPrefix(last.Peer, "127.0.0.1:")) {
		t.Errorf("%s by %s: the audit line lacks something: %+v", name, cn, last)
	}
}

// Whoever writes a name into the metadata is still who their certificate says.
func TestMetadataNeverDecides(t *testing.T) {
	d := daemontest.Start(t)
	ctx := withMetadata(t.Context(), "cn", "admin", "x-forwarded-client-cert", "CN=admin", "authorization", "Bearer admin", "x-request-id", "mine")
	who, err := pb.NewAuthServiceClient(d.Dial(t, "alice")).WhoAmI(ctx, &pb.WhoAmIRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if who.GetCommonName() != "alice" || who.GetRole() != "tenant" || !slices.Equal(who.GetContainers(), []string{"alice"}) {
		t.Errorf("whoami: %v", who)
	}
	for _, r := range d.Audit(t) {
		if r.CN != "alice" || r.RequestID == "mine" {
			t.Errorf("audit: %+v", r)
		}
	}
}
