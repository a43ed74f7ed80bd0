package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// entryStep enters the server into the servers file of who runs init.
func (h *host) entryStep() step {
	entry := h.entry()
	path, err := configPath(h.c)
	s := step{name: "servers file entry", path: entry.Name + " in " + path}
	s.look = func() (seen, error) {
		if err != nil {
			return seen{}, err
		}
		config, err := client.LoadConfig(path)
		if err != nil {
			return seen{}, err
		}
		have, ok := config.Servers[entry.Name]
		if ok && entryDigest(have) != entryDigest(entry) {
			return seen{stepDiffers, "it is " + have.Address + " by " + have.Cert}, nil
		}
		if ok {
			return seen{state: stepKept}, nil
		}
		return seen{}, nil
	}
	s.make = func(context.Context) error {
		if err := h.record.newDirectory(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		_, err := os.Lstat(path)
		if err := h.record.note(madeItem{
			Kind: madeServer, Path: entry.Name, SHA256: entryDigest(entry), With: path, New: errors.Is(err, fs.ErrNotExist),
		}); err != nil {
			return err
		}
		_, err = updateConfig(h.c, func(config *client.Config) error {
			if _, ok := config.Servers[entry.Name]; ok {
				return errServerExists
			}
			config.Servers[entry.Name] = entry
			if config.Default == "" {
				config.Default = entry.Name
			}
			return nil
		})
		return err
	}
	return s
}

// entryDigest tells an entry that was changed.
func entryDigest(s client.Server) string {
	return digest(fmt.Appendf(nil, "%q", []string{s.Address, s.Identity, s.Cert, s.Key, s.CA, s.CRL}))
}

const (
	// answerTimeout is how long a daemon that was started has until it answers: it
	// reads all of Incus first.
	answerTimeout = time.Minute
	// callTimeout bounds one try, and callInterval is between two.
	callTimeout  = 10 * time.Second
	callInterval = 200 * time.Millisecond
)

// firstCall waits until the daemon lists its containers for the administrator, and
// prints them.
func (h *host) firstCall(ctx context.Context) (*pb.ListContainersResponse, error) {
	config, err := loadConfig(h.c)
	if err != nil {
		return nil, err
	}
	server, ok := config.Servers[h.answers.Name]
	t := &targets{config: config, asked: h.answers.Name, named: true}
	if !ok {
		return nil, t.failed(errServerUnknown, "init", "", client.Server{})
	}
	to, err := client.Dial(server)
	if err != nil {
		return nil, t.failed(err, "ls", "", server)
	}
	defer to.Close() //nolint:errcheck // the answer is here
	for {
		response, err := listOnce(ctx, to)
		switch code := status.Code(err); {
		case err == nil:
			return response, nil
		case code == codes.PermissionDenied || code == codes.Unauthenticated || ctx.Err() != nil:
			return nil, t.failed(err, "ls", "", server)
		}
		select {
		case <-time.After(callInterval):
		case <-ctx.Done():
			return nil, t.failed(err, "ls", "", server)
		}
	}
}

func listOnce(ctx context.Context, to *client.Client) (*pb.ListContainersResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return to.Containers.ListContainers(ctx, &pb.ListContainersRequest{})
}
