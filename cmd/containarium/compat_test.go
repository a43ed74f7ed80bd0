package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/pkitest"
)

// previousAPI is the API of the release before, by its descriptors.
func previousAPI(t *testing.T) *protoregistry.Files {
	t.Helper()
	data, err := os.ReadFile("../../proto/testdata/previous.binpb")
	set := &descriptorpb.FileDescriptorSet{}
	err = errors.Join(err, proto.Unmarshal(data, set))
	files, newErr := protodesc.NewFiles(set)
	if err = errors.Join(err, newErr); err != nil {
		t.Fatal(err)
	}
	return files
}

// methodOf finds "/SERVICE/METHOD" in an API; nil where it has none.
func methodOf(api *protoregistry.Files, path string) protoreflect.MethodDescriptor {
	service, method, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	found, err := api.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil
	}
	return found.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(method))
}

// forget leaves of a message what its own API knows.
func forget(message *dynamicpb.Message) (*dynamicpb.Message, error) {
	data, err := proto.Marshal(message)
	if err != nil {
		return nil, err
	}
	known := dynamicpb.NewMessage(message.Descriptor())
	return known, proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, known)
}

// olderDaemon is one of the release before: behind it is one of today, but of what
// comes and goes it leaves what that release's API knows, and of other methods
// nothing.
func olderDaemon(t *testing.T, d *daemontest.Daemon, api *protoregistry.Files) string {
	t.Helper()
	behind := d.Dial(t, "admin")
	forward := func(_ any, stream grpc.ServerStream) error {
		path, _ := grpc.MethodFromServerStream(stream)
		method := methodOf(api, path)
		if method == nil {
			return status.Errorf(codes.Unimplemented, "unknown method %s", path)
		}
		ctx, cancel := context.WithCancel(stream.Context())
		defer cancel()
		request := dynamicpb.NewMessage(method.Input())
		err := stream.RecvMsg(request)
		if err == nil {
			request, err = forget(request)
		}
		if err != nil {
			return err
		}
		to, err := behind.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path)
		if err != nil {
			return err
		}
		if err := errors.Join(to.SendMsg(request), to.CloseSend()); err != nil {
			return err
		}
		for {
			answer := dynamicpb.NewMessage(method.Output())
			if err := to.RecvMsg(answer); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if answer, err = forget(answer); err != nil {
				return err
			}
			if err := stream.SendMsg(answer); err != nil {
				return err
			}
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{d.CA.Server(t, "127.0.0.1").Cert}}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.UnknownServiceHandler(forward))
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

