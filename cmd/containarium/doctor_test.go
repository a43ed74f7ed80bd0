package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/pki/pkitest"
)

// bad are the names of the checks that are not ok, each with its status.
func bad(checks []checkView) string {
	var names []string
	for _, v := range checks {
		if v.Status != checkOK && !slices.Contains(names, v.Status+" "+v.Name) {
			names = append(names, v.Status+" "+v.Name)
		}
		if (v.Status != checkOK) == (v.Mend == "") {
			names = append(names, fmt.Sprintf("%s has the mend %q", v.Name, v.Mend))
		}
	}
	return strings.Join(names, ", ")
}

// What the profile gives to containers is looked at, thing by thing.
func TestDoctorLooksAtTheSite(t *testing.T) {
	size := func(n uint64) *uint64 { return &n }
	good := incusx.System{StoragePool: "default", StorageDriver: "btrfs", StorageTotal: size(100), StorageUsed: size(50), Network: "incusbr0", Subnet: "10.0.0.1/24"}
	for want, change := range map[string]func(*incusx.System){
		"":                          func(*incusx.System) {},
		"fail storage":              func(s *incusx.System) { s.StoragePool = "" },
		"warn storage":              func(s *incusx.System) { s.StorageUsed = size(95) },
		"fail bridge":               func(s *incusx.System) { s.Network, s.Subnet = "", "" },
		"warn storage, fail bridge": func(s *incusx.System) { s.StorageDriver, s.Subnet = "dir", "none" },
	} {
		system := good
		change(&system)
		d := &hostDoctor{config: &config.Config{File: config.Defaults()}}
		d.site(system)
		if got := bad(d.checks); got != want || len(d.checks) != 2 {
			t.Errorf("%+v: %q, want %q", system, got, want)
		}
	}
}

// A file that sshd does not include, or includes behind lines that win, is found.
func TestDoctorAsksWhatSSHDMakesOfIt(t *testing.T) {
	good := "port 22\nforcecommand /usr/sbin/nologin\nallowstreamlocalforwarding no\nallowtcpforwarding local"
	for options, want := range map[string]string{
		good: "",
		strings.Replace(good, "forcecommand /usr/sbin/nologin", "forcecommand none", 1): "fail jump",
		strings.Replace(good, "allowtcpforwarding local", "allowtcpforwarding yes", 1):  "fail jump",
		"": "fail jump",
	} {
		d := &hostDoctor{sshDir: "/etc/ssh/sshd_config.d"}
		d.refused("alice", "containarium.conf", options)
		if got := bad(d.checks); got != want {
			t.Errorf("%q: %q, want %q", options, got, want)
		}
	}
}

// As time goes by on a host where nobody renews anything, the certificate is due
// first, then the lists are old, then it has expired.
func TestDoctorOfAnOldHost(t *testing.T) {
	c, r := newJumpServer(t)
	for _, test := range []struct {
		later time.Duration
		want  string
	}{
		{0, ""}, {month + time.Hour, "fail lists"}, {2*month + time.Hour, "warn certificate, fail lists"}, {3*month + time.Hour, "fail certificate"},
	} {
		d := &hostDoctor{path: filepath.Join(filepath.Dir(r.path), "config.toml"), config: c, now: time.Now().Add(test.later)}
		d.certificate()
		if got := bad(d.checks); got != test.want {
			t.Errorf("after %s: %q, want %q", test.later, got, test.want)
		}
	}
}

// Who this daemon is when it asks another is looked at where it asks.
func TestDoctorLooksAtTrust(t *testing.T) {
	c, _ := newJumpServer(t)
	d := &hostDoctor{config: c, now: time.Now()}
	d.trust()
	if len(d.checks) != 0 {
		t.Errorf("nobody is asked: %v", d.checks)
	}
	c.TLS.TrustFrom, c.TLS.ClientCert, c.TLS.ClientKey = "jump-9:50051", filepath.Join(t.TempDir(), "client.crt"), c.Server.Key
	d.trust()
	if got := bad(d.checks); got != "fail trust" {
		t.Errorf("without a certificate: %q", got)
	}
	admin := filepath.Join(c.CA.Dir, "issued", "admin")
	c.TLS.ClientCert, c.TLS.ClientKey = filepath.Join(admin, "tls.crt"), filepath.Join(admin, "tls.key")
	d.checks = nil
	d.trust()
	if got := bad(d.checks); got != "" || len(d.checks) != 1 {
		t.Errorf("with one: %q", got)
	}
}

