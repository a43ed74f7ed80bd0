package incustest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

func TestSSH(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	create(t, server, "one", DefaultImage, true)
	address := addressOf(t, server, "one")
	signer := account(t, server, "one", "alice")
	client, err := dial(s, address, "alice", signer)
	must(t, err)
	defer func() { _ = client.Close() }()
	for _, c := range []struct {
		command, out string
		code         int
	}{
		{"hostname", "one\n", 0},
		{"id -un", "alice\n", 0},
		{"whoami", "alice\n", 0},
		{"sudo -n id -un", "root\n", 0},
		{"echo 'a  b' c", "a  b c\n", 0},
		{"true && echo yes; exit 3", "yes\n", 3},
		{"false && echo no", "", 1},
		{"nosuch", "", 127},
	} {
		out, code := overSSH(t, client, c.command)
		if out != c.out || code != c.code {
			t.Errorf("%s: got %q and code %d, want %q and %d", c.command, out, code, c.out, c.code)
		}
	}
	_, err = dial(s, address, "root", signer)
	wantText(t, err, "unable to authenticate")
	other := account(t, server, "one", "bob")
	_, err = dial(s, address, "alice", other)
	wantText(t, err, "unable to authenticate")

	must(t, setState(server, "one", "stop", true))
	if err := client.Wait(); err == nil {
		t.Error("the connection ended well, want it cut by the stop")
	}
	if _, err := dial(s, address, "alice", signer); err == nil {
		t.Error("sshd of a stopped guest answers")
	}
}

// TestSharedAddress: where the system has one loopback address, all guests have
// it, and the user's name tells which is meant.
func TestSharedAddress(t *testing.T) {
	s := Start(t, Options{gateway: loneAddress})
	server := connect(t, s)
	for _, user := range []string{"alice", "bob"} {
		create(t, server, user+"-container", DefaultImage, true)
		signer := account(t, server, user+"-container", user)
		client, err := dial(s, addressOf(t, server, user+"-container"), user, signer)
		must(t, err)
		if out, _ := overSSH(t, client, "hostname"); out != user+"-container\n" {
			t.Errorf("%s is on %q", user, out)
		}
		must(t, setState(server, user+"-container", "stop", true))
		_, err = dial(s, loneAddress, user, signer)
		wantText(t, err, "unable to authenticate")
		_ = client.Close()
	}
}

// TestUnfitImages: each lacks what its name says, and nothing else.
func TestUnfitImages(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	for _, c := range []struct {
		image   string
		code    int
		out     string
		address bool
	}{
		{DefaultImage, 0, "", true},
		{"nosshd", exitNoSSHD, "", true},
		{"nosudo", exitNoSudo, "", true},
		{"nodhcp", 0, "", false},
		{"nolease", 0, "", false},
		{"docker", 0, "docker\n", true},
	} {
		name := "i-" + strings.ReplaceAll(c.image, "/", "-")
		create(t, server, name, c.image, true)
		code, out, _ := runIn(t, server, name, "", "/bin/sh", "-c", "the script", "containarium-account", "alice")
		if code != c.code || out != c.out {
			t.Errorf("%s: account.sh: code %d, output %q", c.image, code, out)
		}
		if address := addressOf(t, server, name); (address != "") != c.address {
			t.Errorf("%s: address %q", c.image, address)
		}
	}
}

// TestExec: streams, codes, and what ends a command.
func TestExec(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	create(t, server, "one", DefaultImage, true)
	code, out, errs := runIn(t, server, "one", "in", "sh", "-c", "cat; echo err >&2; exit 4")
	if code != 4 || out != "in" || errs != "err\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errs)
	}
	wantText(t, done(server.ExecInstance("one", api.InstanceExecPost{Command: []string{"nosuch"}, WaitForWS: true}, nil)), "Command not found")
	must(t, done(server.ExecInstance("one", api.InstanceExecPost{Command: []string{"true"}}, nil))) // without websockets

	// A stop ends what runs in the guest.
	op, err := server.ExecInstance("one", api.InstanceExecPost{Command: []string{"sleep", "infinity"}, WaitForWS: true}, nil)
	must(t, err)
	must(t, setState(server, "one", "stop", true))
	must(t, op.Wait())
	if got := op.Get().Metadata["return"]; got != float64(exitKilled) {
		t.Errorf("code of a command whose guest stopped: %v", got)
	}
	_, err = server.ExecInstance("one", api.InstanceExecPost{Command: []string{"true"}, WaitForWS: true}, nil)
	wantText(t, err, "Instance is not running")
	must(t, setState(server, "one", "start", false))
	must(t, setState(server, "one", "freeze", false))
	_, err = server.ExecInstance("one", api.InstanceExecPost{Command: []string{"true"}, WaitForWS: true}, nil)
	wantText(t, err, "Instance is frozen")
}

