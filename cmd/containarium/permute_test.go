package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// capture is a terminal whose output can be looked at.
func capture(errTTY bool) (t *terminal, out, errs *bytes.Buffer) {
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	return &terminal{in: strings.NewReader(""), out: out, err: errs, errTTY: errTTY}, out, errs
}

func TestPermute(t *testing.T) {
	for in, want := range map[string]string{
		"":                                        "",
		"ls":                                      "ls",
		"create alice --cpu 2":                    "create --cpu=2 -- alice",
		"create --cpu 2 alice":                    "create --cpu=2 -- alice",
		"create --cpu=2 alice":                    "create --cpu=2 -- alice",
		"create alice --cpu=":                     "create --cpu= -- alice",
		"create alice -- --cpu 2":                 "create -- alice --cpu 2",
		"create alice --cpu -1":                   "create --cpu=-1 -- alice",
		"create alice --ssh-key -":                "create --ssh-key=- -- alice",
		"create --docker alice --no-wait":         "create --docker --no-wait -- alice",
		"create --docker=false alice":             "create --docker=false -- alice",
		"create a --label x=1 --label=y=":         "create --label=x=1 --label=y= -- a",
		"ls -o json --server X":                   "-o=json --server=X ls",
		"--server X ls -o json":                   "--server=X -o=json ls",
		"-o json ls --state running -s X":         "-o=json -s=X ls --state=running",
		"key -o json add alice - -s X":            "-o=json -s=X key add -- alice -",
		"key add alice --server=X f.pub":          "--server=X key add -- alice f.pub",
		"rm bob alice -f":                         "rm -f -- bob alice",
		"stop alice --timeout 5s":                 "stop --timeout=5s -- alice",
		"--timeout 9s stop -f --timeout 5s alice": "--timeout=9s stop -f --timeout=5s -- alice",
		"ls --timeout 5s":                         "--timeout=5s ls",
		// --server of pki issue is a flag without a value, and only behind it.
		"pki issue jump-1 --server --san a": "pki issue --server --san=a -- jump-1",
		"--server X pki issue jump-1":       "--server=X pki issue -- jump-1",
		"daemon --config a":                 "daemon --config=a",
		"ls --config a":                     "--config=a ls",
		"create --help":                     "create --help",
		"create alice --cpu 2 -h":           "create --cpu=2 --help",
		"help":                              "--help",
		"help key add":                      "key add --help",
		"key help add":                      "key add --help",
		"key --help":                        "key --help",
		"info help":                         "info -- help", // a user of that name
		"list":                              "ls",
		// A group that does something by itself.
		"audit":                      "audit ls",
		"audit --cn a x.log -o json": "-o=json audit ls --cn=a -- x.log",
		"audit x.log":                "audit ls -- x.log",
		"audit -o json":              "-o=json audit ls",
		"audit verify x.log":         "audit verify -- x.log",
		"audit --help":               "audit --help",
	} {
		terminal, _, _ := capture(false)
		got, err := permute(newApp(terminal), append([]string{"containarium"}, strings.Fields(in)...))
		if err != nil {
			t.Errorf("%s: %v", in, err)
		} else if joined := strings.Join(got[1:], " "); joined != want {
			t.Errorf("%s: %s, want %s", in, joined, want)
		}
	}
}

func TestPermuteRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"crate alice":                 `no command "crate"; did you mean "create"?`,
		"x":                           `no command "x"`,
		"-- ls":                       `no command "ls"`,
		"key":                         "key: needs a command: add, rm, ls",
		"key rn alice":                `key: no command "rn"; did you mean "rm"?`,
		"key -- add":                  "key: needs a command: add, rm, ls",
		"create alice --cpus 2":       `create: no flag --cpus; did you mean "--cpu"?`,
		"--cpu 2 create alice":        "no flag --cpu",
		"create -x alice":             "create: no flag -x",
		"create alice -ojson":         "create: no flag -ojson",
		"create alice --cpu":          "create: --cpu needs a value",
		"create --cpu --docker alice": "create: --cpu needs a value",
		"create --cpu --help":         "create: --cpu needs a value",
		"create --cpu --":             "create: --cpu needs a value",
		"ls -s --output json":         "ls: -s needs a value",
		"create --cpu 1 --cpu=2 a":    "create: --cpu is given twice",
	} {
		terminal, _, _ := capture(false)
		got, err := permute(newApp(terminal), append([]string{"containarium"}, strings.Fields(in)...))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %q, %v; want %s", in, got, err, want)
		}
		if code := exitCode(t.Context(), err); code != exitUsage {
			t.Errorf("%s: exit code %d", in, code)
		}
	}
}

