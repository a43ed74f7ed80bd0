package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// The servers are those that the command line knows: client.ConfigPath says where
// their file is.
func Example() {
	config, err := client.LoadConfig(serversFile())
	if err != nil {
		log.Fatal(err)
	}
	server, err := config.Resolve("jump-1")
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.Dial(server)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // the answers are here

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	response, err := c.Containers.GetContainer(ctx, &pb.GetContainerRequest{Username: "alice"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(response.GetContainer().GetName())
	// Output: alice-container
}

// Without a servers file, a program says itself where the daemon is and where its
// own files are. They may be renewed while it runs.
func ExampleDial() {
	files := servers()[0].Files()

	c, err := client.Dial(client.Server{
		Address: servers()[0].Address, // "jump-1.example.org"
		Cert:    files.Cert,           // "/etc/ci/tls.crt"
		Key:     files.Key,            // "/etc/ci/tls.key"
		CA:      files.CA,             // "/etc/ci/ca.crt"
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // the answers are here

	me, err := c.Auth.WhoAmI(context.Background(), &pb.WhoAmIRequest{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(me.GetCommonName(), "is", me.GetRole())
	// Output: admin is admin
}

// A program whose key comes from a secret store never writes it to disk. What the
// store renews, the next calls use.
func ExampleWithCredentials() {
	read := func(path string) []byte { // stands for the store
		data, err := os.ReadFile(path)
		if err != nil {
			log.Fatal(err)
		}
		return data
	}
	files := servers()[0].Files()

	c, err := client.Dial(
		client.Server{Name: "jump-1", Address: servers()[0].Address},
		client.WithCredentials(func() (client.Credentials, error) {
			return client.Credentials{Cert: read(files.Cert), Key: read(files.Key), CA: read(files.CA)}, nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // the answers are here

	me, err := c.Auth.WhoAmI(context.Background(), &pb.WhoAmIRequest{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(me.GetCommonName())
	// Output: admin
}

// Every server answers once, in the order in which they were asked, and one that is
// down hides none of the others.
func ExampleAsk() {
	config, err := client.LoadConfig(serversFile())
	if err != nil {
		log.Fatal(err)
	}
	fleet, err := config.All() // or config.Select("eu", "jump-7"), by group and name
	if err != nil {
		log.Fatal(err)
	}

	answers := client.Ask(context.Background(), client.Fan{Timeout: 20 * time.Second}, fleet,
		func(ctx context.Context, c *client.Client) (*pb.ListContainersResponse, error) {
			return c.Containers.ListContainers(ctx, &pb.ListContainersRequest{})
		})
	for _, answer := range answers {
		if answer.Err != nil {
			fmt.Printf("%s: %s\n", answer.Server.Name, status.Code(answer.Err))
			continue
		}
		for _, container := range answer.Value.GetContainers() {
			fmt.Printf("%s: %s\n", answer.Server.Name, container.GetUsername())
		}
	}
	// Output:
	// jump-1: alice
	// jump-2: bob
	// jump-3: Unavailable
}

// A watch goes on over restarts of the daemon, until its context ends or the loop
// is left.
func ExampleWatch() {
	c, err := client.Dial(servers()[0])
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // the answers are here

	seen := map[string]*pb.Container{}
	for event, err := range client.Watch(context.Background(), c, &pb.WatchContainersRequest{}) {
		if err != nil {
			log.Fatal(err) // it is over
		}
		if event.CutOff != nil {
			log.Printf("stale: %v; another try in %s", event.CutOff, event.Retry)
			continue
		}
		switch message := event.Message; message.GetChange() {
		case pb.WatchChange_WATCH_CHANGE_RESET:
			clear(seen)
		case pb.WatchChange_WATCH_CHANGE_PRESENT:
			seen[message.GetUsername()] = message.GetContainer()
		case pb.WatchChange_WATCH_CHANGE_GONE:
			delete(seen, message.GetUsername())
		case pb.WatchChange_WATCH_CHANGE_SYNCED: // this is all there is
			if len(seen) > 0 {
				fmt.Println(len(seen), "container of", seen["alice"].GetUsername())
				return // a real program goes on
			}
		}
	}
	// Output: 1 container of alice
}

// Reads are made again while a server is away; what changes something is made
// again only where the daemon has refused it unread.
func ExampleWithRetry() {
	c, err := client.Dial(servers()[0], client.WithRetry(client.Retry{Attempts: 8, Longest: 5 * time.Second}))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // the answers are here

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	response, err := c.Containers.ListContainers(ctx, &pb.ListContainersRequest{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(response.GetContainers()))
	// Output: 1
}

// An error tells the server, what the daemon answered or why it was not reached,
// and which fields of the request were wrong.
func ExampleError() {
	c, err := client.Dial(servers()[0])
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // the answers are here

	_, err = c.Containers.GetContainer(context.Background(), &pb.GetContainerRequest{Username: "carol"})
	if status.Code(err) == codes.NotFound {
		fmt.Println(err)
	}
	_, err = c.Containers.CreateContainer(context.Background(), &pb.CreateContainerRequest{Username: "Carol!"})
	if call, ok := errors.AsType[*client.Error](err); ok {
		for _, wrong := range call.Violations() {
			fmt.Println(call.Server.Name, call.Code(), wrong.Field)
		}
	}
	// Output:
	// jump-1: NotFound: carol has no container on this host
	// jump-1 InvalidArgument username
}

// A program that runs for long renews its certificate at a daemon that hosts the
// CA. Clients of the same files, here and elsewhere, pick it up.
func ExampleRenewer() {
	server := servers()[0]
	r := &client.Renewer{
		Client: func() (*client.Client, error) { return client.Dial(server) },
		Files:  server.Files(),
	}
	// go r.Run(ctx) renews whenever it is due; this renews now.
	renewed, err := r.Renew(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("renewed:", renewed)
	// Output: renewed: true
}
