package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/contrib/test/freeport"
	"github.com/footprintai/containarium/daemon/daemontest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// Where nobody watches each change is a line, and a restart of the daemon is
// survived: what happened meanwhile comes late, but comes.
func TestWatchLines(t *testing.T) {
	d := asAdmin(t)
	f := newFront(t, d.Address)
	key := publicKey(t)
	mustRun(t, "create", "alice", "--ssh-key", key, "--no-wait")
	mustRun(t, "create", "old", "--ssh-key", key, "--no-wait")
	out, _, interrupt := goOn(t, "watch", "--server", f.address, "-o", "json", "--user", "*l*", "--user", "bob")
	out.until(t, `"change":"there","user":"alice",`, `"change":"there","user":"old",`)
	mustRun(t, "create", "carol", "--ssh-key", key, "--no-wait")
	mustRun(t, "create", "eve", "--ssh-key", key, "--no-wait")
	out.until(t, `"change":"new","user":"carol",`)
	mustRun(t, "stop", "alice", "--force")
	out.until(t, `"change":"changed","user":"alice",`, `"CONTAINER_STATE_STOPPED"`)
	mustRun(t, "rm", "carol", "--force")
	out.until(t, `"change":"gone","user":"carol"}`)

	f.to("")
	out.until(t, `"change":"stale","error":"`)
	mustRun(t, "rm", "old", "--force")
	mustRun(t, "create", "bob", "--ssh-key", key, "--no-wait")
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	again := daemontest.StartWith(t, daemontest.Options{Sim: d.Sim, CA: d.CA})
	f.to(again.Address)
	out.until(t, `"change":"new","user":"bob",`, `"change":"gone","user":"old"}`, `"server":"`+f.address+`","change":"live"}`)
	if rest := out.String(); strings.Contains(rest, "eve") || strings.Contains(rest, "there") {
		t.Errorf("it shows what it should not: %s", rest)
	}
	if code := interrupt(); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
}

// Every line of JSON is an object.
func TestWatchJSON(t *testing.T) {
	asAdmin(t)
	mustRun(t, "create", "alice", "--ssh-key", publicKey(t), "--no-wait")
	out, _, interrupt := goOn(t, "watch", "-o", "json")
	daemontest.Wait(t, "a line", func() bool { return strings.Contains(out.String(), "\n") })
	interrupt()
	line, _, _ := strings.Cut(out.String(), "\n")
	var got struct {
		Time         time.Time
		User, Change string
		Container    struct{ Username, State string }
	}
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	if got.Change != wasThere || got.User != "alice" || got.Container.Username != "alice" || got.Container.State != "CONTAINER_STATE_RUNNING" || got.Time.IsZero() {
		t.Errorf("%+v", got)
	}
}

