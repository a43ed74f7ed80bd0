package main

import (
	"context"
	"errors"
	"sync"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// createsAtOnce is how many containers are made at a time on one server: of more
// each only waits longer for the same disk.
const createsAtOnce = 4

// bulkEvent is what came of an item, or how far it is.
type bulkEvent struct {
	item     *bulkItem
	percent  uint32
	text     string
	done     bool
	response *pb.CreateContainerResponse
	there    *pb.Container // somebody else made it meanwhile
	err      error
}

// bulkRun makes what is to be made, on each server some at a time. All that is
// printed is printed here.
func bulkRun(c *cli.Context, t *targets, items []*bulkItem) {
	queues := map[string][]*bulkItem{}
	left := 0
	for _, item := range items {
		if item.result == "" {
			queues[item.place.server.Address] = append(queues[item.place.server.Address], item)
			left++
		}
	}
	events := make(chan bulkEvent)
	turns := make(chan struct{}, serversAtOnce)
	for _, queue := range queues {
		go bulkServer(c, t, queue, turns, events)
	}
	bar := &bulkBar{total: left, running: map[*bulkItem]string{}}
	for left > 0 {
		bar.draw(terminalOf(c))
		e := <-events
		bar.take(e)
		if !e.done {
			continue
		}
		left--
		e.item.take(c, t, e)
	}
	terminalOf(c).endProgress()
}

// bulkServer makes the containers of a queue on their server.
func bulkServer(c *cli.Context, t *targets, queue []*bulkItem, turns chan struct{}, events chan<- bulkEvent) {
	turns <- struct{}{}
	defer func() { <-turns }()
	// A daemon that refuses a call since there were too many in the last second has
	// done nothing about it.
	to, err := client.Dial(queue[0].place.server, client.WithRetry(client.Retry{}))
	if err == nil {
		defer to.Close() //nolint:errcheck // what the calls returned counts
	}
	s := &session{Client: to, targets: t}
	defer func() { terminalOf(c).skew.note(to) }()
	next := make(chan *bulkItem)
	var workers sync.WaitGroup
	for range min(c.Int("parallel"), len(queue)) {
		workers.Go(func() {
			for item := range next {
				e := bulkEvent{item: item, done: true, err: err}
				switch {
				case c.Err() != nil:
					e.err = c.Err()
				case err == nil:
					events <- bulkEvent{item: item, text: "asking"}
					e = s.bulkOne(c, item, events)
				}
				events <- e
			}
		})
	}
	for _, item := range queue {
		next <- item
	}
	close(next)
	workers.Wait()
}

func (s *session) bulkOne(c *cli.Context, item *bulkItem, events chan<- bulkEvent) bulkEvent {
	ctx, cancel := s.call(c.Context)
	defer cancel()
	e := bulkEvent{item: item, done: true}
	e.response, e.err = s.create(ctx, item.request, func(percent uint32, text string) {
		events <- bulkEvent{item: item, percent: percent, text: text}
	})
	if status.Code(e.err) == codes.AlreadyExists {
		// A host account may be in the way as well: then there is no container.
		if response, err := s.Containers.GetContainer(ctx, &pb.GetContainerRequest{Username: item.place.user}); err == nil {
			e.err, e.there = nil, response.GetContainer()
		}
	}
	return e
}

// take enters what came of an item.
func (item *bulkItem) take(c *cli.Context, t *targets, e bulkEvent) {
	_, unfinished := errors.AsType[*unfinishedError](e.err)
	switch {
	case e.there != nil:
		item.compare(e.there)
	case e.err == nil:
		item.result, item.response, item.container = bulkCreated, e.response, e.response.GetContainer()
	case unfinished:
		item.result = bulkUnfinished
	case errors.Is(e.err, context.Canceled) && c.Err() != nil:
		item.result = bulkNotBegun
	default:
		item.result = bulkFailed
	}
	if item.result == bulkFailed || item.result == bulkUnfinished {
		item.err = t.failed(e.err, "create "+item.place.user, item.place.user, item.place.server)
	}
}
