package prometheus

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/footprintai/containarium/contrib/test/freeport"
	"github.com/footprintai/containarium/daemon/daemontest"
)

const policy = `[roles.monitor]
allow = ["metrics.scrape"]
[roles.guest]
allow = []
[identities]
"monitor-*" = "monitor"
"guest" = "guest"
`

// TestScrape: a real Prometheus, with the example's configuration but for addresses and
// files, reads the numbers over mTLS as a monitor, and reads none as a guest.
func TestScrape(t *testing.T) {
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("NOT RUN: the scrape by a real server, which is Prometheus itself: apt-get install prometheus")
	}
	d := daemontest.StartWith(t, daemontest.Options{Policy: policy})
	for cn, up := range map[string]string{"monitor-1": "1", "guest": "0"} {
		p := start(t, d, cn)
		p.eventually(t, `up{job="containarium"}`, up)
		if up == "1" {
			p.eventually(t, `containarium_containers{state="running"}`, "0")
			p.eventually(t, `grpc_server_handled_total{grpc_method="Metrics",grpc_code="OK",role="monitor"} > bool 0`, "1")
		} else if got := p.ask(t, `containarium_containers{state="running",instance="`+p.instance+`"}`); got != "" {
			t.Errorf("a guest reads %s", got)
		}
	}
}

// server is a Prometheus that runs.
type server struct{ url, instance string }

func start(t *testing.T, d *daemontest.Daemon, cn string) server {
	t.Helper()
	files, dir := d.ClientFiles(t, cn), t.TempDir()
	instance := strings.TrimPrefix(d.URL, "https://")
	config := strings.NewReplacer(
		"/etc/prometheus/containarium/ca.crt", files.CA,
		"/etc/prometheus/containarium/tls.crt", files.Cert,
		"/etc/prometheus/containarium/tls.key", files.Key,
		`"jump-1.example.com:8443", "jump-2.example.com:8443"`, fmt.Sprintf("%q", instance),
		"rule_files:\n  - alerts.yml\n", "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n",
	).Replace(read(t, "prometheus.example.yml"))
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address, err := freeport.Address("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("Prometheus: %s", log.String())
		}
	})
	return server{"http://" + address, instance}
}

// ask asks for one value; "" where there is none yet.
func (s server) ask(t *testing.T, query string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/api/v1/query?query="+url.QueryEscape(query), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return "" // it is not up yet
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || len(answer.Data.Result) == 0 {
		return ""
	}
	value, _ := answer.Data.Result[0].Value[1].(string)
	return value
}

func (s server) eventually(t *testing.T, query, want string) {
	t.Helper()
	daemontest.Wait(t, query+" to be "+want, func() bool { return s.ask(t, query) == want })
}
