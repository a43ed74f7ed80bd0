package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func systemCommand() *cli.Command {
	return &cli.Command{
		Name:  "system",
		Usage: "show the host behind a server, its capacity and versions",
		Description: describe(`Shows what the server runs on and how full it is. Of several servers it shows a line
each and the sum: a + behind a sum says that some could not tell, and so does
totals.incomplete of -o json.`,
			"containarium system",
			"containarium system --server jump-2",
			"containarium system --all"),
		Action: system,
	}
}

func system(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	t, err := targetsOf(c, readTimeout)
	if err != nil {
		return err
	}
	if t.fleet {
		answers, failed := askAll(c, t, systemInfo)
		totals := func(d *fleetDocument, answers []client.Answer[*pb.GetSystemInfoResponse]) {
			d.Totals = totalsOf(answers)
		}
		return showAllWith(c, t, answers, failed, totals, func(term *terminal) error { return term.table(systemTable(answers)) })
	}
	return askOne(c, t, systemInfo, func(s *session, r *pb.GetSystemInfoResponse) [][]string { return s.systemRows(r) })
}

func systemInfo(ctx context.Context, s *session) (*pb.GetSystemInfoResponse, error) {
	return s.Containers.GetSystemInfo(ctx, &pb.GetSystemInfoRequest{})
}

func (s *session) systemRows(r *pb.GetSystemInfoResponse) [][]string {
	total, used := r.GetMemoryTotalBytes(), r.GetMemoryUsedBytes()
	rows := [][]string{
		{"server:", s.Server().Name},
		{"host:", r.GetHostname()},
		{"containarium:", r.GetVersion()},
		{"incus:", r.GetIncusVersion()},
		{"kernel:", r.GetKernelVersion()},
		{"daemon since:", when(r.GetStartedAt())},
		{"cpus:", fmt.Sprint(r.GetCpuCount())},
		{"memory:", fmt.Sprintf("%s used of %s", size(&used), size(&total))},
		{"storage:", fmt.Sprintf("%s used of %s (%s, %s)", size(r.StorageUsedBytes), size(r.StorageTotalBytes), orUnknown(r.GetStoragePool()), orUnknown(r.GetStorageDriver()))},
		{"network:", fmt.Sprintf("%s %s", orUnknown(r.GetNetwork()), orUnknown(r.GetSubnet()))},
		{"jump host:", s.jumpHost(r.GetJumpAddress())},
		{"default image:", r.GetDefaultImage()},
		{"containers:", fmt.Sprintf("%d, %d running", r.GetContainersTotal(), r.GetContainersRunning())},
	}
	for _, m := range r.GetMembers() {
		rows = append(rows, []string{"member:", memberText(m)})
	}
	if r.GetCache() != nil { // else an older daemon
		rows = append(rows, cacheRow(r.GetCache(), time.Now()))
	}
	if r.GetGeneration() == nil { // an older daemon
		return rows
	}
	return append(rows, trustRows(r.GetGeneration(), r.GetTrustSource())...)
}

// memberText is a member of the cluster in a line.
func memberText(m *pb.ClusterMember) string {
	text := fmt.Sprintf("%s, %s, containers: %d", m.GetName(), strings.ToLower(m.GetStatus()), m.GetContainers())
	if m.GetLocal() {
		text += ", this one"
	}
	if len(m.GetRoles()) > 0 {
		text += ", " + strings.Join(m.GetRoles(), ", ")
	}
	if m.GetMessage() != "" && m.GetStatus() != "Online" {
		text += ": " + oneLineOf(m.GetMessage())
	}
	return text
}

// systemTable has a line for each server and one for all.
func systemTable(answers []client.Answer[*pb.GetSystemInfoResponse]) [][]string {
	rows := [][]string{{"SERVER", "VERSION", "CONTAINERS", "RUNNING", "CPUS", "MEMORY-USED", "MEMORY", "STORAGE-USED", "STORAGE", "CERTIFICATE-UNTIL"}}
	for _, answer := range answers {
		r := answer.Value
		rows = append(rows, []string{
			answer.Server.Name, r.GetVersion(), fmt.Sprint(r.GetContainersTotal()), fmt.Sprint(r.GetContainersRunning()), fmt.Sprint(r.GetCpuCount()),
			size(known(r.GetMemoryUsedBytes())), size(known(r.GetMemoryTotalBytes())),
			size(r.StorageUsedBytes), size(r.StorageTotalBytes), until(r.GetGeneration().GetServerCertificateNotAfter()),
		})
	}
	total := totalsOf(answers)
	row := []string{fmt.Sprintf("(%d)", total.Servers), "", fmt.Sprint(total.ContainersTotal), fmt.Sprint(total.ContainersRunning), fmt.Sprint(total.CPUCount)}
	for _, sum := range total.sums() {
		cell := size(*sum.bytes)
		if *sum.bytes != nil && slices.Contains(total.Incomplete, sum.name) {
			cell += "+"
		}
		row = append(row, cell)
	}
	return append(rows, append(row, ""))
}

