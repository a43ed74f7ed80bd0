// Report reads what "go test -json" prints and shows what a person wants of it:
// a line for each package, the whole output of tests that failed. What was
// skipped goes to a file, for the end of the run.
//
//	go test -json ./... | report SKIPPED-FILE
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -json ./... | report SKIPPED-FILE")
		os.Exit(2)
	}
	skipped, err := report(os.Stdin, os.Stdout)
	if err == nil {
		err = os.WriteFile(os.Args[1], []byte(skipped), 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

// event is a line of go test -json, as "go doc test2json" describes it.
type event struct {
	Action, Package, Test, Output string
}

// report copies what matters and returns a line for each test that was skipped.
func report(in io.Reader, out io.Writer) (skipped string, err error) {
	said := map[string][]string{} // of the tests that have not ended
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			// Not test2json's: shown as it is rather than lost.
			e = event{Action: "build-output", Output: lines.Text() + "\n"}
		}
		id := e.Package + "." + e.Test
		switch {
		case e.Action == "build-output":
			_, err = io.WriteString(out, e.Output)
		case e.Action == "output" && e.Test != "":
			said[id] = append(said[id], e.Output)
		case e.Action == "output":
			// A package's own lines; its PASS says nothing that its "ok" does not.
			if e.Output != "PASS\n" && !strings.HasSuffix(e.Output, "[no test files]\n") {
				_, err = io.WriteString(out, e.Output)
			}
		case e.Action == "fail" && e.Test != "":
			_, err = io.WriteString(out, strings.Join(said[id], ""))
			delete(said, id)
		case e.Action == "fail":
			// A test that brought the program down never ends.
			for _, id := range slices.Sorted(maps.Keys(said)) {
				if strings.HasPrefix(id, e.Package+".") && err == nil {
					_, err = io.WriteString(out, strings.Join(said[id], ""))
				}
			}
		case e.Action == "skip" && e.Test != "":
			skipped += fmt.Sprintf("%s %s: %s\n", e.Package, e.Test, reason(said[id]))
			delete(said, id)
		case e.Action == "pass":
			delete(said, id)
		}
		if err != nil {
			return "", err
		}
	}
	return skipped, lines.Err()
}

// reason returns what a test said when it skipped itself: the text after
// "file.go:12: ".
func reason(said []string) string {
	for _, line := range said {
		if _, text, ok := strings.Cut(strings.TrimSpace(line), ".go:"); ok {
			if _, text, ok = strings.Cut(text, ": "); ok {
				return text
			}
		}
	}
	return "no reason given"
}
