package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

const docDir = "../../contrib/doc"

// docBlock is a fenced block of a page.
type docBlock struct {
	info, text string
	line       int
}

// blocksOf reads the fenced blocks of a page.
func blocksOf(t *testing.T, path string) []docBlock {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []docBlock
	open := false
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		info, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && open:
			open = false
		case fence:
			open = true
			blocks = append(blocks, docBlock{info: info, line: number})
		case open:
			blocks[len(blocks)-1].text += line
		}
	}
	if open {
		t.Fatalf("%s: a block has no end", path)
	}
	return blocks
}

// TestDocs runs the commands of the pages in contrib/doc, each page as one script,
// with a daemon and a simulated Incus of its own. What their blocks are:
//
//	sh               commands, run here; one that must fail ends with "# exit N"
//	sh host          commands for a host, run by the end-to-end tests (pages_test.go)
//	sh not-run: WHY  commands that no test runs, named here with the reason
//	FORMAT FILE      what a file has, for the commands below
//	FORMAT, or none  what is printed, or is in some file
func TestDocs(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(docDir, "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	index, err := os.ReadFile(filepath.Join(docDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, page := range pages {
		name := filepath.Base(page)
		if name != "README.md" && !strings.Contains(string(index), "("+name+")") {
			t.Errorf("%s is not in the index", name)
		}
		if script := pageScript(t, page); script != "" {
			file := filepath.Join(dir, strings.TrimSuffix(name, ".md")+".txtar")
			if err := os.WriteFile(file, []byte("exec bash page.sh\n-- page.sh --\n"+script), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	testscript.Run(t, testscript.Params{Dir: dir, Setup: func(env *testscript.Env) error {
		if err := setup(t, env); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(env.WorkDir, "alice.pub"), []byte(publicKey(t)+"\n"), 0o600)
	}})
}

var exits = regexp.MustCompile(`^(.*\S)\s+# exit (\d+)$`)

// pageScript is what there is to run of a page.
func pageScript(t *testing.T, page string) string {
	t.Helper()
	var script strings.Builder
	for _, b := range blocksOf(t, page) {
		words := strings.Fields(b.info)
		why, unrun := strings.CutPrefix(b.info, "sh not-run: ")
		switch {
		case b.info == "sh":
			for line := range strings.Lines(b.text) {
				if m := exits.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
					line = "rc=0; " + m[1] + " || rc=$?; [ $rc = " + m[2] + " ]\n"
				}
				script.WriteString(line)
			}
		case b.info == "sh host":
		case unrun && why != "":
			t.Logf("NOT RUN: %s:%d, %s:\n%s", filepath.Base(page), b.line, why, b.text)
		case len(words) > 0 && (words[0] == "sh" || words[0] == "bash" || words[0] == "console"):
			t.Errorf("%s:%d: nobody knows what to do with a block of %q", page, b.line, b.info)
		case len(words) == 2:
			script.WriteString("cat >" + words[1] + " <<'END_OF_FILE'\n" + b.text + "END_OF_FILE\n")
		}
	}
	if script.Len() == 0 {
		return ""
	}
	return "set -eux -o pipefail\n" + script.String()
}

var (
	errorHeading = regexp.MustCompile("(?m)^### `(.*)`$")
	varies       = regexp.MustCompile(`\.\.\.|[A-Z]{3,}`)
)

// TestTroubleshootingNamesRealErrors: the texts in the headings are ones that the
// program has, up to what differs from case to case.
func TestTroubleshootingNamesRealErrors(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(docDir, "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, pattern := range []string{"*.go", "../../client/*.go", "../../daemon/*.go", "../../daemon/*/*.go", "../../pki/*.go", "../../pki/*/*.go", "../../incusx/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(data)
		}
	}
	headings := errorHeading.FindAllStringSubmatch(string(page), -1)
	if len(headings) < 15 {
		t.Errorf("%d errors are explained", len(headings))
	}
	for _, h := range headings {
		for _, part := range varies.Split(h[1], -1) {
			if part = strings.TrimSpace(part); len(part) > 3 && !strings.Contains(source.String(), part) {
				t.Errorf("%s: no part of the program says %q", h[1], part)
			}
		}
	}
}

// TestConfigPage: the page has every key of the example, its default, and whether
// it reloads.
func TestConfigPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(docDir, "config.md"))
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	section := ""
	for line := range strings.Lines(string(example)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
		} else if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			want = append(want, "| `"+section+"."+strings.TrimSpace(key)+"` | `"+strings.TrimSpace(value)+"` | ")
		}
	}
	rows := regexp.MustCompile("(?m)^\\| `[a-z_.]+` \\| `.*?` \\| ").FindAllString(string(page), -1)
	for _, row := range want {
		if !slices.Contains(rows, row) {
			t.Errorf("there is no row %s", row)
		}
	}
	for _, row := range rows {
		if !slices.Contains(want, row) {
			t.Errorf("config.example.toml has not: %s", row)
		}
	}
}
