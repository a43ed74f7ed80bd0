// Containarium runs a system container for each user on jump servers: the daemon
// on such a server, the command line that drives it, and the CA that both of
// them trust, in one program.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/urfave/cli/v2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, standardTerminal(), os.Args))
}

// run runs one command line and returns its exit code. Errors are one line each
// on the terminal's standard error.
func run(ctx context.Context, t *terminal, args []string) int {
	return runApp(ctx, newApp(t), t, args)
}

func runApp(ctx context.Context, app *cli.App, t *terminal, args []string) int {
	if len(args) > 1 && completing(ctx, app, t, args[1:]) {
		return exitFine
	}
	args, err := permute(app, args)
	if err == nil {
		app.Metadata[argsKey] = args
		err = app.RunContext(ctx, args)
	}
	t.endProgress()
	t.skew.warn(t)
	if err == nil {
		return exitFine
	}
	return report(ctx, t, err)
}
