package intercept

import (
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// withAccess returns the service file with the option of GetContainer replaced.
func withAccess(t *testing.T, access *pb.Access) protoreflect.FileDescriptor {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(pb.File_containarium_v1_service_proto)
	for _, rpc := range file.GetService()[0].GetMethod() {
		if rpc.GetName() != "GetContainer" {
			continue
		}
		rpc.Options = &descriptorpb.MethodOptions{}
		if access != nil {
			proto.SetExtension(rpc.GetOptions(), pb.E_Access, access)
		}
	}
	descriptor, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return descriptor
}

func TestEveryMethodNeedsAnAccessOption(t *testing.T) {
	for name, test := range map[string]struct {
		access *pb.Access
		want   string
	}{
		"none":          {nil, "GetContainer has no access option"},
		"no action":     {&pb.Access{ContainerField: "username"}, "GetContainer has no access option"},
		"no such field": {&pb.Access{Action: "a.b", ContainerField: "user"}, "has no field user"},
		"path too long": {&pb.Access{Action: "a.b", ContainerField: "username.x"}, "has no field username.x"},
		"good":          {&pb.Access{Action: "a.b", ContainerField: "username"}, ""},
		"names nobody":  {&pb.Access{Action: "a.b"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := methodsOf(withAccess(t, test.access))
			if (test.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// What is registered and not known must keep the daemon from starting.
func TestCoversFindsAnUnknownMethod(t *testing.T) {
	i, err := New(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	info := map[string]grpc.ServiceInfo{"containarium.v1.ContainerService": {Methods: []grpc.MethodInfo{{Name: "GetContainer"}, {Name: "ReadSecrets"}}}}
	if err := i.Covers(info); err == nil || !strings.Contains(err.Error(), "ContainerService/ReadSecrets") {
		t.Errorf("error %v, want one that names the method", err)
	}
}

func TestContainerOf(t *testing.T) {
	methods, err := methodsOf(pb.File_containarium_v1_service_proto)
	if err != nil {
		t.Fatal(err)
	}
	m := methods["/containarium.v1.ContainerService/CreateContainerStream"]
	for want, request := range map[string]any{
		"alice": &pb.CreateContainerStreamRequest{Create: &pb.CreateContainerRequest{Username: "alice"}},
		"":      &pb.CreateContainerStreamRequest{},
	} {
		if got, err := m.containerOf(request); got != want || err != nil {
			t.Errorf("container %q, %v; want %q", got, err, want)
		}
	}
	if _, err := m.containerOf("no message"); err == nil {
		t.Error("no error for what is no message: it would be decided on without its container")
	}
}