// This program drives a daemon of the release before.
func TestCommandsOnAnOlderDaemon(t *testing.T) {
	d := asAdmin(t)
	t.Setenv("CONTAINARIUM_SERVER", olderDaemon(t, d, previousAPI(t)))
	key := filepath.Join(t.TempDir(), "id.pub")
	if err := os.WriteFile(key, []byte(publicKey(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ line, want string }{
		{"create alice --memory 1GiB --label team=a --ssh-key " + key, "ssh -J alice@"},
		{"create bob --no-wait --ssh-key " + key, ""},
		{"ls", "alice"},
		{"ls -o json", `"username": "alice"`},
		{"info alice", "memory limit:              1GiB"},
		{"set alice --memory 2GiB", ""},
		{"info alice", "memory limit:              2GiB"},
		{"key ls alice", "ssh-ed25519"},
		{"snapshot create alice before", "before"},
		{"snapshot ls alice", "before"},
		{"top alice", "alice"},
		{"stop alice", ""},
		{"start alice", ""},
		{"restart alice", ""},
		{"system", "Incus"},
		{"whoami", "admin"},
		{"image ls", ""},
		{"rm alice --force", ""},
		{"rm bob --force", ""},
	} {
		code, out, errs := runLine(t.Context(), false, strings.Fields(test.line)...)
		if code != exitFine || !strings.Contains(out.String(), test.want) {
			t.Errorf("%s: exit code %d, want %q in\n%s%s", test.line, code, test.want, out, errs)
		}
	}
}

// A client of the release before drives a daemon of today: each method that it
// knows is in the list, and what is asked for takes effect.
func TestAnOlderClient(t *testing.T) {
	api := previousAPI(t)
	ca := pkitest.New(t)
	conn := daemontest.StartWith(t, daemontest.Options{CA: ca, Authority: daemontest.NewAuthority(t, ca)}).Dial(t, "admin")
	key := strings.TrimSpace(hostKey(t))
	asked := map[protoreflect.FullName]bool{}
	for _, test := range []struct {
		method, request string
		want            string // in the answer, or the code of the refusal
	}{
		{"ContainerService/CreateContainer", `{"username":"alice","resources":{"memory":"1GiB"},"sshKeys":["` + key + `"],"labels":{"team":"a"}}`, `"username":"alice"`},
		{"ContainerService/CreateContainerStream", `{"create":{"username":"bob","sshKeys":["` + key + `"]}}`, `"username":"bob"`},
		{"ContainerService/ListContainers", `{"labels":{"team":"a"}}`, `"username":"alice"`},
		{"ContainerService/GetContainer", `{"username":"alice"}`, `"team":"a"`},
		{"ContainerService/WatchContainers", `{}`, `"username":"alice"`},
		{"ContainerService/UpdateContainer", `{"username":"alice","resources":{"memory":"2GiB"}}`, `"memory":"2GiB"`},
		{"ContainerService/StopContainer", `{"username":"alice"}`, `STOPPED`},
		{"ContainerService/StartContainer", `{"username":"alice"}`, `RUNNING`},
		{"ContainerService/RestartContainer", `{"username":"alice"}`, `RUNNING`},
		{"ContainerService/AddSSHKey", `{"username":"alice","sshKey":"` + strings.TrimSpace(hostKey(t)) + `"}`, `SHA256:`},
		{"ContainerService/RemoveSSHKey", `{"username":"alice","sshKey":"` + key + `"}`, `SHA256:`},
		{"ContainerService/CreateSnapshot", `{"username":"alice","name":"before"}`, `before`},
		{"ContainerService/ListSnapshots", `{"username":"alice"}`, `before`},
		{"ContainerService/RestoreSnapshot", `{"username":"alice","name":"before","force":true}`, `alice`},
		{"ContainerService/DeleteSnapshot", `{"username":"alice","name":"before"}`, `{`},
		{"ContainerService/GetMetrics", `{"username":"alice"}`, `alice`},
		{"ContainerService/GetSystemInfo", `{}`, `"containersTotal":2`},
		{"ContainerService/DeleteContainer", `{"username":"alice","force":true}`, `{`},
		{"ImageService/ListImages", `{}`, `{`},
		{"ImageService/PrepareImage", `{"image":"no-such-image"}`, "NotFound"},
		{"ImageService/DeleteImage", `{"image":"no-such-image"}`, "NotFound"},
		{"AuthService/WhoAmI", `{}`, `"role":"admin"`},
		{"AuthService/GetTrustBundle", `{}`, `"roots"`},
		{"AuthService/RenewCertificate", `{}`, "InvalidArgument"},
		{"AuthService/IssueCertificate", `{}`, "InvalidArgument"},
		{"AuthService/RevokeCertificate", `{}`, "InvalidArgument"},
		{"AuthService/ListCertificates", `{}`, `{`},
	} {
		path := "/containarium.v1." + test.method
		method := methodOf(api, path)
		if method == nil {
			t.Fatalf("%s is no method of the release before", path)
		}
		asked[method.FullName()] = true
		if got := asOlderClient(t, conn, path, method, test.request); !strings.Contains(got, test.want) {
			t.Errorf("%s: %s; want %s", test.method, got, test.want)
		}
	}
	api.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				if name := methods.Get(j).FullName(); !asked[name] {
					t.Errorf("%s is not in the list", name)
				}
			}
		}
		return true
	})
}

// asOlderClient makes a call by the descriptors of an API, and returns its answers
// as JSON up to the one that a stream goes on behind, or the code of its refusal.
func asOlderClient(t *testing.T, conn *grpc.ClientConn, path string, method protoreflect.MethodDescriptor, request string) string {
	t.Helper()
	message := dynamicpb.NewMessage(method.Input())
	if err := protojson.Unmarshal([]byte(request), message); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path)
	if err == nil {
		err = errors.Join(stream.SendMsg(message), stream.CloseSend())
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var got strings.Builder
	for {
		answer := dynamicpb.NewMessage(method.Output())
		if err := stream.RecvMsg(answer); errors.Is(err, io.EOF) {
			return got.String()
		} else if err != nil {
			return got.String() + status.Code(err).String()
		}
		known, err := forget(answer)
		if err != nil {
			t.Fatal(err)
		}
		data, err := protojson.Marshal(known)
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(strings.ReplaceAll(string(data), `": `, `":`)) // its blanks are at random
		if strings.HasSuffix(path, "/WatchContainers") && strings.Contains(got.String(), "alice") {
			return got.String()
		}
	}
}
