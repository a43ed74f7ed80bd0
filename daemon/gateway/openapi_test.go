package gateway

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// document is what these tests read of the OpenAPI document.
type document struct {
	Host  string
	Paths map[string]map[string]struct {
		OperationID          string `json:"operationId"`
		Summary, Description string
		Produces             []string
		Parameters           []struct {
			Name, In, Description string
			Schema                reference
		}
		Responses map[string]struct {
			Description string
			Schema      reference
			Headers     map[string]struct{ Description string }
			Examples    map[string]json.RawMessage
		}
	}
	Definitions map[string]struct {
		Example    json.RawMessage
		Properties map[string]struct{ Title, Description string }
	}
}

type reference struct {
	Ref string `json:"$ref"`
}

func readDocument(t *testing.T) document {
	t.Helper()
	var d document
	if err := json.Unmarshal(openapi, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestOpenAPIIsComplete: every RPC is there, and everything is said of it.
func TestOpenAPIIsComplete(t *testing.T) {
	d := readDocument(t)
	if d.Host != "" {
		t.Errorf("it names a host: %s", d.Host)
	}
	missing := map[string]bool{}
	services := pb.File_containarium_v1_service_proto.Services()
	for i := range services.Len() {
		for j := range services.Get(i).Methods().Len() {
			missing[string(services.Get(i).Name())+"_"+string(services.Get(i).Methods().Get(j).Name())] = true
		}
	}
	for path, operations := range d.Paths {
		for verb, o := range operations {
			what := verb + " " + path
			delete(missing, strings.TrimSuffix(o.OperationID, "2"))
			if o.Summary == "" || len(o.Summary) > 90 || strings.Contains(o.Summary, "\n") {
				t.Errorf("%s: its summary is no short line: %q; in service.proto an empty line ends it", what, o.Summary)
			}
			for _, p := range o.Parameters {
				if p.Description == "" && p.In != "body" {
					t.Errorf("%s: nothing is said of the parameter %s", what, p.Name)
				}
				body := d.Definitions[strings.TrimPrefix(p.Schema.Ref, "#/definitions/")]
				if p.In == "body" && len(body.Properties) > 0 && body.Example == nil {
					t.Errorf("%s: there is no example of its body", what)
				}
			}
			for code, header := range map[string]string{"200": "X-Request-Id", "429": "Retry-After", "503": "Retry-After"} {
				if o.Responses[code].Headers[header].Description == "" {
					t.Errorf("%s: nothing is said of the header %s of %s; give it the responses of the others in openapi.yaml", what, header, code)
				}
			}
			for _, code := range []string{"400", "401", "403", "404", "405", "409", "413", "415", "429", "500", "501", "503", "504"} {
				if r := o.Responses[code]; r.Description == "" || r.Schema.Ref != "#/definitions/Status" {
					t.Errorf("%s: the answer %s is %+v", what, code, r)
				}
			}
		}
	}
	for name := range missing {
		t.Errorf("%s has no path", name)
	}
	for name, definition := range d.Definitions {
		for property, p := range definition.Properties {
			if p.Title == "" && p.Description == "" && property != "@type" { // google.protobuf.Any's own
				t.Errorf("nothing is said of %s.%s", name, property)
			}
		}
	}
}

// TestOpenAPIExamples: each is one of what it says.
func TestOpenAPIExamples(t *testing.T) {
	d := readDocument(t)
	examples := 0
	check := func(what, message string, example json.RawMessage) {
		t.Helper()
		examples++
		typ, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(message))
		if err != nil {
			t.Fatal(err)
		}
		if err := protojson.Unmarshal(example, typ.New().Interface()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for name, definition := range d.Definitions {
		if definition.Example != nil {
			message, body := strings.CutSuffix(name, "Body") // what of a request the path has not
			if body {
				message += "Request"
			}
			check(name, "containarium.v1."+message, definition.Example)
		}
	}
	for path, operations := range d.Paths {
		for verb, o := range operations {
			for code, response := range o.Responses {
				if example, ok := response.Examples[typeJSON]; ok {
					check(verb+" "+path+" "+code, "google.rpc.Status", example)
				}
			}
		}
	}
	if examples < 100 {
		t.Errorf("there are %d examples", examples)
	}
	for _, address := range regexp.MustCompile(`https?://[^/"' )\\]+`).FindAllString(string(openapi), -1) {
		if address != "https://jump-1:8443" && address != "https://www.apache.org" {
			t.Errorf("it names %s", address)
		}
	}
}

// TestOpenAPIStreams: what streams says so, and its examples are what a client reads.
func TestOpenAPIStreams(t *testing.T) {
	operations := map[string]map[string]json.RawMessage{}
	for _, verbs := range readDocument(t).Paths {
		for _, o := range verbs {
			if slices.Contains(o.Produces, typeNDJSON) && slices.Contains(o.Produces, typeEvents) {
				operations[o.OperationID] = o.Responses["200"].Examples
			}
		}
	}
	services := pb.File_containarium_v1_service_proto.Services()
	for i := range services.Len() {
		for j := range services.Get(i).Methods().Len() {
			method := services.Get(i).Methods().Get(j)
			examples, streams := operations[string(services.Get(i).Name())+"_"+string(method.Name())]
			if streams != method.IsStreamingServer() {
				t.Errorf("%s: the document says that it streams: %v", method.FullName(), streams)
			}
			if streams {
				checkStream(t, method.Output(), examples)
			}
		}
	}
}

func checkStream(t *testing.T, output protoreflect.MessageDescriptor, examples map[string]json.RawMessage) {
	t.Helper()
	for media, example := range examples {
		var text, id string
		if err := json.Unmarshal(example, &text); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			data, ok := strings.CutPrefix(line, "data: ")
			if next, begins := strings.CutPrefix(line, "id: "); begins {
				id = strings.TrimSpace(next)
				continue
			}
			if media == typeEvents && !ok { // the end of an event
				continue
			}
			var chunk struct{ Result, Error json.RawMessage }
			if err := json.Unmarshal([]byte(data), &chunk); err != nil {
				t.Errorf("%s: %v: %s", media, err, line)
			}
			var message proto.Message = dynamicpb.NewMessage(output)
			if chunk.Error != nil {
				message, chunk.Result = &status.Status{}, chunk.Error
			}
			if err := protojson.Unmarshal(chunk.Result, message); err != nil {
				t.Errorf("%s: %v: %s", media, err, line)
			}
			if media == typeEvents && versionOf(message) != id {
				t.Errorf("the id %q is that of %q", id, versionOf(message))
			}
		}
	}
	if examples[typeNDJSON] == nil {
		t.Errorf("there is no example of a stream of %s", output.Name())
	}
}
