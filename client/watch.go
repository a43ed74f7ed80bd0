package client

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// WatchEvent is what a watch says: a Message of the daemon, or that the watch was
// cut off from it.
type WatchEvent struct {
	// Message is nil where the watch was cut off; its getters take that.
	Message *pb.WatchContainersResponse
	// CutOff is why the daemon can not be heard. What was seen of it is stale from
	// here to the next SYNCED message. Each attempt that fails says so again.
	CutOff error
	// Retry is how long it is to the next attempt, where the watch was cut off.
	Retry time.Duration
}

// Watch tells which containers there are and every change, until ctx ends or the
// daemon answers what another attempt will not mend, for example
// PermissionDenied; that error is the last thing that comes. It survives
// restarts of the daemon, breaks of the network and the end of a certificate that
// was renewed: it goes on from the version that it knew, or begins anew with RESET
// where the daemon can not.
//
//	for event, err := range client.Watch(ctx, c, &pb.WatchContainersRequest{}) {
//		switch {
//		case err != nil: // it is over
//			return err
//		case event.CutOff != nil: // mark what is shown as stale
//		case event.Message.GetChange() == pb.WatchChange_WATCH_CHANGE_PRESENT: // new or changed
//		}
//	}
//
// A daemon that is gone without a word is missed within 40 seconds. To come back
// is tried at ever longer intervals, of 10 seconds at most. WithRetry does not
// concern it.
func Watch(ctx context.Context, c *Client, request *pb.WatchContainersRequest) iter.Seq2[WatchEvent, error] {
	return func(yield func(WatchEvent, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // of a loop that was left
		w := &watch{
			containers: pb.NewContainerServiceClient(c.channel),
			request:    proto.CloneOf(request),
			yield:      yield,
		}
		if w.request == nil {
			w.request = &pb.WatchContainersRequest{}
		}
		for {
			err := w.once(ctx)
			if errors.Is(err, errLeft) {
				return
			}
			w.failures++
			if ctx.Err() != nil || !w.mends(err) {
				yield(WatchEvent{}, err)
				return
			}
			wait := backOff(w.failures, firstWait, longestWait, retryAfter(err))
			if !yield(WatchEvent{CutOff: err, Retry: wait}, nil) {
				return
			}
			if err := sleep(ctx, wait); err != nil {
				yield(WatchEvent{}, err)
				return
			}
		}
	}
}

// errLeft says that whoever ranges over the watch has left the loop.
var errLeft = errors.New("the loop was left")

type watch struct {
	containers pb.ContainerServiceClient
	request    *pb.WatchContainersRequest
	yield      func(WatchEvent, error) bool
	// failures counts the attempts that failed since the last SYNCED; heard says that
	// there was one in the last of them.
	failures int
	heard    bool
}

// once watches until it is cut off.
func (w *watch) once(ctx context.Context) error {
	w.heard = false
	stream, err := w.containers.WatchContainers(ctx, w.request)
	if err != nil {
		return err
	}
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		switch message.GetChange() {
		case pb.WatchChange_WATCH_CHANGE_RESET:
			// What was seen is forgotten. Cut off before everything has come, the next
			// attempt must not go on from there.
			w.request.Version = ""
		case pb.WatchChange_WATCH_CHANGE_SYNCED:
			w.request.Version = message.GetVersion()
			w.failures, w.heard = 0, true
		}
		if !w.yield(WatchEvent{Message: message}, nil) {
			return errLeft
		}
	}
}

// mends reports whether another attempt may fare better.
func (w *watch) mends(err error) bool {
	if errors.Is(err, io.EOF) { // a daemon never ends a watch in peace, but who stands before it may
		return true
	}
	call, ok := errors.AsType[*Error](err)
	if !ok {
		return false
	}
	switch call.Code() {
	case codes.Unauthenticated:
		// The certificate of the connection has expired. There may be another since, and
		// whether there is, the next attempt shows.
		return w.heard
	case codes.ResourceExhausted:
		return call.RetryAfter() > 0
	}
	return call.Transient()
}

// longestAsked bounds the wait that a daemon can ask a watch for: it asks for
// seconds, and who sends centuries would have them overflow.
const longestAsked = time.Hour

func retryAfter(err error) time.Duration {
	if call, ok := errors.AsType[*Error](err); ok {
		return min(call.RetryAfter(), longestAsked)
	}
	return 0
}
