package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func metricsCommand() *cli.Command {
	return &cli.Command{
		Name:      "metrics",
		Usage:     "show once what containers use",
		ArgsUsage: "[[SERVER:]USER]",
		Description: describe(`Shows what one container, or every one that you may see, uses now. What the host
can not tell is -, never 0. containarium top shows it all the time.

CPU is in cores, over the seconds or minutes since the daemon looked before, and so are
RECEIVED and SENT. OOM-KILLS are processes that the kernel killed for want of memory since
the start. PRESSURE is the share of the last ten seconds in which something waited for CPU,
memory and disk, in percent. DISK may be some minutes old where many containers are shown.
With the right to see the system, the last line of a server is its host. Totals are in
-o json.`,
			"containarium metrics",
			"containarium metrics alice --all",
			"containarium metrics -o json | jq '.metrics[] | select(.oomKills != \"0\")'"),
		Action: metrics,
	}
}

func metrics(c *cli.Context) error {
	users, err := usernames(c, 0, 1)
	if err != nil {
		return err
	}
	t := terminalOf(c)
	columns := metricColumns
	if t.format != formatTable {
		columns = append(columns[:len(columns):len(columns)], "READ", "WRITTEN")
	}
	return usageOnce(c, users, columns, func([]usage) {})
}

// usageOnce asks for what containers use, and shows it.
func usageOnce(c *cli.Context, users, columns []string, sorted func([]usage)) error {
	if len(users) > 0 {
		return eachPlace(c, readTimeout, users, false, func(ctx context.Context, s *session, user string) (*outcome, error) {
			response, err := getMetrics(ctx, s, user, sorted)
			return &outcome{answer: response, table: func(t *terminal) error {
				return t.table(usageTable(usagesOf(s.Server(), response), columns, s.fleet))
			}}, err
		})
	}
	t, err := targetsOf(c, readTimeout)
	if err != nil {
		return err
	}
	call := func(ctx context.Context, s *session) (*pb.GetMetricsResponse, error) {
		return getMetrics(ctx, s, "", sorted)
	}
	if t.fleet {
		answers, failed := askAll(c, t, call)
		return showAll(c, t, answers, failed, func(t *terminal) error {
			var rows []usage
			for _, answer := range answers {
				rows = append(rows, usagesOf(answer.Server, answer.Value)...)
			}
			sorted(rows)
			return t.table(usageTable(rows, columns, true))
		})
	}
	s, err := t.dial(c, t.servers[0])
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := s.call(c.Context)
	defer cancel()
	response, err := call(ctx, s)
	if err != nil {
		return s.failed(err, commandPath(c), "")
	}
	return show(c, response, func(t *terminal) error {
		return t.table(usageTable(usagesOf(s.Server(), response), columns, false))
	})
}

// getMetrics asks a server; its containers come sorted, in documents too.
func getMetrics(ctx context.Context, s *session, user string, sorted func([]usage)) (*pb.GetMetricsResponse, error) {
	response, err := s.Containers.GetMetrics(ctx, &pb.GetMetricsRequest{Username: user})
	if err != nil {
		return nil, err
	}
	rows := make([]usage, len(response.GetMetrics()))
	for i, m := range response.GetMetrics() {
		rows[i] = usage{server: s.Server().Name, ContainerMetrics: m}
	}
	sorted(rows)
	for i, row := range rows {
		response.Metrics[i] = row.ContainerMetrics
	}
	return response, nil
}

// usage is what a container on a server uses, or its host as a whole: that one has
// no user.
type usage struct {
	server string
	*pb.ContainerMetrics
}

// usagesOf are the rows of an answer, the host last, whose limits are what it has.
func usagesOf(server client.Server, r *pb.GetMetricsResponse) []usage {
	var rows []usage
	for _, m := range r.GetMetrics() {
		rows = append(rows, usage{server.Name, m})
	}
	if h := r.GetHost(); h != nil {
		rows = append(rows, usage{server.Name, &pb.ContainerMetrics{
			CpuCores: h.CpuCores, MemoryUsageBytes: h.MemoryUsageBytes, MemoryLimitBytes: h.MemoryTotalBytes,
			DiskUsageBytes: h.DiskUsageBytes, DiskLimitBytes: h.DiskTotalBytes, OomKills: h.OomKills, Pressure: h.GetPressure(),
		}})
	}
	return rows
}

// metricColumns are those of metrics, of the ones in usageCells.
var metricColumns = []string{"USER", "STATE", "CPU", "MEMORY", "LIMIT", "DISK", "SIZE", "RECEIVED", "SENT", "PROCESSES", "OOM-KILLS", "PRESSURE"}

// usageCells are what stands below each heading.
var usageCells = map[string]func(usage) string{
	"USER": func(u usage) string {
		if u.GetUsername() == "" {
			return "(host)"
		}
		return u.GetUsername()
	},
	"STATE":     func(u usage) string { return stateWord(u.GetState()) },
	"CPU":       func(u usage) string { return cores(u.CpuCores) },
	"MEMORY":    func(u usage) string { return size(u.MemoryUsageBytes) },
	"LIMIT":     func(u usage) string { return size(u.MemoryLimitBytes) },
	"DISK":      func(u usage) string { return size(u.DiskUsageBytes) },
	"SIZE":      func(u usage) string { return size(u.DiskLimitBytes) },
	"READ":      func(u usage) string { return perSecond(u.DiskReadRate) },
	"WRITTEN":   func(u usage) string { return perSecond(u.DiskWrittenRate) },
	"RECEIVED":  func(u usage) string { return perSecond(u.NetworkReceivedRate) },
	"SENT":      func(u usage) string { return perSecond(u.NetworkSentRate) },
	"PROCESSES": func(u usage) string { return number(u.ProcessCount) },
	"OOM-KILLS": func(u usage) string { return number(u.OomKills) },
	"PRESSURE":  func(u usage) string { return pressure(u.GetPressure()) },
}

// usageTable shows rows in columns, the server first where there may be several.
func usageTable(rows []usage, columns []string, servers bool) [][]string {
	var heads []string
	if servers {
		heads = []string{"SERVER"}
	}
	table := [][]string{append(heads, columns...)}
	for _, u := range rows {
		var row []string
		if servers {
			row = []string{u.server}
		}
		for _, column := range columns {
			row = append(row, usageCells[column](u))
		}
		table = append(table, row)
	}
	return table
}

// cores prints how many cores are in use.
func cores(n *float64) string {
	if n == nil {
		return unknown
	}
	return fmt.Sprintf("%.2f", *n)
}

// perSecond prints a rate in bytes.
func perSecond(rate *float64) string {
	if rate == nil {
		return unknown
	}
	bytes := uint64(max(*rate, 0))
	return size(&bytes) + "/s"
}

// pressure prints percents for CPU, memory and I/O, as in "1.5/0.0/-".
func pressure(p *pb.Pressure) string {
	if p == nil {
		return unknown
	}
	var parts []string
	for _, percent := range []*float64{p.Cpu, p.Memory, p.Io} { //nolint:protogetter // absent is not 0
		if percent == nil {
			parts = append(parts, unknown)
		} else {
			parts = append(parts, fmt.Sprintf("%.1f", *percent))
		}
	}
	return strings.Join(parts, "/")
}
