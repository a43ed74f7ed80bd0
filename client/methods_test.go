package client

import (
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// Every method of the API counts as what its access option says, and what is no
// method of it, or has no option, as one that changes something.
func TestOnlyReads(t *testing.T) {
	reads := 0
	services := pb.File_containarium_v1_service_proto.Services()
	for i := range services.Len() {
		for j := range services.Get(i).Methods().Len() {
			m := services.Get(i).Methods().Get(j)
			access, _ := proto.GetExtension(m.Options(), pb.E_Access).(*pb.Access)
			name := "/" + string(services.Get(i).FullName()) + "/" + string(m.Name())
			if got := onlyReads(name); got == access.GetMutates() {
				t.Errorf("%s: only reads is %t", name, got)
			} else if got {
				reads++
			}
		}
	}
	if reads < 5 || !onlyReads(pb.ContainerService_ListContainers_FullMethodName) || onlyReads(pb.ContainerService_CreateContainer_FullMethodName) {
		t.Errorf("%d methods only read", reads)
	}
	for _, name := range []string{
		"", "/", "x", "/containarium.v1.ContainerService/NoSuchMethod", "/containarium.v1.ContainerService", "/containarium.v1/Container",
		"/grpc.health.v1.Health/Check",
	} {
		if onlyReads(name) {
			t.Errorf("%q counts as one that only reads", name)
		}
	}
}
