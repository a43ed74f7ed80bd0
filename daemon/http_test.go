package daemon_test

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/incusx/incustest"
	"github.com/footprintai/containarium/pki/pkitest"
)

// post sends JSON, and returns the answer, which must be a good one.
func post(t *testing.T, d *daemontest.Daemon, client *http.Client, path, body string) string {
	t.Helper()
	response, answer := d.Ask(t, client, http.MethodPost, path, body)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("POST %s: %s: %s", path, response.Status, answer)
	}
	return answer
}

// TestHTTP walks through the life of a container, over both versions of HTTP.
func TestHTTP(t *testing.T) {
	d := daemontest.Start(t)
	for _, http2 := range []bool{false, true} {
		client := d.HTTPClient(t, d.CA.Client(t, "admin"), http2)
		post(t, d, client, "/v1/containers", `{"username": "alice", "labels": {"team": "web"}, "noWait": true}`)
		for _, step := range []struct {
			method, path, body string
			status             int
			want               string
		}{
			{http.MethodGet, "/v1/containers", "", 200, `"username":"alice"`},
			{http.MethodGet, "/v1/containers?states=CONTAINER_STATE_RUNNING&labels[team]=web", "", 200, `"username":"alice"`},
			{http.MethodGet, "/v1/containers?states=CONTAINER_STATE_STOPPED", "", 200, `"containers":[]`},
			{http.MethodGet, "/v1/containers?labels[team]=db", "", 200, `"containers":[]`},
			{http.MethodGet, "/v1/containers/alice", "", 200, `"team":"web"`},
			{http.MethodPatch, "/v1/containers/alice", `{"resources": {"memory": "1GiB"}}`, 200, `"memory":"1GiB"`},
			{http.MethodPost, "/v1/containers/alice:stop", `{"force": true}`, 200, `CONTAINER_STATE_STOPPED`},
			{http.MethodPost, "/v1/containers/alice:start", "", 200, `CONTAINER_STATE_RUNNING`},
			{http.MethodPost, "/v1/containers/alice/snapshots", `{"name": "one"}`, 200, `"name":"one"`},
			{http.MethodGet, "/v1/containers/alice/metrics", "", 200, `"username":"alice"`},
			{http.MethodDelete, "/v1/containers/alice", "", 400, `is running`},
			{http.MethodDelete, "/v1/containers/alice?force=true", "", 200, `{}`},
			{http.MethodGet, "/v1/containers/alice", "", 404, `"reason":"NOT_FOUND"`},
		} {
			response, answer := d.Ask(t, client, step.method, step.path, step.body)
			if response.StatusCode != step.status || !strings.Contains(answer, step.want) || !strings.HasSuffix(answer, "}\n") {
				t.Errorf("%s %s: %s: %s, want %d with %s", step.method, step.path, response.Status, answer, step.status, step.want)
			}
			if response.Header.Get("X-Request-Id") == "" || response.Header.Get("Containarium-Version") != "test" {
				t.Errorf("%s %s: headers %v", step.method, step.path, response.Header)
			}
			checkAnswer(t, response)
		}
	}
}

