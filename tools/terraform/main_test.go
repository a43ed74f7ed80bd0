package main

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

const gce = "../../contrib/terraform/gce"

// good is a value for each variable that needs one, as it is written.
var good = map[string]string{
	"names": `["jump-1", "jump-2"]`, "project": `"my-project-123456"`, "zone": `"europe-west3-a"`, "network": `"jump"`,
	"subnetwork": `"projects/p/regions/europe-west3/subnetworks/jump"`, "api_cidrs": `["192.0.2.0/24"]`, "ssh_cidrs": `["0.0.0.0/0"]`,
	"package_url": `"https://example.org/containarium_1.0.0_amd64.deb"`, "package_sha256": `"` + strings.Repeat("0f", 32) + `"`,
}

// other is another value, and what is said of it; nothing, if it is good, too.
type other struct{ name, value, refusal string }

var others = []other{
	{"fleet", `"berlin"`, ""},
	{"fleet", `"Berlin"`, "small letters"},
	{"names", `[]`, "at least one"},
	{"names", `["jump 1"]`, "small letters"},
	{"names", `["jump-1\nadmin = \"thief\""]`, "small letters"},
	{"names", `"jump-1"`, "set of string"},
	{"project", `"example.org:my-project"`, ""},
	{"project", `"My Project"`, "ID of a project"},
	{"zone", `"us-central1-f"`, ""},
	{"zone", `"europe-west3"`, "not a zone"},
	{"network", `""`, "self link"},
	{"subnetwork", `"-"`, "self link"},
	{"api_cidrs", `["10.0.0.0/8", "192.0.2.7/32"]`, ""},
	{"api_cidrs", `[]`, "and not 0.0.0.0/0"},
	{"api_cidrs", `["192.0.2.0/24", "0.0.0.0/0"]`, "and not 0.0.0.0/0"},
	{"api_cidrs", `["192.0.2.7"]`, "and not 0.0.0.0/0"},
	{"ssh_cidrs", `[]`, "Give networks"},
	{"ssh_cidrs", `["everywhere"]`, "Give networks"},
	{"package_url", `"http://example.org/containarium.deb"`, "https URL"},
	{"package_url", `"https://example.org/containarium.rpm"`, "https URL"},
	{"package_url", `"https://example.org/a b.deb"`, "https URL"},
	{"package_sha256", `"e3b0c442"`, "64 digits"},
	{"admin", `"ops-laptop"`, ""},
	{"admin", `"jump-1"`, "not the name of a server"},
	{"admin", `"ops laptop"`, "Use letters"},
	{"domain", `"jump.example.org"`, ""},
	{"domain", `"example.org."`, "not a domain"},
	{"machine_type", `"n2d-custom-8-16384"`, ""},
	{"machine_type", `"big"`, "not a machine type"},
	{"image", `"ubuntu-os-cloud/ubuntu-2404-lts-amd64"`, ""},
	{"image", `"ubuntu-os-cloud/ubuntu-minimal-2404-lts-amd64"`, ""},
	{"image", `"debian-cloud/debian-11"`, "Debian 12 and"},
	{"boot_disk_gb", `10.5`, "whole number"},
	{"data_disk_gb", `5`, "10 to 65536"},
	{"data_disk_gb", `"plenty"`, "number"},
	{"disk_type", `"pd-ssd"`, ""},
	{"disk_type", `"floppy"`, "Use pd-standard"},
	{"deletion_protection", `"perhaps"`, "bool"},
}

func expression(t *testing.T, text string) cty.Value {
	t.Helper()
	file, diagnostics := hclparse.NewParser().ParseHCL([]byte("value = "+text), "value")
	if diagnostics.HasErrors() {
		t.Fatal(diagnostics)
	}
	attributes, _ := file.Body.JustAttributes()
	value, diagnostics := attributes["value"].Expr.Value(nil)
	if diagnostics.HasErrors() {
		t.Fatal(diagnostics)
	}
	return value
}

func loadGCE(t *testing.T) (*module, map[string]cty.Value) {
	t.Helper()
	m, err := load(gce)
	if err != nil {
		t.Fatal(err)
	}
	values := m.defaults()
	for name, text := range good {
		values[name] = expression(t, text)
	}
	return m, values
}

