package incusx

import (
	"context"
	"time"
)

// The pauses of a poll: short at first, since most waits are short, and bounded
// so that the end is seen soon.
const (
	pollFirst = 20 * time.Millisecond
	pollMost  = 250 * time.Millisecond
)

// poll calls done, with growing pauses, until it reports true or an error, or
// ctx ends; then it returns ctx' error.
func poll(ctx context.Context, done func() (bool, error)) error {
	pause := pollFirst * 4 / 5
	return pollPaced(ctx, func() time.Duration { pause = min(pause*5/4, pollMost); return pause }, done)
}

// pollSteady is how long pollEvery keeps its pace before its pauses grow.
const pollSteady = 10 * time.Second

// pollEvery is poll for what is cheap to look at: the pauses stay as they are for
// as long as anything takes that goes well.
func pollEvery(ctx context.Context, pause time.Duration, done func() (bool, error)) error {
	begun := time.Now()
	return pollPaced(ctx, func() time.Duration {
		if time.Since(begun) > pollSteady {
			return max(pause, pollMost)
		}
		return pause
	}, done)
}

func pollPaced(ctx context.Context, pause func() time.Duration, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		timer := time.NewTimer(pause())
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}
