package client

import (
	"math"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// A daemon that asks a watch to wait for ever is tried again all the same, and not
// at once.
func TestLongestAsked(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{time.Second: time.Second, math.MaxInt64: longestAsked} {
		st, err := status.New(codes.Unavailable, "").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(asked)})
		if err != nil {
			t.Fatal(err)
		}
		if got := retryAfter(&Error{Status: st}); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if wait := backOff(1, firstWait, longestWait, retryAfter(&Error{Status: st})); wait < want || wait > want+want/4 {
			t.Errorf("asked for %s it waits %s", asked, wait)
		}
	}
}
