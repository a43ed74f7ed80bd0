package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const good = `{
  "swagger": "2.0", "info": {"title": "Test", "version": "v1"},
  "paths": {
    "/v1/things/{name}": {"get": {
      "operationId": "One",
      "parameters": [{"name": "name", "in": "path", "required": true, "type": "string"}],
      "responses": {"200": {"description": "The thing.", "schema": {"$ref": "#/definitions/Thing"}}}
    }},
    "/v1/things": {"get": {"operationId": "All", "responses": {"200": {"description": "Everything."}}}}
  },
  "definitions": {"Thing": {"type": "object", "properties": {"size": {"type": "integer"}}, "example": {"size": 7}}}
}`

// TestRun: each way in which a document can be broken is a finding, and the good one
// has none.
func TestRun(t *testing.T) {
	for name, change := range map[string][2]string{
		"good":                             {},
		"a type that there is not":         {`"integer"`, `"number of things"`},
		"a reference to nothing":           {"#/definitions/Thing", "#/definitions/Other"},
		"a path without its parameter":     {`"name": "name"`, `"name": "size"`},
		"an operation twice":               {`"All"`, `"One"`},
		"an example of another type":       {`{"size": 7}`, `{"size": "seven"}`},
		"a response that is not described": {`"description": "Everything."`, `"description": 7`},
		"no title":                         {`"title": "Test", `, ""},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "openapi.json")
			text := good
			if change[0] != "" {
				text = strings.Replace(good, change[0], change[1], 1)
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, findings, err := run(io.Discard, file)
			if broken := findings > 0 || err != nil; broken != (change[0] != "") {
				t.Errorf("%d findings, %v", findings, err)
			}
		})
	}
}
