package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/audit"
	"github.com/footprintai/containarium/daemon/config"
)

// defaultDaemonConfig is where the daemon's configuration is unless it is told
// otherwise.
const defaultDaemonConfig = "/etc/containarium/config.toml"

func auditCommand() *cli.Command {
	return &cli.Command{
		Name:  "audit",
		Usage: "read the audit log: who did what, and whether the record is whole",
		Description: describe(`Works on the files of the log and calls no server. Without FILE it is the one that
the daemon of this host writes, with all that were rotated from it. Of what FILEs
are given the oldest comes first; those that gzip packed are read too, and - is
standard input. Without a command it is audit ls.`,
			"containarium audit --decision deny --since 24h",
			"containarium audit verify",
			"journalctl -t containarium-audit -o cat | containarium audit ls -"),
		Subcommands: []*cli.Command{auditLsCommand(), auditVerifyCommand()},
	}
}

// auditSources are the files that a command works on.
func auditSources(c *cli.Context) ([]audit.Source, error) {
	paths := c.Args().Slice()
	if len(paths) == 0 {
		path, err := auditFile(defaultDaemonConfig)
		if err != nil {
			return nil, err
		}
		if paths, err = audit.Rotated(path); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	var sources []audit.Source
	given := map[string]bool{}
	for _, path := range paths {
		if given[path] {
			return nil, usagef(c, "%s is given twice", path)
		}
		given[path] = true
		if path == "-" {
			sources = append(sources, onlyOnce("standard input", terminalOf(c).in))
		} else {
			sources = append(sources, audit.FileSource(path))
		}
	}
	return sources, nil
}

// onlyOnce is a source that can be read but once.
func onlyOnce(name string, r io.Reader) audit.Source {
	read := false
	return audit.Source{Name: name, Open: func() (io.ReadCloser, error) {
		if read {
			return nil, fmt.Errorf("%s was read already", name)
		}
		read = true
		return io.NopCloser(r), nil
	}}
}

// auditFile is the audit log of the daemon with that configuration; the default
// where there is none, or none that we may read.
func auditFile(configuration string) (string, error) {
	file := config.Defaults().Audit.File
	switch c, err := config.Load(configuration); {
	case err == nil:
		file = c.Audit.File
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
		return "", err
	}
	switch file {
	case "-":
		return "", fmt.Errorf("the daemon writes its audit log to standard output (%s): give - and what became of that", configuration)
	case "journal":
		return "", errors.New("the daemon writes its audit log to the journal: give - behind journalctl -t containarium-audit -o cat |")
	}
	return file, nil
}
