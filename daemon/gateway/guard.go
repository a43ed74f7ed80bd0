package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"
)

// bodyTimeout bounds how long a body may take to come: the largest is some hundred KiB.
const bodyTimeout = 30 * time.Second

// A browser sends its user's certificate with every request, whichever page made it. So
// this port takes nothing that another site's page could send: nothing that a browser
// marks as coming from elsewhere, and no body but JSON, which a form can not send. It
// has no CORS: a browser shows no answer to another site, and a preflight finds nothing.

// guarded lets a request through that has nothing against it: to more than is said here
// the handlers say no. It fails closed.
func (g *gateway) guarded(next http.Handler) http.Handler {
	elsewhere := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, &exchange{query: r.URL.Query()}))
		err := elsewhere.Check(r)
		if err != nil || fromElsewhere(r) {
			g.failPlain(w, r, problem(http.StatusForbidden, codes.PermissionDenied, "the page of another site may not ask for this"))
			return
		}
		if err := g.readBody(w, r); err != nil {
			g.failPlain(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// secure sets what browsers are to make of any answer: nothing but what it says, in no
// frame, read by no other site, kept nowhere.
func secure(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
}

// fromElsewhere reports whether a browser says that another site asks for this, were it
// only to read: such a page sees no answer, but the time that it took. A link to a page
// for people is fine. Whoever is no browser says nothing.
func fromElsewhere(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || !forPeople(r)
}

// readBody reads a body whole, within its bounds.
func (g *gateway) readBody(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength == 0 || r.Body == http.NoBody {
		return nil
	}
	switch r.Method {
	case http.MethodPost, http.MethodPatch, http.MethodPut:
	default:
		return problem(http.StatusBadRequest, codes.InvalidArgument, "%s takes no body: put what it needs into the query", r.Method)
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != typeJSON {
		return problem(http.StatusUnsupportedMediaType, codes.InvalidArgument, "the body must be JSON: send it with Content-Type: %s", typeJSON)
	}
	deadline := http.NewResponseController(w)
	if err := deadline.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return problem(http.StatusInternalServerError, codes.Internal, "the body can not be read: %v", err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, g.MaxBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return problem(http.StatusRequestEntityTooLarge, codes.InvalidArgument, "the body has more than %d bytes", long.Limit)
	case err != nil:
		return problem(http.StatusBadRequest, codes.InvalidArgument, "the body ended before its time")
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if err := deadline.SetReadDeadline(time.Time{}); err != nil {
		return problem(http.StatusInternalServerError, codes.Internal, "the body can not be read: %v", err)
	}
	return nil
}
