package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// The operator sees what a daemon goes by, and what is wrong with it.
func TestTrustRows(t *testing.T) {
	at := timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	const when = "2026-01-02 03:04:05 UTC"
	good := &pb.Generation{Number: 3, LoadedAt: at, ServerCertificateNotAfter: at}
	for name, test := range map[string]struct {
		generation *pb.Generation
		source     *pb.TrustSource
		want       string
	}{
		"no lists": {good, nil, "certificate until: " + when + "\nloaded: " + when + ", generation 3\nrevocation: off\n"},
		"a failed reload": {&pb.Generation{Number: 3, LastError: "one\ntwo", LastErrorAt: at}, nil,
			"certificate until: -\nloaded: -, generation 3\nnot loaded: one; two, at " + when + "\nrevocation: off\n"},
		"lists": {&pb.Generation{Number: 3, RevocationLists: []*pb.RevocationList{
			{Issuer: "CA", Number: "7", ThisUpdate: at, NextUpdate: at, Revoked: 2}, {Issuer: "Old CA", Problem: "it expired"},
		}}, nil, "certificate until: -\nloaded: -, generation 3\nrevocation: CA: 2 revoked, list 7 of " + when + ", good until " + when + "\nrevocation: BAD: it expired\n"},
		"a source": {good, &pb.TrustSource{Address: "jump-1:50051", FetchedAt: at},
			"certificate until: " + when + "\nloaded: " + when + ", generation 3\nrevocation: off\ntrust from: jump-1:50051, asked " + when + "\n"},
		"a source that is away": {good, &pb.TrustSource{Address: "jump-1:50051", LastError: "no answer"},
			"certificate until: " + when + "\nloaded: " + when + ", generation 3\nrevocation: off\ntrust from: jump-1:50051, asked -; since then: no answer\n"},
	} {
		var got strings.Builder
		for _, row := range trustRows(test.generation, test.source) {
			got.WriteString(strings.Join(row, " ") + "\n")
		}
		if got.String() != test.want {
			t.Errorf("%s:\n%swant\n%s", name, got.String(), test.want)
		}
	}
}
