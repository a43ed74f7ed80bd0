package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func TestSize(t *testing.T) {
	for bytes, want := range map[uint64]string{
		0: "0B", 1: "1B", 1023: "1023B", 1 << 10: "1.00KiB", 1536: "1.50KiB", 10 << 10: "10.0KiB", 100 << 10: "100KiB",
		999 << 10: "999KiB", 1000 << 10: "0.98MiB", 1<<20 - 1: "1.00MiB", 1 << 20: "1.00MiB", 4 << 30: "4.00GiB", 1<<64 - 1: "16.0EiB",
	} {
		if got := size(&bytes); got != want {
			t.Errorf("%d: %s, want %s", bytes, got, want)
		}
	}
	if size(nil) != "-" || number(nil) != "-" || cores(nil) != "-" || perSecond(nil) != "-" || pressure(nil) != "-" {
		t.Error("unknown is shown as something")
	}
}

func TestTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 119 * time.Minute: "119m",
		2 * time.Hour: "2h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 90 * 24 * time.Hour: "90d",
	} {
		if got := span(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
	if age(nil, time.Now()) != "-" || when(nil) != "-" {
		t.Error("an unknown time is shown as one")
	}
}

func TestRows(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	got := containerTable(listed("jump-1", []*pb.Container{
		{Username: "new", State: pb.ContainerState_CONTAINER_STATE_CREATING},
		{
			Username: "alice", State: pb.ContainerState_CONTAINER_STATE_RUNNING, Image: "debian/12",
			Resources: &pb.Resources{Cpu: "2", Memory: "4GiB"}, Network: &pb.Network{IpAddress: "10.0.0.2"},
			CreatedAt: timestamppb.New(now.Add(-time.Hour)),
		},
	}), false, false, now)
	want := [][]string{
		{"USER", "STATE", "ADDRESS", "CPU", "MEMORY", "DISK", "IMAGE", "AGE"},
		{"new", "creating", "", "", "", "", "", "-"},
		{"alice", "running", "10.0.0.2", "2", "4GiB", "", "debian/12", "60m"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Where Incus is a cluster, each line says where it is.
	clustered := containerTable(listed("jump-1", []*pb.Container{
		{Username: "alice", State: pb.ContainerState_CONTAINER_STATE_UNREACHABLE, Location: "m2"},
		{Username: "bob", State: pb.ContainerState_CONTAINER_STATE_CREATING},
	}), false, false, now)
	if diff := cmp.Diff([][]string{
		{"USER", "STATE", "ADDRESS", "CPU", "MEMORY", "DISK", "IMAGE", "AGE", "LOCATION"},
		{"alice", "unreachable", "", "", "", "", "", "-", "m2"},
		{"bob", "creating", "", "", "", "", "", "-", ""},
	}, clustered); diff != "" {
		t.Error(diff)
	}
	terminal, out, _ := capture(false)
	if err := terminal.table(got); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if n := len(strings.Fields(line)); n != len(want[0]) {
			t.Errorf("%q has %d words", line, n)
		}
	}
	metrics := usageTable(usagesOf(client.Server{}, &pb.GetMetricsResponse{
		Metrics: []*pb.ContainerMetrics{
			{Username: "bob", State: pb.ContainerState_CONTAINER_STATE_STOPPED, MemoryUsageBytes: proto.Uint64(0)},
			{
				Username: "eve", State: pb.ContainerState_CONTAINER_STATE_RUNNING, CpuCores: proto.Float64(1.256), NetworkReceivedRate: proto.Float64(1536),
				NetworkSentRate: proto.Float64(0), OomKills: proto.Uint64(3), Pressure: &pb.Pressure{Cpu: proto.Float64(1.55), Io: proto.Float64(0)},
			},
		},
		Host: &pb.HostMetrics{CpuCores: proto.Float64(0), MemoryTotalBytes: proto.Uint64(1 << 30), OomKills: proto.Uint64(0)},
	}), metricColumns, false)
	if diff := cmp.Diff([][]string{
		{"bob", "stopped", "-", "0B", "-", "-", "-", "-", "-", "-", "-", "-"},
		{"eve", "running", "1.26", "-", "-", "-", "-", "1.50KiB/s", "0B/s", "-", "3", "1.6/-/0.0"},
		{"(host)", "-", "0.00", "-", "1.00GiB", "-", "-", "-", "-", "-", "0", "-"},
	}, metrics[1:]); diff != "" {
		t.Error(diff)
	}
}

func TestInfoSaysWhatIsNotSo(t *testing.T) {
	no, yes := false, true
	for want, r := range map[string]*pb.Resources{
		"none":  {},
		"50GiB": {Disk: "50GiB", DiskEnforced: &yes},
		"50GiB (not enforced: the storage can not)": {Disk: "50GiB", DiskEnforced: &no},
	} {
		if got := diskLimit(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, c := range map[string]*pb.Container{
		"off":           {},
		"on":            {DockerEnabled: true},
		"on, installed": {DockerEnabled: true, DockerInstalled: &yes},
		"on, not in the image: install it in the container": {DockerEnabled: true, DockerInstalled: &no},
	} {
		if got := docker(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// hostile is what a server may try on a terminal: a colour, a screen cleared by a
// C1 control, a forged line, a text turned around, a tag.
const hostile = "a\x1b[31m\u009b2J\r\nx\u202eb\U000e0041\u2028c\x00"

func checkSafe(t *testing.T, what, out string) {
	t.Helper()
	if strings.ContainsAny(out, "\x1b\u009b\r\u202e\U000e0041\u2028\x00") {
		t.Errorf("%s: something is printed raw: %q", what, out)
	}
}

func TestNothingRawReachesATerminal(t *testing.T) {
	terminal, out, errs := capture(true)
	if err := terminal.table([][]string{{hostile, "b\tc"}, {"c", hostile}}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("the table has %d lines", n)
	}
	if err := terminal.printf("%s", hostile); err != nil {
		t.Fatal(err)
	}
	terminal.notef("%s", hostile)
	checkSafe(t, "text", out.String()+errs.String())
	if n := strings.Count(errs.String(), "\n"); n != 1 {
		t.Errorf("the note has %d lines", n)
	}
	if got := clean("plain ü 漢字"); got != "plain ü 漢字" {
		t.Errorf("clean changes %q", got)
	}
	m := &pb.ListContainersResponse{Containers: []*pb.Container{{Username: hostile, Labels: map[string]string{hostile: hostile}}}}
	data, err := document(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{formatJSON, formatYAML} {
		out.Reset()
		if err := terminal.document(format, data); err != nil {
			t.Fatal(err)
		}
		checkSafe(t, format, out.String())
		// What stands there instead means the same to a program.
		var back pb.ListContainersResponse
		text := out.Bytes()
		if format == formatYAML {
			var v any
			if err := yaml.Unmarshal(text, &v); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if text, err = json.Marshal(v); err != nil {
				t.Fatal(err)
			}
		}
		if err := protojson.Unmarshal(text, &back); err != nil {
			t.Fatalf("%s: %v: %s", format, err, text)
		}
		if diff := cmp.Diff(m, &back, protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
	}
}

func TestDocument(t *testing.T) {
	m := &pb.GetMetricsResponse{Metrics: []*pb.ContainerMetrics{
		{Username: "no", Name: "123", State: pb.ContainerState_CONTAINER_STATE_RUNNING, MemoryUsageBytes: proto.Uint64(1 << 40)},
		{Username: "1e3"},
		{Username: "12:30", Name: "On"},
	}}
	const wantJSON = `{
  "metrics": [
    {
      "username": "no",
      "name": "123",
      "state": "CONTAINER_STATE_RUNNING",
      "memoryUsageBytes": "1099511627776"
    },
    {
      "username": "1e3",
      "name": "",
      "state": "CONTAINER_STATE_UNSPECIFIED"
    },
    {
      "username": "12:30",
      "name": "On",
      "state": "CONTAINER_STATE_UNSPECIFIED"
    }
  ]
}
`
	const wantYAML = `---
metrics:
  - username: "no"
    name: "123"
    state: CONTAINER_STATE_RUNNING
    memoryUsageBytes: "1099511627776"
  - username: "1e3"
    name: ""
    state: CONTAINER_STATE_UNSPECIFIED
  - username: "12:30"
    name: "On"
    state: CONTAINER_STATE_UNSPECIFIED
`
	data, err := document(m)
	if err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string]string{formatJSON: wantJSON, formatYAML: wantYAML} {
		terminal, out, _ := capture(false)
		if err := terminal.document(format, data); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Error(format, diff)
		}
	}
}

func TestProgress(t *testing.T) {
	terminal, out, errs := capture(true)
	terminal.progressf("one")
	terminal.progressf("two")
	terminal.notef("done")
	if want := "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[Kcontainarium: done\n"; errs.String() != want {
		t.Errorf("%q, want %q", errs, want)
	}
	terminal.errTTY = false
	errs.Reset()
	terminal.progressf("three")
	terminal.endProgress()
	if errs.Len()+out.Len() > 0 {
		t.Errorf("nobody watches, and it prints %q", errs)
	}
}
