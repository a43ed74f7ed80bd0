package metrics_test

import (
	"errors"
	"fmt"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/daemon/metrics"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

func TestSources(t *testing.T) {
	m := newMetrics(t)
	want(t, m, "containarium_conn", map[string]float64{
		"containarium_connections_open{}": 5, "containarium_connections_handshaking{}": 1, "containarium_connections_accepted_total{}": 9,
		"containarium_connections_refused_total{reason=not_allowed}": 0, "containarium_connections_refused_total{reason=too_fast}": 4,
		"containarium_connections_refused_total{reason=full}": 0, "containarium_connections_refused_total{reason=address_full}": 0,
		"containarium_connections_refused_total{reason=handshakes_full}": 0, "containarium_connections_refused_total{reason=address_handshakes}": 0,
		"containarium_connections_refused_total{reason=evicted}": 2, "containarium_connections_refused_total{reason=accept_failed}": 0,
	})
	want(t, m, "containarium_containers", map[string]float64{"containarium_containers{state=running}": 1, "containarium_containers{state=stopped}": 0})
	want(t, m, "containarium_cache", map[string]float64{
		"containarium_cache_live{}": 1, "containarium_cache_age_seconds{}": 3, "containarium_cache_lag_seconds{}": 0.25,
		"containarium_cache_events_total{}": 17, "containarium_cache_resyncs_total{}": 2,
	})
	want(t, m, "containarium_watchers", map[string]float64{"containarium_watchers{}": 6})
	want(t, m, "containarium_generation", map[string]float64{"containarium_generation{}": 3})
	want(t, m, "containarium_reload", map[string]float64{
		"containarium_reloads_total{result=ok}": 3, "containarium_reloads_total{result=failed}": 2, "containarium_reload_failed{}": 0,
	})
	want(t, m, "containarium_ready", map[string]float64{"containarium_ready{}": 1})
	want(t, m, "containarium_incus_up", map[string]float64{"containarium_incus_up{}": 1})
	want(t, m, "containarium_revocation", map[string]float64{"containarium_revocation_enabled{}": 0})
}

// What is not well is said, and a copy that never was one has no age.
func TestSourcesThatAreNotWell(t *testing.T) {
	m := newMetrics(t, func(s *metrics.Sources) {
		s.Checks = func() map[string]error { return map[string]error{"incus": errors.New("gone"), "cache": nil} }
		s.Reloads = func() metrics.Reloads { return metrics.Reloads{OK: 1, Failed: 1, Failing: true} }
		s.Containers = func() metrics.Containers { return metrics.Containers{} }
	})
	want(t, m, "containarium_ready", map[string]float64{"containarium_ready{}": 0})
	want(t, m, "containarium_check", map[string]float64{"containarium_check{check=incus}": 0, "containarium_check{check=cache}": 1})
	want(t, m, "containarium_incus_up", map[string]float64{"containarium_incus_up{}": 0})
	want(t, m, "containarium_reload_failed", map[string]float64{"containarium_reload_failed{}": 1})
	want(t, m, "containarium_cache_live", map[string]float64{"containarium_cache_live{}": 0})
	want(t, m, "containarium_cache_age", map[string]float64{})
}

// trusting loads a server's files of that CA: these roots, these lists.
func trusting(t *testing.T, ca *pkitest.CA, roots, crls []byte) *intercept.Generation {
	t.Helper()
	files := ca.Server(t, "127.0.0.1").WriteFiles(t, t.TempDir(), ca)
	for path, data := range map[string][]byte{files.CA: roots, files.CRL: crls} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := files.Load(live.Server, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &intercept.Generation{Number: 1, Trust: loaded}
}

// Every certificate that the daemon goes by and every list has its date; the two CAs have
// the same names.
func TestCertificates(t *testing.T) {
	ca, next := pkitest.New(t), pkitest.New(t)
	stale := pkitest.List{ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: time.Now().Add(-time.Hour), ByRoot: true}
	g := trusting(t, ca, pkitest.PEM(ca.Root, next.Root), ca.CRLs(t, pkitest.List{}, stale))
	m := newMetrics(t, func(s *metrics.Sources) { s.Generation = func() *intercept.Generation { return g } })
	server, lists := g.Trust.Pair.Leaf, g.Trust.CRLs.Lists(time.Now())
	series := func(kind, cn string, serial *big.Int) string {
		return fmt.Sprintf("containarium_certificate_expiry_timestamp_seconds{certificate=%s,cn=%s,serial=%s}", kind, cn, serial.Text(16))
	}
	want(t, m, "containarium_certificate_expiry", map[string]float64{
		series("server", "Test server", server.SerialNumber):                      float64(server.NotAfter.Unix()),
		series("intermediate", "Test intermediate", ca.Intermediate.SerialNumber): float64(ca.Intermediate.NotAfter.Unix()),
		series("root", "Test root", ca.Root.SerialNumber):                         float64(ca.Root.NotAfter.Unix()),
		series("root", "Test root", next.Root.SerialNumber):                       float64(next.Root.NotAfter.Unix()),
	})
	good, bad := "Test intermediate "+lists[0].KeyID, "Test root "+lists[1].KeyID
	want(t, m, "containarium_crl", map[string]float64{
		"containarium_crl_next_update_timestamp_seconds{issuer=" + good + "}": float64(lists[0].NextUpdate.Unix()),
		"containarium_crl_next_update_timestamp_seconds{issuer=" + bad + "}":  float64(stale.NextUpdate.Unix()),
		"containarium_crl_problem{issuer=" + good + "}":                       0,
		"containarium_crl_problem{issuer=" + bad + "}":                        1,
	})
	want(t, m, "containarium_revocation", map[string]float64{"containarium_revocation_enabled{}": 1})
}

// What stands in a file twice is still one series: of two, Prometheus gets no number at
// all. One bad list shuts people out, and so does the first that ends.
func TestWhatIsThereTwice(t *testing.T) {
	ca := pkitest.New(t)
	soon, spoilt := pkitest.List{NextUpdate: time.Now().Add(time.Hour)}, pkitest.List{NextUpdate: time.Now().Add(time.Hour), BadlySigned: true}
	for what, lists := range map[string][]pkitest.List{"good and bad": {{}, spoilt}, "bad and good": {spoilt, {}}, "good and good": {soon, {}}} {
		t.Run(what, func(t *testing.T) {
			g := trusting(t, ca, pkitest.PEM(ca.Root, ca.Root), ca.CRLs(t, lists...))
			m := newMetrics(t, func(s *metrics.Sources) { s.Generation = func() *intercept.Generation { return g } })
			issuer := "{issuer=Test intermediate " + g.Trust.CRLs.Lists(time.Now())[0].KeyID + "}"
			bad := 1.0
			if what == "good and good" {
				bad = 0
			}
			want(t, m, "containarium_crl", map[string]float64{
				"containarium_crl_next_update_timestamp_seconds" + issuer: float64(soon.NextUpdate.Unix()), "containarium_crl_problem" + issuer: bad,
			})
		})
	}
}
