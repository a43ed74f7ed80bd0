// The Go SDK in one program: it makes sure that a user has a container that runs,
// and lists what there is.
//
//	go run ./contrib/examples/go -key ~/.ssh/alice.pub alice
//	go run ./contrib/examples/go -server jump-1,jump-2 -key ~/.ssh/alice.pub alice
//
// It goes by the servers file of the command line, ~/.config/containarium/config.toml:
// containarium server add writes it. Run it as often as you like. It exits 0 if
// all is so on every server, else 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func main() {
	servers := flag.String("server", "", "servers or groups, with commas between; the default server if none is given")
	keyFile := flag.String("key", "", "file with the public key that opens the container")
	timeout := flag.Duration("timeout", 10*time.Minute, "bound on all of it")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: go run . [-server NAMES] [-key FILE] USER")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	err := run(ctx, *servers, flag.Arg(0), *keyFile)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run makes sure of the user's container on each of the servers, one after the
// other.
func run(ctx context.Context, servers, user, keyFile string) error {
	path, err := client.ConfigPath()
	if err != nil {
		return err
	}
	config, err := client.LoadConfig(path)
	if err != nil {
		return err
	}
	targets, err := config.Select(servers)
	if err != nil {
		return err
	}
	request := &pb.CreateContainerRequest{Username: user}
	if keyFile != "" {
		key, err := os.ReadFile(keyFile)
		if err != nil {
			return err
		}
		request.SshKeys = []string{strings.TrimSpace(string(key))}
	}
	var failed []error // one server that fails keeps none of the others from it
	for _, server := range targets {
		if err := ensure(ctx, server, request); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(append(failed, list(ctx, targets))...)
}

// ensure has the container made if it is missing, started if it is stopped, and
// returns when the server says that it runs.
func ensure(ctx context.Context, server client.Server, request *pb.CreateContainerRequest) error {
	// With WithRetry what only reads is tried again while the server is away. What
	// changes something never is: ensure looks first, so run it again.
	c, err := client.Dial(server, client.WithRetry(client.Retry{}))
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // nothing is lost with it
	user := request.GetUsername()
	got, err := c.Containers.GetContainer(ctx, &pb.GetContainerRequest{Username: user})
	switch {
	case status.Code(err) == codes.NotFound:
		if err := create(ctx, c, request); err != nil {
			return err
		}
	case err != nil:
		return err
	case got.GetContainer().GetState() == pb.ContainerState_CONTAINER_STATE_STOPPED:
		if _, err := c.Containers.StartContainer(ctx, &pb.StartContainerRequest{Username: user}); err != nil {
			return err
		}
		fmt.Printf("%s: started %s\n", server.Name, user)
	}
	return untilRuns(ctx, c, user)
}

// create makes the container and tells how far it is.
func create(ctx context.Context, c *client.Client, request *pb.CreateContainerRequest) error {
	stream, err := c.Containers.CreateContainerStream(ctx, &pb.CreateContainerStreamRequest{Create: request})
	if err != nil {
		return err
	}
	for {
		progress, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if status.Code(err) == codes.AlreadyExists { // somebody was faster
			return nil
		}
		if err != nil {
			return err
		}
		if result := progress.GetResult(); result != nil {
			fmt.Printf("%s: created %s at %s\n", c.Server().Name, request.GetUsername(), result.GetContainer().GetNetwork().GetIpAddress())
			for _, warning := range result.GetWarnings() {
				fmt.Printf("%s: warning: %s\n", c.Server().Name, warning)
			}
			continue
		}
		fmt.Printf("%s: %3d%% %s\n", c.Server().Name, progress.GetPercent(), progress.GetStage())
	}
}

// untilRuns follows the changes until the container runs. A watch survives a
// restart of the daemon, and ends with ctx.
func untilRuns(ctx context.Context, c *client.Client, user string) error {
	for event, err := range client.Watch(ctx, c, &pb.WatchContainersRequest{}) {
		container := event.Message.GetContainer()
		switch {
		case err != nil:
			return err
		case event.CutOff != nil:
			fmt.Printf("%s: not heard, again in %s: %v\n", c.Server().Name, event.Retry.Round(time.Millisecond), event.CutOff)
		case container.GetUsername() == user && container.GetState() == pb.ContainerState_CONTAINER_STATE_RUNNING:
			fmt.Printf("%s: %s runs\n", c.Server().Name, user)
			return nil
		}
	}
	return ctx.Err()
}

// list asks all servers at once. Each answers or fails by itself.
func list(ctx context.Context, servers []client.Server) error {
	fan := client.Fan{Timeout: 10 * time.Second, Options: []client.Option{client.WithRetry(client.Retry{})}}
	answers := client.Ask(ctx, fan, servers, func(ctx context.Context, c *client.Client) (*pb.ListContainersResponse, error) {
		return c.Containers.ListContainers(ctx, &pb.ListContainersRequest{})
	})
	var failed []error
	for _, answer := range answers {
		if answer.Err != nil {
			failed = append(failed, answer.Err)
			continue
		}
		for _, container := range answer.Value.GetContainers() {
			fmt.Printf("%s:%s %s %s\n", answer.Server.Name, container.GetUsername(), container.GetState(), container.GetNetwork().GetIpAddress())
		}
	}
	return errors.Join(failed...)
}
