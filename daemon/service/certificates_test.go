package service

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// journal is a number of certificates in the order of their serials, of which
// those of one name end at the same instant.
func journal(n int, sans ...string) []*pb.Certificate {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var list []*pb.Certificate
	for i := range n {
		list = append(list, &pb.Certificate{
			Serial: fmt.Sprintf("%06X", n-i), Name: fmt.Sprintf("host-%d", i/3), NotAfter: timestamppb.New(start.Add(time.Duration(i/3) * time.Hour)), Sans: sans,
		})
	}
	return list
}

// pages walks through all pages and returns them.
func pages(t *testing.T, list func() []*pb.Certificate, size int) [][]*pb.Certificate {
	t.Helper()
	var all [][]*pb.Certificate
	for after := ""; ; {
		response := page(list(), after, size)
		all = append(all, response.GetCertificates())
		if response.GetNextPageToken() == "" {
			return all
		}
		var err error
		if after, err = decodeToken(response.GetNextPageToken()); err != nil {
			t.Fatal(err)
		}
	}
}

// Every certificate is on one page, what ends first at the front.
func TestPages(t *testing.T) {
	for _, size := range []int{1, 2, 7, 20, 21, 1000} {
		var last string
		n := 0
		for _, p := range pages(t, func() []*pb.Certificate { return journal(20) }, size) {
			if len(p) > size {
				t.Errorf("a page of %d, want at most %d", len(p), size)
			}
			for _, c := range p {
				if place(c) <= last {
					t.Errorf("%s after %s", place(c), last)
				}
				last = place(c)
				n++
			}
		}
		if n != 20 {
			t.Errorf("size %d: %d certificates, want 20", size, n)
		}
	}
}

// What is signed between two pages moves nothing that is on them.
func TestPagesWhileOthersIssue(t *testing.T) {
	calls := 0
	seen := map[string]int{}
	for _, p := range pages(t, func() []*pb.Certificate { calls++; return journal(20)[:19-calls%2] }, 4) {
		for _, c := range p {
			seen[c.GetSerial()]++
		}
	}
	for serial, n := range seen {
		if n != 1 {
			t.Errorf("%s is on %d pages", serial, n)
		}
	}
	if len(seen) < 18 {
		t.Errorf("%d certificates, want at least the 18 that were always there", len(seen))
	}
}

// Certificates with many names make short pages: a client takes 4 MiB.
func TestPagesAreBoundedInBytes(t *testing.T) {
	sans := make([]string, 100)
	for i := range sans {
		sans[i] = strings.Repeat("x", 250)
	}
	n := 0
	for _, p := range pages(t, func() []*pb.Certificate { return journal(200, sans...) }, maxPage) {
		if size := proto.Size(&pb.ListCertificatesResponse{Certificates: p}); size > maxPageBytes+100*256 || len(p) == 0 {
			t.Errorf("a page of %d certificates and %d bytes", len(p), size)
		}
		n += len(p)
	}
	if n != 200 {
		t.Errorf("%d certificates, want 200", n)
	}
}

// What an Authority says no to has a code and a reason of its own.
func TestAuthorityErrorsAreTold(t *testing.T) {
	for err, want := range map[error]struct {
		code   codes.Code
		reason string
	}{
		fmt.Errorf("renew: %w", ErrNoCertificate):      {codes.NotFound, "NOT_FOUND"},
		fmt.Errorf("renew: %w", ErrCertificateRevoked): {codes.FailedPrecondition, "REVOKED"},
		fmt.Errorf("sign: %w: rule", ErrNotSigned):     {codes.FailedPrecondition, "REFUSED_BY_CA"},
		fmt.Errorf("sign: %w", ErrAuthorityLocked):     {codes.FailedPrecondition, "CA_LOCKED"},
		&NotInForceError{Err: ErrNotSigned}:            {codes.FailedPrecondition, "NOT_IN_FORCE"},
	} {
		if code, reason := status.Code(statusOf(err)), reasonOf(err); code != want.code || reason != want.reason {
			t.Errorf("%v: %s %s, want %s %s", err, code, reason, want.code, want.reason)
		}
	}
}
