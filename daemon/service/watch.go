package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/footprintai/containarium/incusx/cache"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const (
	// heartbeat is how often a watch says that it is up to date while nothing
	// changes. It is below the minute after which home routers forget a quiet
	// connection.
	heartbeat = 30 * time.Second
	// maxWatches bounds the open watches: each takes a goroutine and its buffers, and
	// a change wakes all of them.
	maxWatches = 4096
	// maxVersion bounds the version in a request, in bytes: ours have about 60.
	maxVersion = 128

	watchRPC = "ContainerService/WatchContainers"
)

// watches are those that are open.
type watches struct {
	open      atomic.Int32
	heartbeat time.Duration
}

// WatchContainers implements the RPC. A reader that is slow holds up nobody: what
// happens meanwhile comes as one change for each container or, if that is more
// than is kept, as a new beginning. While Incus is away a watch that is open stays
// open, and says so.
func (s *Service) WatchContainers(request *pb.WatchContainersRequest, stream pb.ContainerService_WatchContainersServer) error {
	if err := checkFilter(request, request.GetVersion()).err(); err != nil {
		return err
	}
	ctx := stream.Context()
	if s.watches.open.Add(1) > maxWatches {
		s.watches.open.Add(-1)
		return newStatus(codes.ResourceExhausted, "TOO_MANY_WATCHES", fmt.Sprintf("%d watches are open on this daemon, which is the most", maxWatches))
	}
	defer s.watches.open.Add(-1)
	if err := s.copied.Ready(ctx); err != nil {
		return statusOf(err)
	}
	w := &watch{Service: s, request: request, send: stream.Send}
	return statusOf(w.run(ctx))
}

// watch is one watch.
type watch struct {
	*Service
	request *pb.WatchContainersRequest
	send    func(*pb.WatchContainersResponse) error
	// What the caller was told last: what it saw is decided by these.
	at         cache.Version
	may        func(rpc, username string) bool
	generation uint64
	live       bool
}

func (w *watch) run(ctx context.Context) error {
	ticker := time.NewTicker(w.watches.heartbeat)
	defer ticker.Stop()
	beat := true // the first time in any case
	for {
		may, generation, newer := w.Standing(ctx)
		if w.may == nil {
			w.may, w.generation = may, generation
			w.at = w.parse(w.request.GetVersion())
		}
		delta, changed := w.copied.Since(w.at)
		sent, err := w.tell(ctx, delta, may, generation)
		if err != nil {
			return err
		}
		if live, _ := w.copied.Freshness(); sent || beat || live != w.live {
			w.live = live
			if err := w.send(w.synced()); err != nil {
				return err
			}
		}
		beat = false
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		case <-newer:
		case <-ticker.C:
			beat = true
		}
	}
}

// tell sends what became of the containers that the caller saw or may see now, and
// reports whether there was anything.
func (w *watch) tell(ctx context.Context, delta cache.Delta[*pb.Container], may func(rpc, username string) bool, generation uint64) (sent bool, err error) {
	step := func(username string, before, after *cache.Entry[*pb.Container]) error {
		saw, sees := w.fits(before, w.may), w.fits(after, may)
		message := &pb.WatchContainersResponse{Change: pb.WatchChange_WATCH_CHANGE_PRESENT, Username: username}
		switch {
		case sees && (!saw || before != after):
			message.Container = after.View
		case saw && !sees:
			message.Change = pb.WatchChange_WATCH_CHANGE_GONE
		default:
			return nil
		}
		sent = true
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		return w.send(message)
	}
	changed := map[string]bool{}
	if delta.Reset {
		sent = true
		err = w.send(&pb.WatchContainersResponse{Change: pb.WatchChange_WATCH_CHANGE_RESET})
	}
	for i := 0; i < len(delta.Changes) && err == nil; i++ {
		change := &delta.Changes[i]
		changed[change.Username] = true
		err = step(change.Username, change.Before, change.After)
	}
	for i := 0; i < len(delta.All) && err == nil && (delta.Reset || generation != w.generation); i++ {
		entry := delta.All[i]
		switch username := entry.Container.Username; {
		case delta.Reset:
			err = step(username, nil, entry)
		case !changed[username]:
			err = step(username, entry, entry)
		}
	}
	w.at, w.may, w.generation = delta.Version, may, generation
	return sent, err
}

// fits reports whether the caller sees a container.
func (w *watch) fits(entry *cache.Entry[*pb.Container], may func(rpc, username string) bool) bool {
	return entry != nil && matches(&entry.Container, w.request) && may(watchRPC, entry.Container.Username)
}

func (w *watch) synced() *pb.WatchContainersResponse {
	return &pb.WatchContainersResponse{
		Change:    pb.WatchChange_WATCH_CHANGE_SYNCED,
		Version:   fmt.Sprintf("%s.%d.%s", w.at.Epoch, w.at.Number, w.digest()),
		Freshness: w.freshness(),
	}
}

// parse reads a version that synced wrote. One that is not ours, or was made under
// another policy or for another filter, is none: what its caller saw can not be
// told from it, so everything begins anew.
func (w *watch) parse(version string) cache.Version {
	parts := strings.Split(version, ".")
	if len(parts) != 3 || parts[2] != w.digest() {
		return cache.Version{}
	}
	number, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return cache.Version{}
	}
	return cache.Version{Epoch: parts[0], Number: number}
}

// digest tells one filter and policy from another.
func (w *watch) digest() string {
	states := slices.Sorted(slices.Values(w.request.GetStates()))
	labels := slices.Sorted(maps.Keys(w.request.GetLabels()))
	hash := sha256.New()
	_, _ = fmt.Fprintf(hash, "%d %d %q", w.generation, states, labels)
	for _, key := range labels {
		_, _ = fmt.Fprintf(hash, " %q", w.request.GetLabels()[key])
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}