// Each variable takes good values and refuses bad ones, with the message that it has
// for them.
func TestVariables(t *testing.T) {
	m, values := loadGCE(t)
	for name := range m.variables {
		if refusal := m.refuses(name, values); refusal != "" {
			t.Errorf("%s: %s", name, refusal)
		}
		if (m.variables[name].Body.Attributes["default"] == nil) != (good[name] != "") {
			t.Errorf("%s: a default for what has none here, or none for what has one", name)
		}
	}
	for _, o := range others {
		changed := maps.Clone(values)
		changed[o.name] = expression(t, o.value)
		if got := m.refuses(o.name, changed); (o.refusal == "") != (got == "") || !strings.Contains(got, o.refusal) {
			t.Errorf("%s = %s: %q, want %q", o.name, o.value, got, o.refusal)
		}
	}
}

// Terraform itself, where there is one, thinks of every value as we do. No registry of
// packages has it; "make terraform-check" says loudly what was not run without it.
func TestVariablesByTerraform(t *testing.T) {
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("NOT RUN: the variables by Terraform itself: put terraform into PATH, then make terraform-check")
	}
	variables, err := os.ReadFile(gce + "/variables.tf")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	plan := func(values map[string]string) string {
		var text strings.Builder
		for name, value := range values {
			text.WriteString(name + " = " + value + "\n")
		}
		for file, data := range map[string]string{"variables.tf": string(variables), "terraform.tfvars": text.String()} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), terraform, "-chdir="+dir, "plan", "-no-color", "-input=false", "-lock=false")
		cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TF_") }), "CHECKPOINT_DISABLE=1")
		out, err := cmd.CombinedOutput()
		if err == nil {
			return ""
		}
		return strings.Join(strings.Fields(strings.ReplaceAll(string(out), "│", " ")), " ")
	}
	// It says all that it refuses at once: one value of each variable a plan.
	for left := others; len(left) > 0; {
		values, refusals := maps.Clone(good), []string{}
		var later []other
		for _, o := range left {
			// Nor anything of admin, which is compared with names, while that is refused.
			names := o.name == "admin" && values["names"] != good["names"]
			if names || values[o.name] != good[o.name] || (o.refusal == "") != (left[0].refusal == "") {
				later = append(later, o)
				continue
			}
			values[o.name] = o.value
			refusals = append(refusals, o.refusal)
		}
		left = later
		got := plan(values)
		for _, want := range refusals {
			if (want == "") != (got == "") || !strings.Contains(got, want) {
				t.Errorf("%q: %q, want %q", values, got, want)
			}
		}
	}
}

// A server gets as its startup script the very file that serves every other host,
// what that script asks the metadata for, and answers for init that are TOML.
func TestMetadata(t *testing.T) {
	m, values := loadGCE(t)
	values["domain"] = cty.StringVal("example.org")
	key := cty.ObjectVal(map[string]cty.Value{"key": cty.StringVal("jump-1")})
	servers := map[string]cty.Value{}
	for name, address := range map[string]string{"jump-1": "203.0.113.1", "jump-2": "203.0.113.2"} {
		servers[name] = cty.ObjectVal(map[string]cty.Value{"address": cty.StringVal(address)})
	}
	context := &hcl.EvalContext{Functions: functions, Variables: map[string]cty.Value{
		"var": cty.ObjectVal(values), "each": key, "path": cty.ObjectVal(map[string]cty.Value{"module": cty.StringVal(gce)}),
		"google_compute_address": cty.ObjectVal(map[string]cty.Value{"server": cty.ObjectVal(servers)}),
	}}
	locals := map[string]cty.Value{}
	for name, text := range m.locals {
		value, diagnostics := text.Value(context)
		if diagnostics.HasErrors() {
			t.Fatal(diagnostics)
		}
		locals[name] = value
	}
	context.Variables["local"] = cty.ObjectVal(locals)
	var metadata map[string]cty.Value
	for _, block := range m.blocks {
		if len(block.Labels) == 2 && block.Labels[0] == "google_compute_instance" {
			value, diagnostics := block.Body.Attributes["metadata"].Expr.Value(context)
			if diagnostics.HasErrors() {
				t.Fatal(diagnostics)
			}
			metadata = value.AsValueMap()
		}
	}
	script, err := os.ReadFile("../../contrib/cloud/bootstrap.sh")
	if err != nil {
		t.Fatal(err)
	}
	if metadata["startup-script"].AsString() != string(script) {
		t.Error("the startup script is not contrib/cloud/bootstrap.sh")
	}
	var asked, given []string
	for _, found := range regexp.MustCompile(`(?m)^\tsetting [A-Z_0-9]+ (\S+)$`).FindAllStringSubmatch(string(script), -1) {
		asked = append(asked, found[1])
	}
	for name := range metadata {
		if strings.HasPrefix(name, "containarium-") {
			given = append(given, name)
		}
	}
	slices.Sort(asked)
	slices.Sort(given)
	if len(asked) == 0 || !slices.Equal(asked, given) {
		t.Errorf("the script asks for %q, the metadata has %q", asked, given)
	}
	const want = "name = \"jump-1\"\nadmin = \"admin\"\nsan = [\"203.0.113.1\",\"jump-1.example.org\"]\n"
	if got := metadata["containarium-preseed"].AsString(); got != want {
		t.Errorf("the answers for init are\n%s, want\n%s", got, want)
	}
}