// TestHTTPErrors: what is wrong with a request is the caller's to read, with the code
// that HTTP has for it, and never a 500.
func TestHTTPErrors(t *testing.T) {
	d := daemontest.Start(t)
	client := d.HTTPClient(t, d.CA.Client(t, "admin"), true)
	post(t, d, client, "/v1/containers", `{"username": "alice", "noWait": true}`)
	for name, ask := range map[string]struct {
		method, path, body string
		status             int
		want               string
	}{
		"bad JSON, with the place":    {http.MethodPost, "/v1/containers", "{\n \"username\": alice}", 400, "line 2:14"},
		"JSON that ends too early":    {http.MethodPost, "/v1/containers", "{\n \"username\":", 400, "line 2:13"},
		"an unknown field":            {http.MethodPost, "/v1/containers", `{"user": "alice"}`, 400, `line 1:2): unknown field \"user\"`},
		"a field of another type":     {http.MethodPost, "/v1/containers", `{"username": 7}`, 400, "line 1:14"},
		"all that is wrong":           {http.MethodPost, "/v1/containers", `{"username": "A", "image": "a b"}`, 400, `"field":"image"`},
		"of a stream":                 {http.MethodPost, "/v1/containers:stream", `{"username": "A"}`, 400, `"field":"create.username"`},
		"an unknown parameter":        {http.MethodGet, "/v1/containers?state=x", "", 400, `no query parameter \"state\"`},
		"what the path says":          {http.MethodGet, "/v1/containers/alice?username=bob", "", 400, `no query parameter \"username\"`},
		"a value that is none":        {http.MethodGet, "/v1/containers?states=running", "", 400, "none of CONTAINER_STATE_CREATING, "},
		"a body where none is":        {http.MethodDelete, "/v1/containers/alice", `{"force":true}`, 400, "takes no body"},
		"a body that is too long":     {http.MethodPost, "/v1/containers", `{"username":"` + strings.Repeat("a", 300<<10) + `"}`, 413, "more than 262144 bytes"},
		"nobody there":                {http.MethodGet, "/v1/containers/carol", "", 404, "carol has no container"},
		"no such path":                {http.MethodGet, "/v1/container", "", 404, "/openapi.json has what there is"},
		"a path of other bytes":       {http.MethodGet, "/%ff", "", 404, "there is nothing at /%ff"},
		"no such method":              {http.MethodPut, "/v1/containers", "{}", 405, "takes no PUT"},
		"there already":               {http.MethodPost, "/v1/containers", `{"username": "alice"}`, 409, `"code":6`},
		"not now":                     {http.MethodDelete, "/v1/containers/alice", "", 400, `"code":9`},
		"not here":                    {http.MethodGet, "/v1/certificates", "", 501, `"code":12`},
		"a deadline that is none":     {http.MethodGet, "/v1/containers", "", 400, "grpc-timeout"},
		"a deadline that is over now": {http.MethodGet, "/v1/system", "", 504, `"code":4`},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(d.Audit(t))
			timeout := map[string]string{"a deadline that is none": "soon", "a deadline that is over now": "1n"}[name]
			change := with()
			if timeout != "" {
				change = with("Grpc-Timeout", timeout)
			}
			response, answer := d.Ask(t, client, ask.method, ask.path, ask.body, change)
			if response.StatusCode != ask.status || !strings.Contains(answer, ask.want) {
				t.Errorf("%s: %s, want %d with %s", response.Status, answer, ask.status, ask.want)
			}
			var status struct {
				Code    int
				Message string
			}
			if err := json.Unmarshal([]byte(answer), &status); err != nil || status.Code == 0 || status.Message == "" || response.Header.Get("Content-Type") != "application/json" {
				t.Errorf("not a google.rpc.Status: %v: %s", err, answer)
			}
			records := d.Audit(t)
			last := records[len(records)-1]
			if len(records) != before+1 || last.CN != "admin" || last.Code == "OK" || response.Header.Get("X-Request-Id") != last.RequestID {
				t.Errorf("it left %d audit lines, the last %+v", len(records)-before, last)
			}
		})
	}
}

// TestHTTPRate: who asks too often is told when to ask again, whatever they ask.
func TestHTTPRate(t *testing.T) {
	d := daemontest.Start(t, func(c *config.File) { c.Limits.Rate, c.Limits.Burst = 1, 10 })
	client := d.HTTPClient(t, d.CA.Client(t, "admin"), true)
	for _, path := range []string{"/v1/whoami", "/v1/nothing", "/healthz"} {
		var response daemontest.Answer
		for n := 0; n < 1000 && response.StatusCode != http.StatusTooManyRequests; n++ {
			response, _ = d.Ask(t, client, http.MethodGet, path, "")
		}
		if response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") == "" {
			t.Errorf("a thousand of %s: %s, Retry-After %q", path, response.Status, response.Header.Get("Retry-After"))
		}
	}
}

// TestHTTPBadCallers: who is nobody to gRPC is nobody here, at the handshake.
func TestHTTPBadCallers(t *testing.T) {
	d := daemontest.Start(t)
	bad := d.CA.Bad(t)
	bad["no certificate"] = pkitest.Pair{}
	for what, pair := range bad {
		for _, http2 := range []bool{false, true} {
			client := d.HTTPClient(t, pair, http2)
			request := d.Request(t, http.MethodGet, "/healthz", "")
			if response, err := client.Do(request); err == nil {
				_ = response.Body.Close()
				t.Errorf("%s: %s", what, response.Status)
			}
		}
	}
	old := d.CA.ClientConfig(d.CA.Client(t, "admin"))
	old.MaxVersion = tls.VersionTLS12
	conn, err := (&tls.Dialer{Config: old}).DialContext(t.Context(), "tcp", strings.TrimPrefix(d.URL, "https://"))
	if err == nil {
		_ = conn.Close()
		t.Error("TLS 1.2 is let in")
	}
	if records := d.Audit(t); len(records) > 0 {
		t.Errorf("a refused caller reached the interceptors: %+v", records)
	}
	daemontest.Wait(t, "the reasons in the audit log", func() bool {
		reasons := ""
		for _, r := range d.Events(t) {
			reasons += r.Reason
		}
		return strings.Contains(reasons, "didn't provide a certificate") && strings.Contains(reasons, "expired")
	})
}

