package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/footprintai/containarium/pki/pkitest"
)

// A hook runs once after each renewal, whoever made it, and as often as it takes.
func TestHook(t *testing.T) {
	ca, dir := pkitest.New(t), t.TempDir()
	files := ca.Client(t, "alice").WriteFiles(t, dir, ca)
	files.CRL = filepath.Join(dir, "crl.pem")
	var out bytes.Buffer
	h := &hook{command: `echo "$CONTAINARIUM_CERT $CONTAINARIUM_KEY $CONTAINARIUM_CA $CONTAINARIUM_CRL"; test -e ` + filepath.Join(dir, "allowed"), files: files, output: &out}
	if err := h.begin(); err != nil {
		t.Fatal(err)
	}
	if err := h.run(t.Context()); err != nil || out.Len() > 0 {
		t.Fatalf("it ran before a renewal: %q, %v", out.String(), err)
	}
	renew := func() {
		if err := os.Rename(ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca).Cert, files.Cert); err != nil {
			t.Fatal(err)
		}
	}
	renew()
	if err := h.run(t.Context()); err == nil || !strings.Contains(err.Error(), "the hook failed and is due again: exit status 1") {
		t.Fatalf("a hook that fails: %v", err)
	}
	if want := strings.Join([]string{files.Cert, files.Key, files.CA, files.CRL}, " ") + "\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	if err := os.WriteFile(filepath.Join(dir, "allowed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// Another process takes over.
	again := &hook{command: h.command, files: files, output: &out}
	if err := again.begin(); err != nil {
		t.Fatal(err)
	}
	if err := again.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := again.run(t.Context()); err != nil || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("it ran again, with nothing renewed: %q, %v", out.String(), err)
	}
	renew()
	if err := again.run(t.Context()); err != nil || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("it did not run after the second renewal: %q, %v", out.String(), err)
	}
}

// A hook that hangs ends with the program, and what it started with it.
func TestHookEnds(t *testing.T) {
	ca, dir := pkitest.New(t), t.TempDir()
	files := ca.Client(t, "alice").WriteFiles(t, dir, ca)
	started := filepath.Join(dir, "started")
	if err := os.WriteFile(files.Cert+".hook", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := &hook{command: "touch " + started + "; sleep 600 & wait", files: files, output: &bytes.Buffer{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.run(ctx) }()
	for {
		if _, err := os.Stat(started); err == nil {
			break
		}
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a hook that was ended counts as done")
	}
}

// Between two looks of the renewer a hook that failed is tried again.
func TestHookWait(t *testing.T) {
	ca, dir := pkitest.New(t), t.TempDir()
	files := ca.Client(t, "alice").WriteFiles(t, dir, ca)
	if err := os.WriteFile(files.Cert+".hook", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := &hook{command: "test -e " + filepath.Join(dir, "allowed"), files: files, output: &bytes.Buffer{}}
	terminal, _, errs := capture(false)
	wait := h.wait(terminal)
	for range 2 {
		if err := wait(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := errs.String(); strings.Count(got, "the hook failed and is due again: exit status 1; another try in 0s\n") != 2 {
		t.Errorf("%q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "allowed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := wait(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Count(errs.String(), "\n") != 2 {
		t.Errorf("%q", errs)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := wait(ended, time.Hour); err == nil {
		t.Error("it waited on")
	}
}
