package incustest

import (
	"errors"
	"testing"

	"github.com/lxc/incus/v6/shared/api"
)

func TestNames(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	for _, name := range []string{"a_b", "-a", "1a", "a-", "", string(make([]byte, 64))} {
		wantText(t, done(server.CreateInstance(postOf(name, DefaultImage, false))), "Invalid instance name")
	}
	create(t, server, "a-1", DefaultImage, false)
	wantText(t, done(server.CreateInstance(postOf("a-1", DefaultImage, false))), "UNIQUE constraint failed")
	post := postOf("b", DefaultImage, false)
	post.Profiles = []string{"nope"}
	wantText(t, done(server.CreateInstance(post)), `Requested profile "nope" doesn't exist`)
	_, _, err := server.UseProject("nope").GetInstance("a-1")
	wantText(t, err, "Project not found")
}

// TestProfiles: what a profile says is in the expanded config, under the
// instance's own.
func TestProfiles(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	profile, _, err := server.GetProfile("default")
	must(t, err)
	put := profile.Writable()
	put.Config = map[string]string{"limits.memory": "1GiB", "limits.cpu": "4"}
	must(t, server.UpdateProfile("default", put, ""))
	post := postOf("one", DefaultImage, false)
	post.Config = map[string]string{"limits.cpu": "2"}
	must(t, done(server.CreateInstance(post)))
	instance, _, err := server.GetInstance("one")
	must(t, err)
	if got := instance.ExpandedConfig; got["limits.cpu"] != "2" || got["limits.memory"] != "1GiB" {
		t.Errorf("expanded config %v", got)
	}
	if instance.Config["limits.memory"] != "" || len(instance.Devices) != 0 || instance.ExpandedDevices["root"]["pool"] != "default" {
		t.Errorf("config %v, devices %v, expanded %v", instance.Config, instance.Devices, instance.ExpandedDevices)
	}
	_, _, err = server.GetProfile("nope")
	wantText(t, err, "Profile not found")
}

// TestETag: a start changes volatile keys, and so what was read before is stale.
func TestETag(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	create(t, server, "one", DefaultImage, false)
	instance, etag, err := server.GetInstance("one")
	must(t, err)
	must(t, setState(server, "one", "start", false))
	if _, err := server.UpdateInstance("one", instance.Writable(), etag); !api.StatusErrorCheck(err, 412) {
		t.Errorf("got %v, want status 412", err)
	}
	instance, etag, err = server.GetInstance("one")
	must(t, err)
	instance.Config["user.x"] = "y"
	must(t, done(server.UpdateInstance("one", instance.Writable(), etag)))
	instance, _, err = server.GetInstance("one")
	must(t, err)
	if instance.Config["user.x"] != "y" || instance.Config["volatile.last_state.power"] != "RUNNING" {
		t.Errorf("config %v", instance.Config)
	}
}

// TestLeases: only a pinned address outlives a stop.
func TestLeases(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	create(t, server, "one", DefaultImage, true)
	first := addressOf(t, server, "one")
	must(t, setState(server, "one", "stop", true))
	if got := addressOf(t, server, "one"); got != "" {
		t.Errorf("address while stopped: %s", got)
	}
	must(t, setState(server, "one", "start", false))
	second := addressOf(t, server, "one")
	if first == "" || second == "" || first == second {
		t.Errorf("addresses %q, then %q: want two", first, second)
	}
	instance, etag, err := server.GetInstance("one")
	must(t, err)
	nic := instance.ExpandedDevices["eth0"]
	nic["ipv4.address"] = first
	instance.Devices = map[string]map[string]string{"eth0": nic}
	must(t, done(server.UpdateInstance("one", instance.Writable(), etag)))
	for range 2 {
		must(t, setState(server, "one", "restart", true))
		if got := addressOf(t, server, "one"); got != first {
			t.Errorf("pinned address: got %s, want %s", got, first)
		}
	}
}

func TestImages(t *testing.T) {
	s := Start(t, Options{Images: []Image{{Alias: "mine/own:1"}}})
	server := connect(t, s)
	alias, _, err := server.GetImageAlias("mine/own:1")
	must(t, err)
	image, _, err := server.GetImage(alias.Target[:12])
	must(t, err)
	if image.Fingerprint != alias.Target {
		t.Errorf("image %s, want %s", image.Fingerprint, alias.Target)
	}
	post := api.ImageAliasesPost{}
	post.Name, post.Target = "again", alias.Target
	must(t, server.CreateImageAlias(post))
	wantText(t, server.CreateImageAlias(post), "already exists")
	must(t, server.DeleteImageAlias("again"))
	_, _, err = server.GetImageAlias("again")
	wantText(t, err, "Image alias not found")
	if other := s.AddImage("default", Image{Alias: "other"}); other == alias.Target {
		t.Error("two images have one fingerprint")
	}
	images, err := server.GetImages()
	must(t, err)
	if len(images) != len(standardImages)+2 {
		t.Errorf("%d images", len(images))
	}
	post.Name, post.Target = "x", "ffffffffffff"
	wantText(t, server.CreateImageAlias(post), "not found")
}

// TestBusy: while something is done to an instance, nothing else is.
func TestBusy(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	create(t, server, "deaf", "deaf", true)
	err := done(server.UpdateInstanceState("deaf", api.InstanceStatePut{Action: "stop", Timeout: 1}, ""))
	wantText(t, err, "Failed shutting down instance")
	instance, etag, err := server.GetInstance("deaf")
	must(t, err)
	wantText(t, done(server.UpdateInstance("deaf", instance.Writable(), etag)), `Instance is busy running a "stop" operation`)
	must(t, setState(server, "deaf", "stop", true))
	must(t, done(server.DeleteInstance("deaf")))
}

// TestRaces: of many that do the same at once, one wins.
func TestRaces(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	wins := func(act func() error) (n int) {
		results := make(chan error)
		for range 8 {
			go func() { results <- act() }()
		}
		for range 8 {
			if <-results == nil {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		name string
		act  func() error
	}{
		{"create", func() error { return done(connect(t, s).CreateInstance(postOf("one", DefaultImage, false))) }},
		{"start", func() error { return setState(connect(t, s), "one", "start", false) }},
		{"stop", func() error { return setState(connect(t, s), "one", "stop", true) }},
		{"delete", func() error { return done(connect(t, s).DeleteInstance("one")) }},
	} {
		if got := wins(c.act); got != 1 {
			t.Errorf("%s: %d won, want 1", c.name, got)
		}
	}
	if _, _, err := server.GetInstance("one"); !api.StatusErrorCheck(err, 404) {
		t.Error(errors.Join(errors.New("the instance is there"), err))
	}
}
