package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// What a container does not have comes last, whichever way the others go.
func TestSortContainers(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	make := func(server, user, cpu, memory, address string, age time.Duration) container {
		c := &pb.Container{Username: user, Resources: &pb.Resources{Cpu: cpu, Memory: memory, Disk: memory}, Network: &pb.Network{IpAddress: address}}
		if age > 0 {
			c.CreatedAt = timestamppb.New(at.Add(-age))
		}
		return container{server, c}
	}
	rows := []container{
		make("j2", "a", "4", "900MiB", "10.0.0.9", time.Hour),
		make("j1", "b", "", "", "", 0),
		make("j1", "c", "0-9", "1GiB", "10.0.0.10", time.Minute),
		make("j1", "d", "1.5", "1GB", "9.0.0.1", 48*time.Hour),
	}
	for field, want := range map[string][2]string{
		"user":    {"abcd", "dcba"},
		"server":  {"bcda", "abcd"},
		"cpu":     {"dacb", "cadb"},
		"memory":  {"adcb", "cdab"},
		"disk":    {"adcb", "cdab"},
		"address": {"dacb", "cadb"},
		"age":     {"cadb", "dacb"},
	} {
		for down, want := range want {
			sorted := slices.Clone(rows)
			sortBy(sorted, containerKeys[field], down == 1)
			var got strings.Builder
			for _, row := range sorted {
				got.WriteString(row.GetUsername())
			}
			if got.String() != want {
				t.Errorf("%s, down %d: %s, want %s", field, down, &got, want)
			}
		}
	}
}

// The busiest comes first, what is not known last.
func TestSortUsage(t *testing.T) {
	rows := []usage{
		{"j1", &pb.ContainerMetrics{Username: "a"}},
		{"j1", &pb.ContainerMetrics{Username: "b", CpuCores: proto.Float64(0), MemoryUsageBytes: proto.Uint64(9)}},
		{"j2", &pb.ContainerMetrics{Username: "c", CpuCores: proto.Float64(1.5), MemoryUsageBytes: proto.Uint64(10)}},
	}
	for field, want := range map[string]string{"cpu": "cba", "-cpu": "bca", "memory": "cba", "user": "abc", "-server": "cab"} {
		field, down := strings.CutPrefix(field, "-")
		sorted := slices.Clone(rows)
		sortBy(sorted, usageKeys[field], down)
		var got strings.Builder
		for _, row := range sorted {
			got.WriteString(row.GetUsername())
		}
		if got.String() != want {
			t.Errorf("%s, down %t: %s, want %s", field, down, &got, want)
		}
	}
}
