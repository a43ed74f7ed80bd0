package daemon

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/footprintai/containarium/daemon/limit"
	"github.com/footprintai/containarium/daemon/metrics"
	"github.com/footprintai/containarium/daemon/traces"
)

// newMetrics returns the numbers of this daemon, which are read when it is complete.
func (d *Daemon) newMetrics(version string) *metrics.Metrics {
	return metrics.New(version, metrics.Sources{
		Generation: d.generations.current.Load,
		Reloads: func() metrics.Reloads {
			return metrics.Reloads{OK: d.generations.loads.Load(), Failed: d.generations.failures.Load(), Failing: d.generations.failed.Load() != nil}
		},
		Connections: func() limit.Counts { return d.listener.Counts() },
		Containers: func() metrics.Containers {
			c := d.service.Counts()
			return metrics.Containers{
				ByState: c.States, Live: c.Live, Confirmed: c.Confirmed, Lag: c.Lag, Events: c.Events, Resyncs: c.Resyncs, Watchers: c.Watchers,
			}
		},
		Checks: d.readiness.checks,
		Now:    d.now,
	}, d.log)
}

// newTraces returns nil where the configuration names no collector.
func (d *Daemon) newTraces(version string) (*traces.Traces, error) {
	c := d.config.Traces
	if c.Endpoint == "" {
		return nil, nil
	}
	return traces.New(context.Background(), traces.Config{
		Endpoint: c.Endpoint, CA: c.CA, Cert: c.Cert, Key: c.Key, Sample: c.Sample, Version: version, Log: d.log,
	})
}

// Metrics are the numbers, for who asks for them without HTTP.
func (d *Daemon) Metrics() prometheus.Gatherer { return d.metrics.Gather() }
