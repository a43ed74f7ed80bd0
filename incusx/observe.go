package incusx

import (
	"net/http"
	"strings"
	"time"

	incus "github.com/lxc/incus/v6/client"
)

// Observe is told of a request to Incus: its method, the collection that it is about
// ("instances", "operations"), the status of the answer, 0 where there was none, and how
// long that took; 0 where it says nothing of Incus, as a wait for an operation.
type Observe func(method, resource string, status int, took time.Duration)

// observed is a transport that tells of its requests.
type observed struct {
	inner *http.Transport
	tell  Observe
}

// Transport implements incus.HTTPTransporter, for what is no request.
func (o observed) Transport() *http.Transport { return o.inner }

// observe has the requests of a connection told.
func (c *Client) observe(server incus.InstanceServer) error {
	if c.cfg.Observe == nil {
		return nil
	}
	client, err := server.GetHTTPClient()
	if err != nil {
		return err
	}
	if inner, ok := client.Transport.(*http.Transport); ok {
		client.Transport = observed{inner, c.cfg.Observe}
	}
	return nil
}

// RoundTrip implements http.RoundTripper.
func (o observed) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	response, err := o.inner.RoundTrip(r)
	took, status := time.Since(began), 0
	if err == nil {
		status = response.StatusCode
	}
	_, path, _ := strings.Cut(r.URL.Path, "/1.0/")
	resource, rest, _ := strings.Cut(path, "/")
	if resource == "" {
		resource = "server"
	}
	if strings.HasSuffix(rest, "/wait") || resource == "events" {
		took = 0
	}
	o.tell(r.Method, resource, status, took)
	return response, err
}
