package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// bulkLook is what a server tells before anything is made.
type bulkLook struct {
	containers map[string]*pb.Container
	load       *load
}

// bulkPlan looks at what is there, and decides what is to be made and where. What
// of servers failed comes back; with the error nothing is to be done.
func bulkPlan(c *cli.Context, t *targets, items []*bulkItem) (failed []error, err error) {
	choose := slices.ContainsFunc(items, func(item *bulkItem) bool { return item.place.server.Address == "" })
	look := *t
	look.timeout = min(t.timeout, readTimeout)
	look.servers = bulkServers(t, items, choose)
	answers, some := askAll(c, &look, func(ctx context.Context, s *session) (*bulkLook, error) {
		response, err := s.Containers.ListContainers(ctx, &pb.ListContainersRequest{})
		if err != nil {
			return nil, err
		}
		found := &bulkLook{containers: map[string]*pb.Container{}}
		for _, container := range response.GetContainers() {
			found.containers[container.GetUsername()] = container
		}
		if choose {
			info, err := systemInfo(ctx, s)
			if err != nil {
				return nil, err
			}
			found.load = loadOf(s.Server(), info)
		}
		return found, nil
	})
	if len(answers) == 0 || c.Err() != nil {
		return nil, some
	}
	looks := map[string]*bulkLook{}
	for _, answer := range answers {
		looks[answer.Server.Address] = answer.Value
	}
	down := map[string]error{}
	for _, err := range errorsOf(some) {
		if f, ok := errors.AsType[*failure](err); ok {
			down[f.server.Address] = err
		}
	}
	var loads []*load
	for _, server := range t.servers {
		if found := looks[server.Address]; choose && found != nil {
			loads = append(loads, found.load)
		}
	}
	for _, item := range items {
		item.find(t, looks, down)
	}
	if err := bulkPlace(c, t, items, loads); err != nil {
		return nil, err
	}
	return errorsOf(some), nil
}

// bulkServers are those that matter, each once.
func bulkServers(t *targets, items []*bulkItem, choose bool) []client.Server {
	var servers []client.Server
	add := func(server client.Server) {
		if !slices.ContainsFunc(servers, func(s client.Server) bool { return s.Address == server.Address }) {
			servers = append(servers, server)
		}
	}
	if choose {
		for _, server := range t.servers {
			add(server)
		}
	}
	for _, item := range items {
		if item.place.server.Address != "" {
			add(item.place.server)
		}
	}
	return servers
}

// find looks for the item's container where it is to be: of one that is to be
// placed, on all servers. It fails closed where that can not be known, so that a
// second run makes no second container.
func (item *bulkItem) find(t *targets, looks map[string]*bulkLook, down map[string]error) {
	among := []client.Server{item.place.server}
	if item.place.server.Address == "" {
		among = t.servers
	}
	for _, server := range among {
		if found := looks[server.Address]; found != nil && found.containers[item.place.user] != nil {
			item.place.server = server
			item.compare(found.containers[item.place.user])
			return
		}
	}
	for _, server := range among {
		if down[server.Address] == nil {
			continue
		}
		item.result = bulkFailed
		if item.place.server.Address != "" {
			item.err = errUnreached
		} else {
			item.err = t.failed(&saying{fmt.Sprintf("the container may be on %s, which did not answer", server.Name), errUnreached},
				"create "+item.place.user, item.place.user, client.Server{})
		}
		return
	}
}

// errUnreached says that nobody knows whether the container is there; why the
// server did not answer is an error of its own.
var errUnreached = errors.New("the server did not answer")

// compare decides whether the container that is there is as the file wants it.
func (item *bulkItem) compare(container *pb.Container) {
	item.container = container
	item.differences = differences(item.request, container)
	item.result = bulkExists
	if len(item.differences) > 0 {
		item.result = bulkDiffers
	}
}

// bulkPlace chooses servers for what is left open, and asks before it makes
// containers on several servers that nobody named.
func bulkPlace(c *cli.Context, t *targets, items []*bulkItem, loads []*load) error {
	counts := map[string]int{}
	for _, item := range items { // what the file has on a server counts there
		for _, l := range loads {
			if item.result == "" && item.place.server.Address == l.server.Address {
				l.add(item.request)
			}
		}
	}
	for _, item := range items {
		if item.result == "" && item.place.server.Address == "" {
			on := least(loads)
			on.add(item.request)
			item.place.server = on.server
			counts[on.server.Name]++
		}
	}
	if t.named || len(counts) < 2 {
		return nil
	}
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		texts = append(texts, fmt.Sprintf("%d on %s", counts[name], name))
	}
	return confirm(c, "create containers, "+strings.Join(texts, ", "))
}
