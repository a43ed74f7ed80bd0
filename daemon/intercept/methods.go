package intercept

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/footprintai/containarium/daemon/policy"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// method is what the interceptors know of an RPC.
type method struct {
	policy.Method
	// container is the path of the request field that names the container; nil
	// where the method names none.
	container []protoreflect.FieldDescriptor
	mutates   bool
	streams   bool // it answers with a stream
}

// What the daemon serves over HTTP beside its RPCs, as methods.
const (
	MetricsPage = "/HTTP/Metrics" // the numbers for Prometheus
	OpenAPIPage = "/HTTP/OpenAPI" // the description of the API
	DocsPage    = "/HTTP/Docs"    // the same, for people
	// HealthPage is what a health check over HTTP counts as.
	HealthPage = healthpb.Health_Check_FullMethodName
)

// pages are those of HTTP alone.
var pages = map[string]policy.Method{
	MetricsPage: {Name: "HTTP/Metrics", Action: "metrics.scrape"},
	OpenAPIPage: {Name: "HTTP/OpenAPI", Action: "docs.read", AnyRole: true},
	DocsPage:    {Name: "HTTP/Docs", Action: "docs.read", AnyRole: true},
}

// standard are the services of gRPC itself, whose methods can carry no option of
// ours. They are covered all the same: nothing is open without a certificate and
// a role.
var standard = []struct {
	desc *grpc.ServiceDesc
	policy.Method
}{
	{&healthpb.Health_ServiceDesc, policy.Method{Action: "health.read", AnyRole: true}},
	{&reflectionpb.ServerReflection_ServiceDesc, policy.Method{Action: "reflection.use"}},
	{&reflectionalphapb.ServerReflection_ServiceDesc, policy.Method{Action: "reflection.use"}},
}

// known holds every method that the daemon can serve, by its full name
// ("/package.Service/Method").
type known map[string]method

// Actions returns the RPCs and actions that a policy may name.
func Actions() (policy.Actions, error) {
	methods, err := methodsOf(pb.File_containarium_v1_service_proto)
	if err != nil {
		return nil, err
	}
	var actions policy.Actions
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		actions = append(actions, methods[name].Method)
	}
	return actions, nil
}

// methodsOf reads the access options of a file's services. It fails closed: a
// method without an action, or whose container field is not a string of its
// request, is an error, so that nothing can be served that nobody thought about.
func methodsOf(file protoreflect.FileDescriptor) (known, error) {
	methods := known{}
	for name, page := range pages {
		methods[name] = method{Method: page}
	}
	for _, service := range standard {
		for _, rpc := range service.desc.Methods {
			methods.add(service.desc.ServiceName, rpc.MethodName, method{Method: service.Method})
		}
		for _, rpc := range service.desc.Streams {
			methods.add(service.desc.ServiceName, rpc.StreamName, method{Method: service.Method, streams: true})
		}
	}
	services := file.Services()
	for i := range services.Len() {
		rpcs := services.Get(i).Methods()
		for j := range rpcs.Len() {
			m, err := read(rpcs.Get(j))
			if err != nil {
				return nil, err
			}
			methods.add(string(services.Get(i).FullName()), string(rpcs.Get(j).Name()), m)
		}
	}
	return methods, nil
}

func (k known) add(service, rpc string, m method) {
	m.Name = service[strings.LastIndexByte(service, '.')+1:] + "/" + rpc
	k["/"+service+"/"+rpc] = m
}

func read(rpc protoreflect.MethodDescriptor) (method, error) {
	options, _ := rpc.Options().(*descriptorpb.MethodOptions)
	access, _ := proto.GetExtension(options, pb.E_Access).(*pb.Access)
	if access.GetAction() == "" {
		return method{}, fmt.Errorf("%s has no access option: every method must say who may call it", rpc.FullName())
	}
	m := method{
		Method: policy.Method{
			Action:  access.GetAction(),
			AnyRole: access.GetAnyRole(),
		},
		mutates: access.GetMutates(),
		streams: rpc.IsStreamingServer(),
	}
	if access.GetContainerField() == "" {
		return m, nil
	}
	message := rpc.Input()
	for name := range strings.SplitSeq(access.GetContainerField(), ".") {
		if message == nil || message.Fields().ByName(protoreflect.Name(name)) == nil {
			return method{}, fmt.Errorf("%s has no field %s, which its access option names", rpc.Input().FullName(), access.GetContainerField())
		}
		field := message.Fields().ByName(protoreflect.Name(name))
		m.container = append(m.container, field)
		message = field.Message()
	}
	if last := m.container[len(m.container)-1]; last.Kind() != protoreflect.StringKind || last.IsList() {
		return method{}, fmt.Errorf("%s is not a string, and so names no container", last.FullName())
	}
	return m, nil
}

// containerOf returns the user name that a request is about.
func (m method) containerOf(request any) (string, error) {
	if m.container == nil {
		return "", nil
	}
	message, ok := request.(proto.Message)
	if !ok { // fails closed: what can not be read is not decided on
		return "", fmt.Errorf("the request of %s is no protobuf message", m.Name)
	}
	value := protoreflect.ValueOfMessage(message.ProtoReflect())
	for _, field := range m.container {
		value = value.Message().Get(field)
	}
	return value.String(), nil
}
