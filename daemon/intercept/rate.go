package intercept

import (
	"context"
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/footprintai/containarium/daemon/limit"
)

// rate takes the call from what its caller may make. It is asked before the
// policy: a flood of denied calls is a flood as well. The connection of a call that
// is one too many is held.
func (c *call) rate() error {
	if c.Rate == nil {
		return nil
	}
	ok, after := c.Rate.Allow(c.record.CN)
	if ok {
		return nil
	}
	c.record.Rule = "limits.rate"
	if c.hold != nil {
		c.hold(holdFor)
	}
	return tooMany(c.record.CN, after)
}

// turn waits until a call that changes nothing may run beside the others of its
// caller; done is to be called after it.
func (c *call) turn(ctx context.Context) (done func(), err error) {
	if c.method.mutates || c.Turns == nil {
		return func() {}, nil
	}
	cn := c.record.CN
	switch err := c.Turns.Take(ctx, cn); {
	case errors.Is(err, limit.ErrBusy):
		return nil, tooMany(cn, time.Second)
	case err != nil:
		return nil, status.FromContextError(err).Err()
	}
	return func() { c.Turns.Give(cn) }, nil
}

// tooMany tells a caller that it makes too many calls, and when to ask again.
func tooMany(cn string, after time.Duration) error {
	st := status.Newf(codes.ResourceExhausted, "%s makes too many calls: try again in %s", cn, after.Round(time.Millisecond))
	if detailed, err := st.WithDetails(
		&errdetails.ErrorInfo{Reason: "TOO_MANY_CALLS", Domain: "containarium"},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(after)},
	); err == nil {
		st = detailed
	}
	return st.Err()
}
