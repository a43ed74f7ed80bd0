package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/daemon/limit"
)

// Sources are what is read when somebody asks for the numbers. None of it asks Incus.
type Sources struct {
	// Generation is what the daemon goes by, Reloads the attempts to load another.
	Generation func() *intercept.Generation
	Reloads    func() Reloads
	// Connections are those of both ports.
	Connections func() limit.Counts
	// Containers is the copy of them.
	Containers func() Containers
	// Checks is what readiness looks at, nil for what is well.
	Checks func() map[string]error
	Now    func() time.Time
}

// Reloads are attempts to load a generation since the start.
type Reloads struct {
	OK, Failed uint64
	// Failing says that the last one failed.
	Failing bool
}

// Containers are the numbers of the copy that reads are answered from.
type Containers struct {
	// ByState has every state that there is, as "running".
	ByState map[string]int
	Live    bool
	// Confirmed is when the copy was last known to be that of Incus; zero: never.
	Confirmed       time.Time
	Lag             time.Duration
	Events, Resyncs uint64
	Watchers        int
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("containarium_"+name, help, labels, nil)
}

var (
	ready      = desc("ready", "Whether nothing keeps the daemon from serving well.")
	check      = desc("check", "Whether what readiness looks at is well.", "check")
	incusUp    = desc("incus_up", "Whether Incus answers.")
	expiry     = desc("certificate_expiry_timestamp_seconds", "When a certificate ends, in seconds since 1970.", "certificate", "cn", "serial")
	nextUpdate = desc("crl_next_update_timestamp_seconds", "When a revocation list must be replaced, in seconds since 1970.", "issuer")
	crlBad     = desc("crl_problem", "Whether a revocation list shuts out those whom it is about.", "issuer")
	revocation = desc("revocation_enabled", "Whether there are revocation lists.")
	generation = desc("generation", "The number of what the daemon goes by: certificates, lists, policy.")
	reloads    = desc("reloads_total", "Attempts to load another generation.", "result")
	failing    = desc("reload_failed", "Whether the last attempt to load failed.")
	open       = desc("connections_open", "Connections now, in their handshake or after it.")
	shaking    = desc("connections_handshaking", "Connections in their handshake now.")
	accepted   = desc("connections_accepted_total", "Connections that were let in.")
	refused    = desc("connections_refused_total", "Connections that were closed before their handshake was over.", "reason")
	containers = desc("containers", "Containers.", "state")
	cacheLive  = desc("cache_live", "Whether the copy of the containers is good.")
	cacheAge   = desc("cache_age_seconds", "The time since the copy was last known to be that of Incus.")
	cacheLag   = desc("cache_lag_seconds", "From Incus' word of the last change to its being in the copy.")
	events     = desc("cache_events_total", "Incus' events about containers.")
	resyncs    = desc("cache_resyncs_total", "Full reads of Incus.")
	watchers   = desc("watchers", "Open watches.")
)

// Describe implements prometheus.Collector.
func (Sources) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		ready, check, incusUp, expiry, nextUpdate, crlBad, revocation, generation, reloads, failing, open, shaking, accepted, refused,
		containers, cacheLive, cacheAge, cacheLag, events, resyncs, watchers,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (s Sources) Collect(to chan<- prometheus.Metric) {
	c := collection{to}
	well := true
	for name, err := range s.Checks() {
		c.gauge(check, truth(err == nil), name)
		well = well && err == nil
		if name == "incus" {
			c.gauge(incusUp, truth(err == nil))
		}
	}
	c.gauge(ready, truth(well))
	c.trust(s.Generation(), s.Now())
	r := s.Reloads()
	c.count(reloads, r.OK, "ok")
	c.count(reloads, r.Failed, "failed")
	c.gauge(failing, truth(r.Failing))
	c.connections(s.Connections())
	c.copied(s.Containers(), s.Now())
}

// collection sends numbers.
type collection struct{ to chan<- prometheus.Metric }

func (c collection) gauge(d *prometheus.Desc, value float64, labels ...string) {
	c.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (c collection) count(d *prometheus.Desc, value uint64, labels ...string) {
	c.to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c collection) connections(n limit.Counts) {
	c.gauge(open, float64(n.Open))
	c.gauge(shaking, float64(n.Handshaking))
	c.count(accepted, n.Accepted)
	for reason, count := range map[string]uint64{
		"not_allowed": n.NotAllowed, "too_fast": n.TooFast, "full": n.Full, "address_full": n.AddressFull, "handshakes_full": n.HandshakesFull,
		"address_handshakes": n.AddressHandshakes, "evicted": n.Evicted, "accept_failed": n.AcceptFailed,
	} {
		c.count(refused, count, reason)
	}
}

func (c collection) copied(n Containers, now time.Time) {
	for state, count := range n.ByState {
		c.gauge(containers, float64(count), state)
	}
	c.gauge(cacheLive, truth(n.Live))
	if !n.Confirmed.IsZero() {
		c.gauge(cacheAge, max(now.Sub(n.Confirmed).Seconds(), 0))
	}
	c.gauge(cacheLag, n.Lag.Seconds())
	c.count(events, n.Events)
	c.count(resyncs, n.Resyncs)
	c.gauge(watchers, float64(n.Watchers))
}