// Whatever the order of flags and arguments, the parser ends up with the same.
func TestEveryOrderMeansTheSame(t *testing.T) {
	parts := [][]string{{"alice"}, {"--cpu", "2"}, {"--label=a=1"}, {"--docker"}, {"-o", "json"}, {"--server=X"}}
	want := ""
	for order := range permutations(len(parts)) {
		args := []string{"containarium", "create"}
		for _, i := range order {
			args = append(args, parts[i]...)
		}
		terminal, _, _ := capture(false)
		app := newApp(terminal)
		got := ""
		app.Command("create").Action = func(c *cli.Context) error {
			got = strings.Join([]string{c.Args().Get(0), c.String("cpu"), c.StringSlice("label")[0], yesNo(c.Bool("docker")), c.String("output"), c.StringSlice("server")[0]}, " ")
			return nil
		}
		ordered, err := permute(app, args)
		if err == nil {
			err = app.RunContext(t.Context(), ordered)
		}
		if want == "" {
			want = "alice 2 a=1 yes json X"
		}
		if err != nil || got != want {
			t.Fatalf("%q: %q, %v", args, got, err)
		}
	}
}

// permutations yields every order of the numbers below n.
func permutations(n int) func(yield func([]int) bool) {
	return func(yield func([]int) bool) {
		var extend func(prefix []int) bool
		extend = func(prefix []int) bool {
			if len(prefix) == n {
				return yield(prefix)
			}
			for i := range n {
				if !slices.Contains(prefix, i) && !extend(append(slices.Clone(prefix), i)) {
					return false
				}
			}
			return true
		}
		extend(nil)
	}
}

// What permute can not place it refuses: nothing that was typed is dropped.
func FuzzPermute(f *testing.F) {
	f.Add("create alice --cpu 2 -o json")
	f.Add("key add -- -x --force")
	f.Add("rm --force=false a b")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Fields(line)
		terminal, _, _ := capture(false)
		got, err := permute(newApp(terminal), append([]string{"containarium"}, args...))
		if err != nil || slices.Contains(got, "--help") {
			return
		}
		in, out := strings.Join(args, " "), strings.Join(got[1:], " ")
		for _, arg := range args {
			if name := strings.TrimLeft(arg, "-"); !strings.Contains(out, name) && arg != "list" && arg != "delete" && arg != "top" {
				t.Errorf("%q lost %q: %q", in, arg, out)
			}
		}
	})
}

// Every command has an example in its help, and says what its arguments are.
func TestHelp(t *testing.T) {
	terminal, _, _ := capture(false)
	var check func(path string, c *cli.Command)
	check = func(path string, c *cli.Command) {
		path += " " + c.Name
		if !strings.Contains(c.Description, "Examples:\n  ") || !strings.Contains(c.Description, path) {
			t.Errorf("%s: no example", path)
		}
		if c.Usage == "" {
			t.Errorf("%s: no usage", path)
		}
		for _, flag := range c.Flags {
			if documented, ok := flag.(cli.DocGenerationFlag); !ok || documented.GetUsage() == "" {
				t.Errorf("%s: %v has no usage", path, flag.Names())
			}
		}
		for _, sub := range c.Subcommands {
			check(path, sub)
		}
	}
	for _, c := range newApp(terminal).Commands {
		check("containarium", c)
	}
}