// systemTotals are the sums over the servers that answered, in the JSON form of
// protobuf: 64-bit numbers as strings, and absent what none of them told.
type systemTotals struct {
	Servers           int     `json:"servers"`
	ContainersTotal   uint64  `json:"containersTotal"`
	ContainersRunning uint64  `json:"containersRunning"`
	CPUCount          uint64  `json:"cpuCount"`
	MemoryUsedBytes   *uint64 `json:"memoryUsedBytes,string,omitempty"`
	MemoryTotalBytes  *uint64 `json:"memoryTotalBytes,string,omitempty"`
	StorageUsedBytes  *uint64 `json:"storageUsedBytes,string,omitempty"`
	StorageTotalBytes *uint64 `json:"storageTotalBytes,string,omitempty"`
	// Incomplete names the sums that some of the servers could not tell their part of.
	Incomplete []string `json:"incomplete"`
}

// namedSum is a sum that may be unknown, with its name in the document.
type namedSum struct {
	name  string
	bytes **uint64
}

// sums are those that may be unknown, in the order of the table.
func (t *systemTotals) sums() []namedSum {
	return []namedSum{
		{"memoryUsedBytes", &t.MemoryUsedBytes}, {"memoryTotalBytes", &t.MemoryTotalBytes},
		{"storageUsedBytes", &t.StorageUsedBytes}, {"storageTotalBytes", &t.StorageTotalBytes},
	}
}

func totalsOf(answers []client.Answer[*pb.GetSystemInfoResponse]) *systemTotals {
	t := &systemTotals{Servers: len(answers), Incomplete: []string{}}
	for _, answer := range answers {
		r := answer.Value
		t.ContainersTotal += uint64(r.GetContainersTotal())
		t.ContainersRunning += uint64(r.GetContainersRunning())
		t.CPUCount += uint64(r.GetCpuCount())
		parts := []*uint64{known(r.GetMemoryUsedBytes()), known(r.GetMemoryTotalBytes()), r.StorageUsedBytes, r.StorageTotalBytes}
		for i, sum := range t.sums() {
			switch {
			case parts[i] != nil && *sum.bytes == nil:
				*sum.bytes = new(*parts[i])
			case parts[i] != nil:
				**sum.bytes += *parts[i]
			case !slices.Contains(t.Incomplete, sum.name):
				t.Incomplete = append(t.Incomplete, sum.name)
			}
		}
	}
	return t
}

// known is nil where a server that has some tells of none: it could not look.
func known(bytes uint64) *uint64 {
	if bytes == 0 {
		return nil
	}
	return &bytes
}

// until prints the day of an instant; absent is unknown.
func until(at *timestamppb.Timestamp) string {
	if at == nil {
		return unknown
	}
	return at.AsTime().UTC().Format("2006-01-02")
}

// trustRows show what the daemon goes by when it decides whom to let in.
func trustRows(g *pb.Generation, source *pb.TrustSource) [][]string {
	rows := [][]string{
		{"certificate until:", when(g.GetServerCertificateNotAfter())},
		{"loaded:", fmt.Sprintf("%s, generation %d", when(g.GetLoadedAt()), g.GetNumber())},
	}
	if g.GetLastError() != "" {
		rows = append(rows, []string{"not loaded:", fmt.Sprintf("%s, at %s", oneLineOf(g.GetLastError()), when(g.GetLastErrorAt()))})
	}
	if len(g.GetRevocationLists()) == 0 {
		rows = append(rows, []string{"revocation:", "off"})
	}
	for _, list := range g.GetRevocationLists() {
		text := fmt.Sprintf("%s: %d revoked, list %s of %s, good until %s", orUnknown(list.GetIssuer()), list.GetRevoked(),
			orUnknown(list.GetNumber()), when(list.GetThisUpdate()), when(list.GetNextUpdate()))
		if list.GetProblem() != "" {
			text = "BAD: " + oneLineOf(list.GetProblem())
		}
		rows = append(rows, []string{"revocation:", text})
	}
	if source != nil {
		text := fmt.Sprintf("%s, asked %s", source.GetAddress(), when(source.GetFetchedAt()))
		if source.GetLastError() != "" {
			text += "; since then: " + oneLineOf(source.GetLastError())
		}
		rows = append(rows, []string{"trust from:", text})
	}
	return rows
}

// oneLineOf joins the lines of an error that has several.
func oneLineOf(text string) string { return strings.ReplaceAll(text, "\n", "; ") }
