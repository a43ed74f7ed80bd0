package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What pki export writes imports into NSS, which browsers have, with the key. On
// a machine without pk12util this is not shown; in CI that is a failure.
func TestExportIntoNSS(t *testing.T) {
	for _, tool := range []string{"certutil", "pk12util"} {
		if _, err := exec.LookPath(tool); err != nil && os.Getenv("CI") != "" {
			t.Fatalf("%s of libnss3-tools is not installed", tool)
		} else if err != nil {
			t.Skipf("NOT RUN: the import into NSS, which needs %s: apt-get install libnss3-tools", tool)
		}
	}
	dir := t.TempDir()
	password, p12, db := filepath.Join(dir, "password"), filepath.Join(dir, "alice.p12"), "sql:"+dir
	if err := os.WriteFile(password, []byte("pässwort\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINARIUM_PKI", filepath.Join(dir, "pki"))
	for _, line := range []string{"pki init", "pki issue alice --p12 " + p12 + " --password-file " + password} {
		if code, _, errs := runLine(t.Context(), false, strings.Fields(line)...); code != exitFine {
			t.Fatalf("%s: %s", line, errs)
		}
	}
	nss := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	nss("certutil", "-N", "-d", db, "--empty-password")
	if out := nss("pk12util", "-d", db, "-i", p12, "-w", password); !strings.Contains(out, "IMPORT SUCCESSFUL") {
		t.Error(out)
	}
	if out := nss("certutil", "-K", "-d", db); !strings.Contains(out, "alice") {
		t.Errorf("the key is not there: %s", out)
	}
}
