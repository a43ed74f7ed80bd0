// Simulator serves the simulated Incus of package incustest on a unix socket, for
// machines where no Incus can be had. It runs until SIGTERM or SIGINT, and keeps
// nothing.
//
//	go run ./contrib/incus/simulator --socket PATH --ssh-port N
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

	"github.com/footprintai/containarium/incusx/incustest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case errors.As(err, new(usageError)):
		fmt.Fprintln(os.Stderr, "simulator:", err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "simulator:", err)
		os.Exit(1)
	}
}

// usageError is a mistake in the arguments.
type usageError string

func (e usageError) Error() string { return string(e) }

// run serves until ctx ends; it prints one line when the socket answers.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("simulator", flag.ContinueOnError)
	flags.SetOutput(stderr)
	socket := flags.String("socket", "", "`path` of the unix socket to serve; it is removed at the end")
	port := flags.Int("ssh-port", 0, "`port` of sshd in all guests; 0 takes a free one")
	projects := flags.String("projects", "", "comma-separated `names` of projects besides default")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return usageError(err.Error())
	}
	switch {
	case flags.NArg() > 0:
		return usageError(fmt.Sprintf("there are no arguments but flags, got %q", flags.Arg(0)))
	case *socket == "":
		return usageError("--socket is needed")
	}
	options := incustest.Options{Socket: *socket, SSHPort: *port}
	if *projects != "" {
		options.Projects = strings.Split(*projects, ",")
	}
	server, err := incustest.New(options)
	if err != nil {
		return err
	}
	defer server.Close()
	_, _ = fmt.Fprintf(stdout, "simulated Incus ready: socket %s, sshd of the guests at port %d\n", server.Socket(), server.SSHPort())
	<-ctx.Done()
	return nil
}
