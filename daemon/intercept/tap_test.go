package intercept

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

// TestTapFailsClosed: what goes wrong before a call has begun refuses it, and is
// audited.
func TestTapFailsClosed(t *testing.T) {
	k := newKit(t)
	alice := k.alice(t)
	ended, cancel := context.WithCancel(alice)
	cancel()
	for name, test := range map[string]struct {
		ctx    context.Context
		breaks bool
		want   codes.Code
	}{
		"nobody":             {t.Context(), false, codes.Unauthenticated},
		"gone already":       {ended, false, codes.Canceled},
		"a panic":            {alice, true, codes.Internal},
		"one that is let in": {alice, false, codes.OK},
	} {
		k.trail.Reset()
		current := k.Current
		if test.breaks { // a panic before there is a handler, which must be recovered from as well
			k.Current = func() *Generation { panic("broken") }
		}
		ctx, err := k.tap(test.ctx, &tap.Info{FullMethodName: getContainer})
		k.Current = current
		if status.Code(err) != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
		if test.want == codes.OK {
			if _, ok := callerOf(ctx); !ok || k.trail.Len() > 0 {
				t.Errorf("%s: the call is not in its context, or audited too early: %s", name, k.trail.String())
			}
			continue
		}
		if r := k.last(t); r.Code != test.want.String() || r.Decision != "deny" || strings.Contains(err.Error(), "broken") {
			t.Errorf("%s: %v, audit %+v", name, err, r)
		}
	}
}