// Two clocks that are apart are found by the server's word; a certificate of the CA
// that is not valid yet is more than a word.
func TestDoctorComparesClocks(t *testing.T) {
	now := time.Now()
	for apart, want := range map[time.Duration]string{
		0: "", 4 * time.Second: "", -4 * time.Second: "", 20 * time.Second: "warn clock", -20 * time.Second: "warn clock",
		2 * time.Minute: "fail clock", -time.Hour: "fail clock",
	} {
		d := &clientDoctor{to: client.Server{Name: "jump-1"}, now: func() time.Time { return now }}
		d.clock(metadata.Pairs(intercept.TimeHeader, now.Add(apart).Format(time.RFC3339Nano)), now, nil)
		if got := bad(d.checks); got != want || len(d.checks) != 1 {
			t.Errorf("%s apart: %q, want %q", apart, got, want)
		}
	}
	for _, header := range []metadata.MD{nil, metadata.Pairs(intercept.TimeHeader, "soon")} {
		d := &clientDoctor{now: func() time.Time { return now }}
		d.clock(header, now, nil)
		if len(d.checks) != 0 {
			t.Errorf("a server that tells no time: %v", d.checks)
		}
	}
	early := x509.CertificateInvalidError{Reason: x509.Expired, Cert: &x509.Certificate{NotBefore: now.Add(time.Hour)}}
	d := &clientDoctor{now: func() time.Time { return now }}
	d.clock(nil, now, early)
	if got := bad(d.checks); got != "fail clock" {
		t.Errorf("a certificate of the next hour: %q", got)
	}
}

// A daemon tells its time with an answer, and also with a refusal.
func TestDaemonTellsItsTime(t *testing.T) {
	d := daemontest.Start(t)
	for _, cn := range []string{"admin", "nobody"} {
		files := d.ClientFiles(t, cn)
		server := client.Server{Name: "jump-1", Address: d.Address, Cert: files.Cert, Key: files.Key, CA: files.CA}
		doctor := &clientDoctor{targets: &targets{config: &client.Config{}, timeout: readTimeout}, to: server, now: time.Now}
		told := false
		for _, v := range doctor.check(t.Context()) {
			told = told || v.Name == "clock" && strings.Contains(v.Detail, "agree")
		}
		if !told {
			t.Errorf("%s hears no time: %+v", cn, doctor.checks)
		}
	}
}

// A bundle of roots with anything else in it is no bundle.
func TestDoctorLooksAtTheRoots(t *testing.T) {
	ca := pkitest.New(t)
	dir := t.TempDir()
	ca.Client(t, "admin").WriteFiles(t, dir, ca)
	leaf := read(t, filepath.Join(dir, "tls.crt"))
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), leaf, 0o600); err != nil {
		t.Fatal(err)
	}
	server := client.Server{Name: "jump-1", Address: "127.0.0.1:1", Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), CA: filepath.Join(dir, "ca.crt")}
	d := &clientDoctor{to: server, now: time.Now}
	if got := bad(d.check(t.Context())); got != "fail ca" {
		t.Errorf("%q: %+v", got, d.checks)
	}
}

func TestDoctorComparesReleases(t *testing.T) {
	for _, test := range []struct{ own, server, want string }{
		{"v1.2.0", "v1.2.3", ""}, {"v1.2.0", "v1.3.0", "warn version"}, {"(devel)", "v1.3.0", ""}, {"v1.2.0", "", ""},
	} {
		d := &clientDoctor{own: test.own, to: client.Server{Name: "jump-1"}}
		d.version(test.server)
		if got := bad(d.checks); got != test.want {
			t.Errorf("%s and %s: %q, want %q", test.own, test.server, got, test.want)
		}
	}
}
