package main

import (
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the version of this program, and of servers",
		Description: describe("Prints the version of this program and, of servers that are named, those of their\ndaemons and of Incus there.",
			"containarium version",
			"containarium version --all",
			"containarium version -o json"),
		Action: func(c *cli.Context) error {
			if _, err := operands(c, 0, 0); err != nil {
				return err
			}
			if !serverGiven(c) && !root(c).Bool("all") {
				return printVersion(c)
			}
			return versions(c)
		},
	}
}

// versions shows the version of each server beside our own.
func versions(c *cli.Context) error {
	t, err := targetsOf(c, readTimeout)
	if err != nil {
		return err
	}
	answers, failed := askAll(c, t, systemInfo)
	program := func(d *fleetDocument, _ []client.Answer[*pb.GetSystemInfoResponse]) { d.Program = thisProgram() }
	return showAllWith(c, t, answers, failed, program, func(term *terminal) error {
		rows := [][]string{{"SERVER", "VERSION", "INCUS", "KERNEL"}, {"(program)", version(), "", ""}}
		for _, answer := range answers {
			r := answer.Value
			rows = append(rows, []string{answer.Server.Name, r.GetVersion(), r.GetIncusVersion(), r.GetKernelVersion()})
		}
		return term.table(rows)
	})
}

// programView is this program, as a document.
type programView struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisProgram() *programView {
	return &programView{version(), buildSetting("vcs.revision"), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
}

func printVersion(c *cli.Context) error {
	v := thisProgram()
	return showValue(c, v, func(t *terminal) error {
		return t.printf("containarium %s (%s, %s)", v.Version, v.Go, v.Platform)
	})
}

// version is the version that the Go tool wrote into the program: of a tag,
// of a commit, or "(devel)" where it was built without version control.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func buildSetting(key string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == key {
				return setting.Value
			}
		}
	}
	return ""
}