// Of several servers one that is down holds up none of the others, is named, and
// makes the command fail at its end.
func TestWatchSeveral(t *testing.T) {
	d := asAdmin(t)
	down, err := freeport.Address("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, "create", "alice", "--ssh-key", publicKey(t), "--no-wait")
	out, errs, interrupt := goOn(t, "watch", "--server", d.Address+","+down)
	errs.until(t, "warning: watch on "+down+": nothing listens at ", "systemctl status containarium\n")
	daemontest.Wait(t, "both servers", func() bool {
		return strings.Contains(out.String(), " alice ") && strings.Contains(out.String(), down)
	})
	if code := interrupt(); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	lines := strings.Split(out.String(), "\n")
	if got := strings.Join(strings.Fields(lines[0]), " "); got != "TIME SERVER USER WHAT STATE ADDRESS" {
		t.Errorf("%q", got)
	}
	at := strings.Index(lines[0], "WHAT")
	for _, line := range lines[1:3] {
		if !strings.HasPrefix(line[at:], isStale+"    -            -") && !strings.HasPrefix(line[at:], wasThere+"    running      127.") {
			t.Errorf("the columns are elsewhere: %q below %q", line, lines[0])
		}
	}
}

// A watch that nobody may have ends at once.
func TestWatchDenied(t *testing.T) {
	d := asAdmin(t)
	files := d.ClientFiles(t, "nobody")
	t.Setenv("CONTAINARIUM_CERT", files.Cert)
	t.Setenv("CONTAINARIUM_KEY", files.Key)
	for _, server := range []string{d.Address, d.Address + "," + d.Address} {
		code, _, errs := runLine(t.Context(), false, "watch", "--server", server, "--no-headers")
		if code != exitDenied || !oneLine(errs.String()) || !strings.Contains(errs.String(), "watch on "+d.Address+": ") {
			t.Errorf("%s: exit code %d: %s", server, code, errs)
		}
	}
}

// --timeout ends a watch.
func TestWatchTimeout(t *testing.T) {
	asAdmin(t)
	if code, out, errs := runLine(t.Context(), false, "watch", "--timeout", "10ms", "-o", "csv"); code != exitFine || errs.Len() > 0 || out.String() != "TIME,SERVER,USER,WHAT,STATE,ADDRESS\n" {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
}

// What is on the screen changes with the containers.
func TestWatchScreen(t *testing.T) {
	d := asAdmin(t)
	down, err := freeport.Address("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	key := publicKey(t)
	mustRun(t, "create", "alice", "--ssh-key", key, "--no-wait")
	p, errs, ended := onScreen(t, wide(200), "watch", "--server", d.Address+","+down)
	p.see(t, enterScreen)
	p.see(t, "\x1b[33m"+down+" not heard yet: nothing listens at ")
	p.see(t, "SEEN")
	p.see(t, " alice ")
	p.seen.Reset()
	mustRun(t, "create", "bob", "--ssh-key", key, "--no-wait")
	p.see(t, " bob ")
	p.see(t, greenStyle+"running"+plainStyle)
	p.see(t, "now")
	p.seen.Reset()
	mustRun(t, "rm", "alice", "bob", "--force")
	p.see(t, "0 containers on 2 servers, 0 running")
	p.ends(t, "q", ended, exitSome)
	if text := errs.String(); !oneLine(text) || !strings.Contains(text, "watch on "+down+": nothing listens") {
		t.Errorf("%q", text)
	}
}

// A server that is gone is shown as what it was, with how old that is.
func TestWatchScreenStale(t *testing.T) {
	d := asAdmin(t)
	f := newFront(t, d.Address)
	mustRun(t, "create", "alice", "--ssh-key", publicKey(t), "--no-wait")
	p, _, ended := onScreen(t, wide(200), "watch", "--server", f.address)
	p.see(t, "alice")
	f.to("")
	p.see(t, f.address+" stale since ")
	p.see(t, "s ago"+plainStyle)
	p.seen.Reset()
	p.see(t, "alice") // still
	f.to(d.Address)
	for p.seen.Reset(); ; p.seen.Reset() {
		p.see(t, "q ends it")
		p.see(t, "alice")
		if p.see(t, "\x1b[J"); !strings.Contains(p.seen.String(), "stale") {
			break
		}
	}
	p.ends(t, "\x03", ended, exitInterrupted)
}

// A new beginning tells what has changed, and nothing of what has not.
func TestWatchBegunAnew(t *testing.T) {
	w := &watching{feed: &feed[*watched]{}, filter: &filter{}}
	p := &part[*watched]{server: client.Server{Name: "jump-1"}, value: &watched{containers: map[string]*pb.Container{}}}
	send := func(messages ...*pb.WatchContainersResponse) string {
		var said []string
		for _, m := range messages {
			for _, change := range w.take(p, client.WatchEvent{Message: m}, time.Now()) {
				said = append(said, change.what+" "+change.user)
			}
		}
		return strings.Join(said, ", ")
	}
	is := func(user, image string) *pb.WatchContainersResponse {
		return &pb.WatchContainersResponse{Change: pb.WatchChange_WATCH_CHANGE_PRESENT, Username: user, Container: &pb.Container{Username: user, Image: image}}
	}
	gone := func(user string) *pb.WatchContainersResponse {
		return &pb.WatchContainersResponse{Change: pb.WatchChange_WATCH_CHANGE_GONE, Username: user}
	}
	reset := &pb.WatchContainersResponse{Change: pb.WatchChange_WATCH_CHANGE_RESET}
	synced := &pb.WatchContainersResponse{Change: pb.WatchChange_WATCH_CHANGE_SYNCED}
	deaf := &pb.WatchContainersResponse{Change: pb.WatchChange_WATCH_CHANGE_SYNCED, Freshness: &pb.Freshness{}}
	for _, step := range []struct {
		messages []*pb.WatchContainersResponse
		want     string
	}{
		{[]*pb.WatchContainersResponse{reset, is("b", "1"), is("a", "1"), synced}, "there a, there b"},
		{[]*pb.WatchContainersResponse{is("a", "1"), is("b", "2"), gone("x"), synced}, "changed b"},
		{[]*pb.WatchContainersResponse{gone("a"), is("c", "1"), synced}, "gone a, new c"},
		// One that is cut off is no beginning: the next counts.
		{[]*pb.WatchContainersResponse{reset, is("z", "1")}, ""},
		{[]*pb.WatchContainersResponse{reset, is("b", "2"), is("c", "2"), is("d", "1"), is("e", "1"), gone("e"), synced}, "changed c, new d"},
		{[]*pb.WatchContainersResponse{reset, is("d", "1"), synced}, "gone b, gone c"},
	} {
		if got := send(step.messages...); got != step.want {
			t.Errorf("%q, want %q", got, step.want)
		}
	}
	// The server may be stale itself.
	w.t, w.c = &targets{}, cli.NewContext(newApp(&terminal{}), nil, &cli.Context{Context: t.Context()})
	w.c.Command = &cli.Command{HelpName: "containarium watch"}
	for _, step := range []struct {
		message *pb.WatchContainersResponse
		want    string
	}{{deaf, "stale "}, {deaf, ""}, {synced, "live "}, {synced, ""}} {
		if got := send(step.message); got != step.want {
			t.Errorf("%q, want %q", got, step.want)
		}
	}
}

// A server that never was as good as its Incus has no age, and is not from 1970.
func TestWatchNeverConfirmed(t *testing.T) {
	w := &watching{newFeed(nil, &targets{servers: []client.Server{{Name: "jump-1"}}, config: &client.Config{}}, func() *watched { return &watched{containers: map[string]*pb.Container{}} }), &filter{}, func([]container) {}}
	w.c = cli.NewContext(newApp(&terminal{}), nil, &cli.Context{Context: t.Context()})
	w.c.Command = &cli.Command{HelpName: "containarium watch"}
	for _, m := range []*pb.WatchContainersResponse{
		{Change: pb.WatchChange_WATCH_CHANGE_RESET},
		{Change: pb.WatchChange_WATCH_CHANGE_PRESENT, Username: "alice", Container: &pb.Container{Username: "alice"}},
		{Change: pb.WatchChange_WATCH_CHANGE_SYNCED, Freshness: &pb.Freshness{}},
	} {
		w.take(w.parts[0], client.WatchEvent{Message: m}, time.Now())
	}
	frame := strings.Join(w.frame(0, 0), "\n")
	if !strings.Contains(frame, "jump-1 not heard yet: it does not hear from its Incus") || strings.Contains(frame, "ago") || !strings.HasSuffix(frame, "  -") {
		t.Errorf("%s", frame)
	}
}
