package main

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// What a server can not tell is no 0, and a sum without it says so.
func TestSystemTable(t *testing.T) {
	answers := []client.Answer[*pb.GetSystemInfoResponse]{
		{Server: client.Server{Name: "jump-1"}, Value: &pb.GetSystemInfoResponse{
			Version: "v1", ContainersTotal: 3, ContainersRunning: 2, CpuCount: 4, MemoryUsedBytes: 1 << 30, MemoryTotalBytes: 4 << 30, StorageTotalBytes: proto.Uint64(1 << 40),
		}},
		{Server: client.Server{Name: "jump-2"}, Value: &pb.GetSystemInfoResponse{
			Version: "v2", ContainersTotal: 1, ContainersRunning: 1, CpuCount: 2, MemoryUsedBytes: 2 << 30, MemoryTotalBytes: 4 << 30,
		}},
	}
	rows := systemTable(answers)
	if diff := cmp.Diff([][]string{
		{"jump-1", "v1", "3", "2", "4", "1.00GiB", "4.00GiB", "-", "1.00TiB", "-"},
		{"jump-2", "v2", "1", "1", "2", "2.00GiB", "4.00GiB", "-", "-", "-"},
		{"(2)", "", "4", "3", "6", "3.00GiB", "8.00GiB", "-", "1.00TiB+", ""},
	}, rows[1:]); diff != "" {
		t.Error(diff)
	}
	// So it is in the document.
	data, err := json.Marshal(totalsOf(answers))
	const want = `{"servers":2,"containersTotal":4,"containersRunning":3,"cpuCount":6,"memoryUsedBytes":"3221225472","memoryTotalBytes":"8589934592",` +
		`"storageTotalBytes":"1099511627776","incomplete":["storageUsedBytes","storageTotalBytes"]}`
	if err != nil || string(data) != want {
		t.Errorf("%s, %v; want %s", data, err, want)
	}
	if got := answers[0].Value.GetStorageTotalBytes(); got != 1<<40 {
		t.Errorf("an answer is changed: %d", got)
	}
}
