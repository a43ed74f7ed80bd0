package daemon_test

import (
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/pkitest"
)

// pages are what the HTTP port has beside the RPCs, the method that each is audited
// as, and who may have it.
var pages = map[string]struct {
	method  string
	allowed []string
}{
	"/metrics":      {"/HTTP/Metrics", admins},
	"/openapi.json": {"/HTTP/OpenAPI", all},
	"/docs":         {"/HTTP/Docs", all},
	"/docs/":        {"/HTTP/Docs", all},
	"/healthz":      {"/grpc.health.v1.Health/Check", all},
	"/readyz":       {"/grpc.health.v1.Health/Check", all},
}

// rule is one of proto/http.yaml.
type rule struct {
	Selector                 string
	Get, Post, Patch, Delete string
	Body                     string
	AdditionalBindings       []rule `yaml:"additional_bindings"`
}

func (r rule) verb() (method, path string) {
	for method, path := range map[string]string{http.MethodGet: r.Get, http.MethodPost: r.Post, http.MethodPatch: r.Patch, http.MethodDelete: r.Delete} {
		if path != "" {
			return method, path
		}
	}
	return "", ""
}

// rules are all of proto/http.yaml, by the full name of the method.
func rules(t *testing.T) map[string][]rule {
	t.Helper()
	data, err := os.ReadFile("../proto/http.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var service struct{ HTTP struct{ Rules []rule } }
	if err := yaml.Unmarshal(data, &service); err != nil {
		t.Fatal(err)
	}
	found := map[string][]rule{}
	for _, r := range service.HTTP.Rules {
		dot := strings.LastIndexByte(r.Selector, '.')
		found["/"+r.Selector[:dot]+"/"+r.Selector[dot+1:]] = append([]rule{r}, r.AdditionalBindings...)
	}
	return found
}

var pathParameter = regexp.MustCompile(`\{([a-z_]+)(=[^}]*)?\}`)

// spell writes a request as HTTP.
func (r rule) spell(t *testing.T, message proto.Message) (method, path, body string) {
	t.Helper()
	method, path = r.verb()
	fields := message.ProtoReflect().Descriptor().Fields()
	path = pathParameter.ReplaceAllStringFunc(path, func(parameter string) string {
		field := fields.ByName(protoreflect.Name(pathParameter.FindStringSubmatch(parameter)[1]))
		value := message.ProtoReflect().Get(field).String()
		message.ProtoReflect().Clear(field)
		if value == "" {
			value = "some"
		}
		return url.PathEscape(value)
	})
	switch r.Body {
	case "":
		query := url.Values{}
		message.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
			query.Set(field.TextName(), value.String())
			return true
		})
		if len(query) > 0 {
			path += "?" + query.Encode()
		}
		return method, path, ""
	case "*":
	default:
		message = message.ProtoReflect().Get(fields.ByName(protoreflect.Name(r.Body))).Message().Interface()
	}
	data, err := protojson.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return method, path, string(data)
}

// TestEveryMethodByEveryCallerOverHTTP: the same callers, the same answers, the same
// audit lines as over gRPC.
func TestEveryMethodByEveryCallerOverHTTP(t *testing.T) {
	ca := pkitest.New(t)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca, Authority: daemontest.NewAuthority(t, ca)})
	rpcs, spelled := methods(t), rules(t)
	for name := range rpcs {
		if _, ok := spelled[name]; !ok && strings.HasPrefix(name, "/containarium.") {
			t.Errorf("%s has no rule in proto/http.yaml", name)
		}
	}
	for n, kind := range slices.Sorted(maps.Keys(callers)) {
		caller := callers[kind]
		client := d.HTTPClient(t, ca.Client(t, caller.cn), n%2 == 0)
		check := func(what, name string, allowed bool, method, path, body string) {
			t.Helper()
			before := len(d.Audit(t))
			// Of a stream the beginning is enough, as it is for an audit line.
			response := begin(t, d, client, method, path, body)
			if denied := response == http.StatusForbidden; denied == allowed || response == http.StatusUnauthorized || response == http.StatusNotImplemented || response == http.StatusInternalServerError {
				t.Errorf("%s by %s: %d, allowed should be %t", what, kind, response, allowed)
			}
			checkAudit(t, d, before, name, caller.cn, allowed)
		}
		for _, name := range slices.Sorted(maps.Keys(spelled)) {
			for _, r := range spelled[name] {
				method, path, body := r.spell(t, request(t, rpcs[name], caller.username))
				check(method+" "+path, name, slices.Contains(matrix[name], kind), method, path, body)
			}
		}
		for _, path := range slices.Sorted(maps.Keys(pages)) {
			check("GET "+path, pages[path].method, slices.Contains(pages[path].allowed, kind), http.MethodGet, path, "")
		}
	}
}

// begin asks, and hangs up when there is a first answer.
func begin(t *testing.T, d *daemontest.Daemon, client *http.Client, method, path, body string) (status int) {
	t.Helper()
	response, err := client.Do(d.Request(t, method, path, body))
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	return response.StatusCode
}
