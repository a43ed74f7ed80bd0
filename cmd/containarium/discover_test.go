package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki/pkitest"
)

// nameServer is a DNS server on loopback with SRV records by name.
type nameServer struct {
	t       *testing.T
	conn    net.PacketConn
	records map[string][]dnsmessage.SRVResource
}

func newNameServer(t *testing.T, records map[string][]dnsmessage.SRVResource) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{t: t, conn: conn, records: records}
	var serving sync.WaitGroup
	serving.Go(n.serve)
	t.Cleanup(func() {
		_ = conn.Close()
		serving.Wait()
	})
	return n
}

func (n *nameServer) serve() {
	packet := make([]byte, 4096)
	for {
		size, from, err := n.conn.ReadFrom(packet)
		if err != nil {
			return // closed
		}
		var m dnsmessage.Message
		if err := m.Unpack(packet[:size]); err != nil || len(m.Questions) != 1 {
			n.t.Errorf("a question that is none: %v", err)
			continue
		}
		q := m.Questions[0]
		answer := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true}, Questions: m.Questions}
		records, ok := n.records[q.Name.String()]
		switch {
		case strings.HasSuffix(q.Name.String(), ".broken.test."):
			answer.RCode = dnsmessage.RCodeServerFailure
		case !ok:
			answer.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeSRV:
			for _, r := range records {
				answer.Answers = append(answer.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}, Body: &r})
			}
		}
		data, err := answer.Pack()
		if err == nil {
			_, err = n.conn.WriteTo(data, from)
		}
		if err != nil {
			n.t.Errorf("answer %s: %v", q.Name, err)
		}
	}
}

// run runs a command line whose questions go to the name server.
func (n *nameServer) run(args ...string) (code int, out, errs string) {
	screen, stdout, stderr := capture(false)
	app := newApp(screen)
	app.Metadata[resolverKey] = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", n.conn.LocalAddr().String())
	}}
	code = runApp(n.t.Context(), app, screen, append([]string{"containarium"}, args...))
	return code, stdout.String(), stderr.String()
}

func srv(target string, port, priority, weight uint16) dnsmessage.SRVResource {
	return dnsmessage.SRVResource{Target: dnsmessage.MustNewName(target), Port: port, Priority: priority, Weight: weight}
}

func TestDiscover(t *testing.T) {
	ca := pkitest.New(t)
	dir := t.TempDir()
	files := ca.Client(t, "admin").WriteFiles(t, dir, ca)
	path := filepath.Join(dir, "config.toml")
	for name, value := range map[string]string{
		"HOME": dir, "CONTAINARIUM_CONFIG": path, "CONTAINARIUM_SERVER": "", "CONTAINARIUM_CERT": "", "CONTAINARIUM_KEY": "", "CONTAINARIUM_CA": "",
	} {
		t.Setenv(name, value)
	}
	n := newNameServer(t, map[string][]dnsmessage.SRVResource{
		"_containarium._tcp.example.test.": {
			srv("jump-2.example.test.", 50051, 20, 5), srv("jump-1.example.test.", 50051, 10, 5),
			srv("jump-1.example.test.", 50052, 10, 7), srv("jump-1.other.test.", 50051, 10, 7),
		},
		"_containarium._tcp.none.test.": {srv(".", 0, 0, 0)},
	})

	code, out, errs := n.run("server", "discover", "example.test", "-o", "json")
	var got []found
	if err := json.Unmarshal([]byte(out), &got); code != exitFine || err != nil || errs != "" {
		t.Fatalf("exit code %d, %q, %q, %v", code, out, errs, err)
	}
	want := []found{
		{Name: "jump-1", Address: "jump-1.example.test:50051", Priority: 10, Weight: 5},
		{Name: "jump-1.example.test", Address: "jump-1.example.test:50052", Priority: 10, Weight: 7},
		{Name: "jump-1.other.test", Address: "jump-1.other.test:50051", Priority: 10, Weight: 7},
		{Name: "jump-2", Address: "jump-2.example.test:50051", Priority: 20, Weight: 5},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("without --add something was written: %v", err)
	}

	// One is there already, by a name of its own.
	code, _, errs = n.run("server", "add", "mine", "jump-2.example.test", "--cert", files.Cert, "--key", files.Key, "--ca", files.CA)
	if code != exitFine {
		t.Fatal(errs)
	}
	code, out, errs = n.run("server", "discover", "example.test", "--add", "--group", "found")
	if code != exitFine || !strings.Contains(out, "mine") || !strings.Contains(errs, "containarium server ls shows whether they answer") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	config, err := client.LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	addresses := map[string]string{}
	for name, server := range config.Servers {
		addresses[name] = server.Address
	}
	if diff := cmp.Diff(map[string]string{
		"mine": "jump-2.example.test:50051", "jump-1": "jump-1.example.test:50051",
		"jump-1.example.test": "jump-1.example.test:50052", "jump-1.other.test": "jump-1.other.test:50051",
	}, addresses); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"jump-1", "jump-1.example.test", "jump-1.other.test"}, config.Groups["found"]); diff != "" {
		t.Error(diff)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, errs = n.run("server", "discover", "example.test", "--add"); code != exitFine {
		t.Errorf("a second time: exit code %d, %q", code, errs)
	}

	for domain, want := range map[string]string{
		"none.test":    "containarium: server discover none.test: the domain says that it has no servers; containarium server add names",
		"unknown.test": "containarium: server discover unknown.test: no servers of unknown.test are in the DNS; its DNS needs SRV records _containarium._tcp.unknown.test; ",
		"broken.test":  "containarium: server discover broken.test: the DNS does not answer: ",
	} {
		code, out, errs = n.run("server", "discover", domain, "--add")
		if code != exitFailed || out != "" || !strings.HasPrefix(errs, want) || !oneLine(errs) {
			t.Errorf("%s: exit code %d, %q, %q", domain, code, out, errs)
		}
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("the file was changed: %s, %v", after, err)
	}
}
