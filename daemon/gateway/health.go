package gateway

import (
	"encoding/json"
	"io"
	"net/http"
)

// alive answers /healthz: who reads it knows that the daemon answers, and nothing
// else.
func alive(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", typeText)
	_, _ = io.WriteString(w, "ok\n")
}

// ready answers /readyz: 200 where nothing keeps the daemon from serving, else 503, and
// in either case what was looked at, with "ok" or what is wrong.
func (g *gateway) ready(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Ready  bool              `json:"ready"`
		Checks map[string]string `json:"checks"`
	}{true, map[string]string{}}
	for name, err := range g.Ready() {
		answer.Checks[name] = "ok"
		if err != nil {
			answer.Ready, answer.Checks[name] = false, err.Error()
		}
	}
	w.Header().Set("Content-Type", typeJSON)
	if !answer.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer) // the connection's own matter
}