// TestWebsocketSecret: nobody connects to a command without its secret, and
// nobody twice.
func TestWebsocketSecret(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	create(t, server, "one", DefaultImage, true)
	op, err := server.ExecInstance("one", api.InstanceExecPost{Command: []string{"sleep", "infinity"}, WaitForWS: true}, nil)
	must(t, err)
	_, err = server.GetOperationWebsocket(op.Get().ID, "guess")
	wantText(t, err, "not authorized")
	fds, _ := op.Get().Metadata["fds"].(map[string]any)
	secret, _ := fds["1"].(string)
	_, err = server.GetOperationWebsocket(op.Get().ID, secret)
	wantText(t, err, "Websocket number already connected")
}

func TestFiles(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	create(t, server, "one", DefaultImage, false)
	args := incus.InstanceFileArgs{Content: strings.NewReader("a\n"), UID: -1, GID: -1, Mode: 0o600}
	must(t, server.CreateInstanceFile("one", "/x", args))
	args = incus.InstanceFileArgs{Content: strings.NewReader("b\n"), UID: -1, GID: -1, Mode: -1, WriteMode: "append"}
	must(t, server.CreateInstanceFile("one", "/x", args))
	must(t, setState(server, "one", "start", false))
	if _, out, _ := runIn(t, server, "one", "", "cat", "/x"); out != "a\nb\n" {
		t.Errorf("content %q", out)
	}
	_, _, err := server.GetInstanceFile("one", "/nope")
	if !api.StatusErrorCheck(err, 404) {
		t.Errorf("got %v, want status 404", err)
	}
}

// TestAddressDelay: an address comes after the start, and not to a guest that was
// stopped before.
func TestAddressDelay(t *testing.T) {
	s := Start(t, Options{AddressDelay: time.Hour})
	server := connect(t, s)
	create(t, server, "one", DefaultImage, true)
	if address := addressOf(t, server, "one"); address != "" {
		t.Errorf("address at once: %s", address)
	}
	must(t, setState(server, "one", "stop", true))

	quick := Start(t, Options{AddressDelay: time.Millisecond})
	server = connect(t, quick)
	create(t, server, "one", DefaultImage, true)
	until(t, "an address", func() bool { return addressOf(t, server, "one") != "" })
}

// TestEvents: what happens to an instance, by whoever, is told to those who
// listen to its project or to all.
func TestEvents(t *testing.T) {
	s := Start(t, Options{Projects: []string{"other"}})
	listen := func(server incus.InstanceServer, all bool) <-chan string {
		events := make(chan string, 100)
		get := server.GetEventsByType
		if all {
			get = server.GetEventsAllProjectsByType
		}
		stream, err := get([]string{"lifecycle"})
		must(t, err)
		_, err = stream.AddHandler(nil, func(event api.Event) {
			var lifecycle api.EventLifecycle
			if json.Unmarshal(event.Metadata, &lifecycle) == nil {
				events <- fmt.Sprint(event.Project, " ", lifecycle.Name, " ", lifecycle.Action)
			}
		})
		must(t, err)
		t.Cleanup(stream.Disconnect)
		return events
	}
	everything := listen(connect(t, s), true)
	theirs := listen(connect(t, s).UseProject("other"), false)
	until(t, "two listeners", func() bool { return s.Listeners() == 2 })
	server := connect(t, s)
	create(t, server, "one", DefaultImage, true)
	if !s.Crash("default", "one") {
		t.Fatal("one did not run")
	}
	if s.Crash("default", "one") {
		t.Error("one ran twice")
	}
	must(t, done(server.DeleteInstance("one")))
	create(t, server.UseProject("other"), "two", DefaultImage, false)

	var got []string
	for range 5 {
		got = append(got, <-everything)
	}
	slices.Sort(got) // the client hands them out in no order
	want := []string{
		"default one instance-created", "default one instance-deleted", "default one instance-shutdown",
		"default one instance-started", "other two instance-created",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got := <-theirs; got != "other two instance-created" {
		t.Errorf("first event of the other project: %s", got)
	}
}
