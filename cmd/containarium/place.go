package main

import (
	"context"
	"errors"
	"slices"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/config/strict"
	"github.com/footprintai/containarium/incusx"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// leastLoaded is the one way in which --place chooses.
const leastLoaded = "least-loaded"

// containersPerCore is how many running containers to a core weigh as much as all
// of the memory in use.
const containersPerCore = 10

// errHasOne says that a user who was to be placed has a container already.
var errHasOne = errors.New("has one already")

// load is how full a server is.
type load struct {
	server         client.Server
	memory, used   float64 // bytes
	cores, running float64
}

func loadOf(server client.Server, info *pb.GetSystemInfoResponse) *load {
	return &load{
		server: server, memory: float64(info.GetMemoryTotalBytes()), used: float64(info.GetMemoryUsedBytes()),
		cores: float64(info.GetCpuCount()), running: float64(info.GetContainersRunning()),
	}
}

// value is the share of the memory that is in use, plus the running containers to
// a core by containersPerCore. A server that does not tell its memory counts as
// one without any left, and one that does not tell its cores as one with a single.
func (l *load) value() float64 {
	memory := 1.0
	if l.memory > 0 {
		memory = l.used / l.memory
	}
	return memory + l.running/max(l.cores, 1)/containersPerCore
}

// add counts a container that is to be made there, with all the memory that it may
// take.
func (l *load) add(request *pb.CreateContainerRequest) {
	l.running++
	if limit, err := incusx.ParseSize(request.GetResources().GetMemory(), 0); err == nil {
		l.used += float64(limit)
	}
}

// least is the load with the smallest value; of equal ones the first.
func least(loads []*load) *load {
	return slices.MinFunc(loads, func(a, b *load) int {
		switch x, y := a.value(), b.value(); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
}

// checkPlace refuses a way to choose that is none.
func checkPlace(c *cli.Context) error {
	if way := c.String("place"); way != leastLoaded {
		return usagef(c, "--place: no way %q: %s%s", way, leastLoaded, strict.Suggest(way, []string{leastLoaded}))
	}
	return nil
}

// placed is where to make a user's container, of the servers that answer; all of
// them are asked where none is named. It fails where one of them has it already.
func placed(c *cli.Context, arg string) (*targets, []place, error) {
	if err := checkPlace(c); err != nil {
		return nil, nil, err
	}
	if _, _, with := cutServer(arg); with {
		return nil, nil, usagef(c, "%q names a server, and --place chooses one", arg)
	}
	t, err := everywhere(c, createTimeout, arg)
	if err != nil {
		return nil, nil, err
	}
	type answer struct {
		has  bool
		load *load
	}
	look := *t
	look.timeout = min(t.timeout, readTimeout)
	answers, failed := askAbout(c, &look, arg, func(ctx context.Context, s *session) (answer, error) {
		_, err := s.Containers.GetContainer(ctx, &pb.GetContainerRequest{Username: arg})
		if err != nil && status.Code(err) != codes.NotFound {
			return answer{}, err
		}
		info, infoErr := systemInfo(ctx, s)
		return answer{err == nil, loadOf(s.Server(), info)}, infoErr
	})
	if len(answers) == 0 || c.Err() != nil {
		return nil, nil, failed
	}
	var loads []*load
	for _, a := range answers {
		if a.Value.has {
			has := place{arg, a.Server}
			return nil, nil, t.failed(&saying{"there is " + has.String() + " already", errHasOne}, doing(c, arg), arg, a.Server)
		}
		loads = append(loads, a.Value.load)
	}
	for _, err := range errorsOf(failed) {
		terminalOf(c).warnf("left out: %s", explain(c.Context, err))
	}
	t.fleet, t.qualified = false, true // one container: its answer is that of one server
	return t, []place{{arg, least(loads).server}}, nil
}
