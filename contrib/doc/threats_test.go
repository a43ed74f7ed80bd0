// Package doc holds pages for operators and auditors.
package doc

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

var (
	goTest = regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz)[A-Za-z0-9]+)`")
	script = regexp.MustCompile("`([a-z_]+\\.txtar)`")
	claim  = regexp.MustCompile(`(?m)^\| (?:to|a|calls|comes|sends|asks|makes|meets) .*$`)
)

// TestThreatsNamesRealTests: every test that the page names is there, and each of
// its claims names one.
func TestThreatsNamesRealTests(t *testing.T) {
	data, err := os.ReadFile("threats.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, ok := strings.Cut(string(data), "\n## Who attacks")
	page, _, more := strings.Cut(page, "\n## What is not defended")
	if !ok || !more {
		t.Fatal("the page has lost a heading")
	}
	for _, m := range goTest.FindAllStringSubmatch(page, -1) {
		if !hasTest(t, m[1], m[2]) {
			t.Errorf("there is no test %s in %s", m[2], m[1])
		}
	}
	for _, m := range script.FindAllStringSubmatch(page, -1) {
		if _, err := os.Stat(filepath.Join(root, "cmd/containarium/testdata/script", m[1])); err != nil {
			t.Error(err)
		}
	}
	claims := claim.FindAllString(page, -1)
	if len(claims) < 40 {
		t.Errorf("%d claims were found; is the table another one?", len(claims))
	}
	for _, row := range claims {
		if !goTest.MatchString(row) && !script.MatchString(row) {
			t.Errorf("no test stands behind: %s", row)
		}
	}
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}
