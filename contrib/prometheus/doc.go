// Package prometheus holds what Prometheus and Grafana need: a configuration, alerts and,
// in contrib/grafana, a dashboard.
package prometheus
