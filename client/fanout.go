package client

import (
	"context"
	"sync"
	"time"
)

const (
	// fanTimeout bounds one server's answer unless Fan says otherwise.
	fanTimeout = 30 * time.Second
	// fanAtOnce is how many servers are asked at a time unless Fan says otherwise.
	// Each costs a connection and a handshake, some 100 KiB.
	fanAtOnce = 128
)

// Fan says how to ask many servers. The zero value will do.
type Fan struct {
	// Timeout bounds what one server takes, from its turn on, connection included;
	// 0 is 30 seconds.
	Timeout time.Duration
	// AtOnce bounds how many are asked at a time; 0 is 128.
	AtOnce int
	// Answered, where it is set, is called after each answer with how many there are
	// now: one call at a time, in the order in which they come.
	Answered func(count int, server Server, err error)
	// Options are those of Dial.
	Options []Option
}

// Answer is what became of the call to one server.
type Answer[T any] struct {
	Server Server
	Value  T
	// Err is why there is no Value: an *Error where the server was called, else what
	// Dial says of its files.
	Err error
	// Took is how long it was, connection included.
	Took time.Duration
}

// Ask makes a call to each server and returns one answer for each, in the order
// of the servers. One that hangs or fails holds up none of the others. When ctx
// ends, those that have not answered answer that. The call must heed its context.
//
//	answers := client.Ask(ctx, client.Fan{}, servers, func(ctx context.Context, c *client.Client) (*pb.ListContainersResponse, error) {
//		return c.Containers.ListContainers(ctx, &pb.ListContainersRequest{})
//	})
func Ask[T any](ctx context.Context, fan Fan, servers []Server, call func(context.Context, *Client) (T, error)) []Answer[T] {
	if fan.Timeout <= 0 {
		fan.Timeout = fanTimeout
	}
	if fan.AtOnce <= 0 {
		fan.AtOnce = fanAtOnce
	}
	answers := make([]Answer[T], len(servers))
	var (
		running sync.WaitGroup
		turns   = make(chan struct{}, fan.AtOnce)
		mu      sync.Mutex
		count   int
	)
	for n, server := range servers {
		turns <- struct{}{}
		running.Go(func() {
			answer := askOne(ctx, fan, server, call)
			<-turns
			mu.Lock()
			defer mu.Unlock()
			answers[n] = answer
			count++
			if fan.Answered != nil {
				fan.Answered(count, server, answer.Err)
			}
		})
	}
	running.Wait()
	return answers
}

func askOne[T any](ctx context.Context, fan Fan, server Server, call func(context.Context, *Client) (T, error)) (answer Answer[T]) {
	begun := time.Now()
	answer.Server = server
	defer func() { answer.Took = time.Since(begun) }()
	ctx, cancel := context.WithTimeout(ctx, fan.Timeout)
	defer cancel()
	c, err := Dial(server, fan.Options...)
	if err != nil {
		answer.Err = err
		return answer
	}
	answer.Server = c.Server()
	answer.Value, answer.Err = call(ctx, c)
	_ = c.Close() // what the call returned counts, not how the connection ends
	return answer
}
