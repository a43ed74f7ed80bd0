// Openapi validates an OpenAPI document (Swagger 2.0): it prints each finding, and exits
// 1 where there is one. An example that its schema refuses is a finding too.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/go-openapi/loads"
	"github.com/go-openapi/strfmt"
	"github.com/go-openapi/validate"
)

// notJSON begins what is said of the example of a stream, which the tests of
// daemon/gateway look at.
const notJSON = "No validation attempt for examples for media types other than application/json"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: openapi FILE")
		os.Exit(2)
	}
	paths, findings, err := run(os.Stdout, os.Args[1])
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	case paths == 0: // fails closed: what says nothing is not good
		fmt.Fprintln(os.Stderr, "openapi: there is no path in", os.Args[1])
		os.Exit(1)
	}
	fmt.Printf("openapi: %d paths, %d findings\n", paths, findings)
	if findings > 0 {
		os.Exit(1)
	}
}

// run validates a document and returns how many paths it has, and how many findings.
func run(out io.Writer, file string) (paths, findings int, err error) {
	document, err := loads.Spec(file)
	if err != nil {
		return 0, 0, err
	}
	wrong, doubtful := validate.NewSpecValidator(document.Schema(), strfmt.Default).Validate(document)
	for _, finding := range append(wrong.Errors, doubtful.Errors...) {
		if strings.HasPrefix(finding.Error(), notJSON) {
			continue
		}
		_, _ = fmt.Fprintln(out, finding)
		findings++
	}
	if swagger := document.Spec(); swagger.Paths != nil {
		paths = len(swagger.Paths.Paths)
	}
	return paths, findings, nil
}