// TestHTTPRevoked: a certificate that is revoked ends the connection that it made.
func TestHTTPRevoked(t *testing.T) {
	ca := pkitest.New(t)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca, CRLs: ca.CRL(t)})
	thief := ca.Client(t, "admin")
	client := d.HTTPClient(t, thief, true)
	lines := watch(t, d, client, typeNDJSON)
	lines.until(t, "SYNCED")
	d.Revoke(t, thief)
	lines.until(t, `"reason":"REVOKED"`)
	lines.ends(t)
	request := d.Request(t, http.MethodGet, "/v1/whoami", "")
	if response, err := client.Do(request); err == nil {
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("a revoked certificate: %s", response.Status)
		}
	}
}

// TestHTTPHealth: alive is not ready.
func TestHTTPHealth(t *testing.T) {
	d := daemontest.Start(t, func(c *config.File) { c.Limits.Rate, c.Limits.Burst = 1000, 1000 })
	client := d.HTTPClient(t, d.CA.Client(t, "guest"), true)
	ready := func() (bool, string) {
		response, answer := d.Ask(t, client, http.MethodGet, "/readyz", "")
		return response.StatusCode == http.StatusOK, answer
	}
	eventually(t, "ready", func() bool { ok, _ := ready(); return ok })
	d.Sim.Down()
	eventually(t, "not ready without Incus", func() bool {
		ok, answer := ready()
		return !ok && strings.Contains(answer, `"incus":"Incus does not answer"`)
	})
	if response, answer := d.Ask(t, client, http.MethodGet, "/healthz", ""); response.StatusCode != http.StatusOK || answer != "ok\n" {
		t.Errorf("alive without Incus: %s %s", response.Status, answer)
	}
	if err := d.Sim.Up(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready again", func() bool { ok, _ := ready(); return ok })
	// Incus answers, but what it has can not be read.
	clear := d.Sim.Fail(incustest.Fault{Method: http.MethodGet, Path: "/1.0/instances", Status: http.StatusInternalServerError, Message: "no"})
	d.Sim.HangUp()
	eventually(t, "not ready without the containers", func() bool {
		ok, answer := ready()
		return !ok && strings.Contains(answer, `"cache":"the containers are being read`) && strings.Contains(answer, `"incus":"ok"`)
	})
	clear()
	eventually(t, "ready with them", func() bool { ok, _ := ready(); return ok })
	// The same over gRPC.
	health := healthpb.NewHealthClient(d.Dial(t, "guest"))
	for service, want := range map[string]healthpb.HealthCheckResponse_ServingStatus{
		"": healthpb.HealthCheckResponse_SERVING, "readiness": healthpb.HealthCheckResponse_SERVING, "liveness": healthpb.HealthCheckResponse_SERVING,
	} {
		if response, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service}); err != nil || response.GetStatus() != want {
			t.Errorf("%q: %v, %v", service, response.GetStatus(), err)
		}
	}
	d.Sim.Down()
	eventually(t, "alive and not ready over gRPC", func() bool {
		readiness, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "readiness"})
		liveness, also := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "liveness"})
		return err == nil && also == nil && readiness.GetStatus() == healthpb.HealthCheckResponse_NOT_SERVING && liveness.GetStatus() == healthpb.HealthCheckResponse_SERVING
	})
}

// TestHTTPDeniesBeforeItComplains: what is wrong with a body is told to who may send it.
func TestHTTPDeniesBeforeItComplains(t *testing.T) {
	d := daemontest.Start(t)
	response, answer := d.Ask(t, d.HTTPClient(t, d.CA.Client(t, "alice"), true), http.MethodPost, "/v1/containers", `{"bogus":`)
	if response.StatusCode != http.StatusForbidden || strings.Contains(answer, "line 1") {
		t.Errorf("%s: %s", response.Status, answer)
	}
	records := d.Audit(t)
	if last := records[len(records)-1]; last.Method != "/containarium.v1.ContainerService/CreateContainer" || last.Decision != "deny" || last.Code != "PermissionDenied" {
		t.Errorf("audit %+v", last)
	}
}
