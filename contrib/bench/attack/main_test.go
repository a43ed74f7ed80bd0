package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
)

// TestMain lets the attacker be this program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == strikeVerb {
		if err := strike(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
			_, _ = io.WriteString(os.Stderr, err.Error())
			os.Exit(1) //nolint:forbidigo // this is the main of another process
		}
		return
	}
	m.Run()
}

// TestRun: each attack strikes, callers get their answers all the while, and every
// figure is printed. What the figures are is for a machine that is quiet.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--for", "1s", "--half-open", "300", "--even"}, &out, t.Output()); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, a := range attacks {
		for _, figure := range []string{"whoami.p99-ratio", "list.p99-ratio", "connect.p99-ratio", "memory.before", "memory.peak", "memory.after", "recovery"} {
			if !strings.Contains(out.String(), "\nfigure: attack."+a.name+"."+figure+" ") {
				t.Errorf("there is no figure %s of %s", figure, a.name)
			}
		}
		if strings.Contains(out.String(), a.what+": \n") {
			t.Errorf("%s did nothing", a.name)
		}
	}
	t.Log(out.String())
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"x":                 "no arguments but flags",
		"--for 1h":          "--for must be",
		"--half-open 0":     "--half-open must be",
		"--only churn,what": `no attack "what"`,
	} {
		if err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", args, err)
		}
	}
}

// TestLoopback: nothing else is ever attacked.
func TestLoopback(t *testing.T) {
	for _, target := range []string{"192.0.2.1:50051", "example.com:50051", "", "0.0.0.0:1"} {
		if err := strike(t.Context(), []string{strikeVerb, "churn", "--target", target}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%q: got %v", target, err)
		}
	}
}