// The firewall lets in what the two variables say, each to its port, and nothing else.
func TestFirewall(t *testing.T) {
	m, values := loadGCE(t)
	context := &hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(values)}}
	text := func(body *hclsyntax.Body, name string) string {
		value, diagnostics := body.Attributes[name].Expr.Value(context)
		if diagnostics.HasErrors() {
			t.Fatal(diagnostics)
		}
		var parts []string
		for _, part := range value.AsValueSlice() {
			parts = append(parts, part.AsString())
		}
		return strings.Join(parts, ",")
	}
	got := map[string]string{}
	for _, block := range m.blocks {
		if block.Type == "resource" && block.Labels[0] == "google_compute_firewall" {
			for _, allow := range block.Body.Blocks {
				got[text(allow.Body, "ports")] = text(block.Body, "source_ranges")
			}
		}
	}
	if want := map[string]string{"50051": "192.0.2.0/24", "22": "0.0.0.0/0"}; !maps.Equal(got, want) {
		t.Errorf("it opens %q, want %q", got, want)
	}
}

// A checker that finds nothing would be worth nothing.
func TestFinds(t *testing.T) {
	dir := t.TempDir()
	for file, text := range map[string]string{
		"one/main.tf": "variable \"a\" {\n  type = string\n}\nresource \"r\" \"x\" {\n  b = var.b + local.c + r.y.id + r.x.id\n}\noutput \"o\" {\n    value = 1\n}\n",
		"two/main.tf": "module \"m\" {\n  source = \"../three\"\n  less = 1\n  cidr = \"0.0.0.0/0\"\n}\n",
		"three/main.tf": "variable \"cidr\" {\n  description = \"c\"\n  type        = string\n  validation {\n    condition     = var.cidr != \"0.0.0.0/0\"\n    error_message = \"Not the world.\"\n  }\n}\n" +
			"variable \"need\" {\n  description = \"n\"\n  type        = bool\n}\n",
	} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	modules, findings, err := run(&out, dir)
	if err != nil || modules != 3 {
		t.Fatalf("%d modules, %v", modules, err)
	}
	want := []string{
		"one/main.tf:1: it is not formatted", "one/main.tf:1: variable a has no description", "one/main.tf:1: variable a takes anything",
		"one/main.tf:5: var.b is declared nowhere", "one/main.tf:5: local.c is declared nowhere", "one/main.tf:5: r.y is declared nowhere",
		"one/main.tf:7: output o has no description", "two/main.tf:1: it is not formatted", "two/main.tf:3: module m takes no less",
		"two/main.tf:1: module m lacks need", "two/main.tf:1: module m does not take this cidr: Not the world.",
	}
	for _, finding := range want {
		if !strings.Contains(out.String(), dir+"/"+finding) {
			t.Errorf("it does not find %q", finding)
		}
	}
	if findings != len(want) {
		t.Errorf("%d findings, want %d:\n%s", findings, len(want), out.String())
	}
	if _, _, err := run(&out, filepath.Join(dir, "four")); err == nil {
		t.Error("a directory that is not there is fine")
	}
}
