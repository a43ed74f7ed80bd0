package main

import (
	"strings"
	"testing"
)

// Wrong command lines are refused before anything is read or asked: exit code 2,
// one line, no usage dump.
func TestUsageErrors(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("CONTAINARIUM_CONFIG", "")
	t.Setenv("CONTAINARIUM_PKI", t.TempDir())
	for line, want := range map[string]string{
		"create":                           "create: needs [SERVER:]USER; containarium create --help",
		"create alice bob":                 `create: does not take "bob"; containarium create --help`,
		"create alice --label novalue":     `create: --label "novalue": must be KEY=VALUE`,
		"create alice --label =x":          `create: --label "=x"`,
		"create a --label x=1 --label x=2": `create: --label "x=2"`,
		"create alice --ssh-key none.pub":  "create: --ssh-key: open none.pub: ",
		"create alice --ssh-key=":          "create: --ssh-key: a key must not be empty",
		"info":                             "info: needs [SERVER:]USER",
		"rm -- --force":                    `rm: "--force" is not a user name`,
		"ls everything":                    `ls: takes no argument, got "everything"`,
		"ls --state asleep":                `ls: no state "asleep": creating, running, stopped, frozen, error`,
		"ls --state unspecified":           `ls: no state "unspecified"`,
		"ls --state runing":                `did you mean "running"`,
		"ls -o xml":                        `no output format "xml": table, wide, json, yaml, csv`,
		"ls -o jsn":                        `did you mean "json"?`,
		"ls --sort colour":                 `ls: --sort: no field "colour": address, age, cpu, disk, image, location, memory, server, state, user`,
		"ls --sort -memroy":                `did you mean "memory"?`,
		"ls -q -o json":                    "ls: --quiet and --output exclude each other",
		"rm alice -o csv":                  "rm: the result is no table, so that there is no csv of it; -o json is for programs",
		"info alice -o csv":                "info: the result is no table",
		"pki init -o csv":                  "pki init: the result is no table",
		"top --interval 0.5s":              "top: --interval 500ms: must be between 1s and 60m",
		"top --sort age":                   `top: --sort: no field "age": cpu, disk`,
		"top alice bob":                    `top: does not take "bob"`,
		"watch alice":                      `watch: takes no argument, got "alice"`,
		"watch --state asleep":             `watch: no state "asleep"`,
		"ls --timeout soon":                `invalid value "soon" for flag --timeout`,
		"ls --timeout -1s":                 "ls: --timeout must not be negative",
		"ls --server https://jump-1":       `ls: --server: "https://jump-1" is not HOST or HOST:PORT`,
		"stop alice --timeout 11m":         "stop: --timeout 11m0s: must be whole seconds between 1s and 10m",
		"stop alice --timeout 0s":          "stop: --timeout 0s",
		"stop alice --timeout 1500ms":      "stop: --timeout 1.5s",
		"key add alice":                    "key add: needs [SERVER:]USER KEY; containarium key add --help",
		"key rm alice SHA256:short":        "key rm: open SHA256:short: ",
		"key ls":                           "key ls: needs [SERVER:]USER",
		"metrics alice bob":                `metrics: does not take "bob"`,
		"whoami alice":                     "whoami: takes no argument",
		"version x":                        "version: takes no argument",
		"server add jump-1":                "server add: needs NAME HOST[:PORT]",
		"server add jump:1 a":              `server add: "jump:1" is not a name for a server`,
		"server add jump-1 a/b":            `server add: "a/b" is not HOST or HOST:PORT`,
		"server default":                   "server default: needs NAME",
		"daemon now":                       "daemon: ",
		"create alice --docker=perhaps":    "create: invalid boolean value \"perhaps\"",

		"daemon renew now":                         `daemon renew: takes no argument, got "now"`,
		"daemon -o csv":                            "daemon: the result is no table",
		"init now":                                 `init: takes no argument, got "now"`,
		"init --config x":                          "init: there is no terminal to ask on: --yes takes the name",
		"init --config x --yes --address 50051":    `init: --address: "50051" is not HOST:PORT`,
		"init --config x --yes --csr a --cert b":   "init: --csr and --cert exclude each other",
		"init --config x --yes --crl b":            "init: --crl, --client-cert and --trust-from are for --cert",
		"init --config x --yes --remove-ca":        "init: --remove-ca is for --undo",
		"doctor everything":                        `doctor: takes no argument, got "everything"`,
		"doctor --host --all":                      "doctor: --host is about this machine",
		"doctor --host-config x --server jump-1:1": "doctor: --host is about this machine",

		"completion":           "completion: needs bash|zsh|fish",
		"completion tcsh":      `completion: no completion for "tcsh": bash, zsh, fish`,
		"completion zhs":       `did you mean "zsh"?`,
		"man":                  "man: needs DIR",
		"create a --place far": `create: --place: no way "far": least-loaded`,

		"pki":                                  "pki: needs a command: init, issue, sign, request, renew, rotate, revoke, ls, show, crl, bundle, export, check",
		"pki revok":                            `pki: no command "revok"; did you mean "revoke"?`,
		"pki init now":                         "pki init: takes no argument",
		"pki init --algorithm rsa":             "pki init: --algorithm: ",
		"pki init --passphrase=secret":         "pki init: invalid boolean value \"secret\"",
		"pki issue ..":                         `pki issue: ".." is not a Common Name; containarium pki issue --help`,
		"pki issue a --ttl 0":                  "pki issue: --ttl: a lifetime of nothing",
		"pki issue a --ttl soon":               `pki issue: --ttl: "soon" is not a lifetime such as 90d or 12h`,
		"pki issue a --csr x --san y":          "pki issue: --san does not go with --csr",
		"pki issue a --csr x --force":          "pki issue: --force does not go with --csr",
		"pki issue a --out x":                  "pki issue: --out is for --csr",
		"pki issue a --password-fd 3":          "pki issue: a password is for --p12",
		"pki sign":                             "pki sign: needs FILE",
		"pki request a/b":                      "pki request: the Common Name",
		"pki renew a --daemon":                 "pki renew: --daemon is for the owner of a certificate: without NAME",
		"pki renew a --hook x":                 "pki renew: --hook is for the owner of a certificate",
		"pki renew --ttl 5d":                   "pki renew: --ttl is for a NAME",
		"pki renew --due --daemon":             "pki renew: --daemon renews only what is due anyway",
		"pki rotate":                           "pki rotate: needs one of NAME, --expiring, --intermediate and --ca",
		"pki rotate a --expiring 30d":          "pki rotate: needs one of NAME, --expiring, --intermediate and --ca",
		"pki rotate --ca stop":                 `pki rotate: --ca: no step "stop": start, status, switch, finish, abort`,
		"pki rotate --ca switch --force":       "pki rotate: --force is for --ca finish",
		"pki rotate a --overlap never":         `pki rotate: --overlap: "never" is not a time`,
		"pki revoke a --reason lost":           `pki revoke: --reason: no reason "lost": unspecified, key-compromise, ca-compromise, affiliation-changed, superseded, cessation-of-operation, privilege-withdrawn`,
		"pki revoke a --reason key-compromize": `did you mean "key-compromise"?`,
		"pki ls --kind users":                  `pki ls: --kind: no kind "users": client, server, intermediate, root, cross-signed`,
		"pki ls --expiring 0d":                 "pki ls: --expiring: a lifetime of nothing",
		"pki show":                             "pki show: needs NAME|SERIAL|FILE",
		"pki crl --due --ttl 1d":               "pki crl: --ttl does not go with --due",
		"pki crl --out - -o json":              "pki crl: --out - and --output exclude each other",
		"pki export a":                         "pki export: needs --p12 FILE",
		"pki export --p12 x":                   "pki export: needs NAME, or --cert, --key and --ca",
		"pki check now":                        "pki check: takes no argument",
	} {
		terminal, out, errs := capture(false)
		code := run(t.Context(), terminal, append([]string{"containarium"}, strings.Fields(line)...))
		if code != exitUsage || out.Len() > 0 || !oneLine(errs.String()) || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: exit code %d, standard output %q, standard error %q; want %s", line, code, out, errs, want)
		}
	}
}

func TestUsageErrorsOfTheEnvironment(t *testing.T) {
	for name, value := range map[string]string{"CONTAINARIUM_TIMEOUT": "soon", "CONTAINARIUM_OUTPUT": "xml"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			terminal, out, errs := capture(false)
			code := run(t.Context(), terminal, []string{"containarium", "ls"})
			if code != exitUsage || out.Len() > 0 || !oneLine(errs.String()) || !strings.Contains(errs.String(), value) {
				t.Errorf("exit code %d, %q, %q", code, out, errs)
			}
		})
	}
}

// One form of a flag in two spellings is not two values.
func TestTwoSpellings(t *testing.T) {
	terminal, _, errs := capture(false)
	if code := run(t.Context(), terminal, strings.Fields("containarium ls -o json --output yaml")); code != exitUsage {
		t.Errorf("exit code %d: %s", code, errs)
	}
}
