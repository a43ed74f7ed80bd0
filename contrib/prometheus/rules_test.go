package prometheus

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"

	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// promtool runs a check of Prometheus' own.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("NOT RUN: the rules by their own checker, promtool: apt-get install prometheus")
	}
	if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
}

func TestConfiguration(t *testing.T) {
	promtool(t, "check", "config", "--syntax-only", "prometheus.example.yml")
}

// TestAlerts: each fires when it should, and not before.
func TestAlerts(t *testing.T) {
	promtool(t, "check", "rules", "alerts.yml")
	promtool(t, "test", "rules", "alerts_test.yml")
	rules, tests := read(t, "alerts.yml"), read(t, "alerts_test.yml")
	for _, name := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		if !regexp.MustCompile(`alertname: ` + name[1] + `\n +eval_time: \w+\n +exp_alerts:\n`).MatchString(tests) {
			t.Errorf("no test has %s fire", name[1])
		}
	}
}

// TestNamesAreThere: alerts and dashboard ask for nothing that a daemon does not have.
func TestNamesAreThere(t *testing.T) {
	ca := pkitest.New(t)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca, CRLs: ca.CRL(t)})
	if _, err := pb.NewContainerServiceClient(d.Dial(t, "admin")).CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "alice", NoWait: true}); err != nil {
		t.Fatal(err)
	}
	families, err := d.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	there := []string{"containarium"} // the job, and the dashboard's own name
	for _, family := range families {
		name := family.GetName()
		there = append(there, name, name+"_bucket")
	}
	used := regexp.MustCompile(`\b(?:containarium|grpc_server|process|go)_[a-z_]+\b`)
	for _, file := range []string{"alerts.yml", "../grafana/containarium.json"} {
		names := used.FindAllString(read(t, file), -1)
		if len(names) < 10 {
			t.Errorf("%s uses %d names", file, len(names))
		}
		for _, name := range names {
			if !slices.Contains(there, name) {
				t.Errorf("%s uses %s, which the daemon does not have", file, name)
			}
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
