package incusx_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
)

// missing: every verb on a container that is not there says so.
func (s *site) missing(t *testing.T) {
	ctx := bounded(t)
	user := newUser()
	_, err := s.client.Get(ctx, user)
	wantErr(t, "get", err, incusx.ErrNotFound)
	wantErr(t, "start", s.client.Start(ctx, user), incusx.ErrNotFound)
	wantErr(t, "stop", s.client.Stop(ctx, user, true, 0), incusx.ErrNotFound)
	wantErr(t, "remove", s.client.Remove(ctx, user), incusx.ErrNotFound)
	_, err = s.client.SetKeys(ctx, user, nil)
	wantErr(t, "set keys", err, incusx.ErrNotFound)
	_, err = s.client.EnsureAccount(ctx, user, nil)
	wantErr(t, "ensure account", err, incusx.ErrNotFound)
	_, err = s.client.Usage(ctx, user)
	wantErr(t, "usage", err, incusx.ErrNotFound)
	exists, err := s.client.Exists(ctx, user)
	if exists || err != nil {
		t.Errorf("exists: got %v, %v; want false", exists, err)
	}
}

func (s *site) images(t *testing.T) {
	ctx := bounded(t)
	for _, ref := range []string{"conform-no-such-image", "conform/no/such", "nosuchremote:debian/12", "abcdefabcdefabcd"} {
		_, err := s.client.FindImage(ctx, ref)
		wantErr(t, ref, err, incusx.ErrNotFound)
	}
	alias, _, err := s.raw.GetImageAlias(s.image)
	must(t, "get the alias", err)
	for _, ref := range []string{s.image, alias.Target, alias.Target[:12]} {
		_, err := s.client.FindImage(ctx, ref)
		must(t, "find "+ref, err)
	}
}

// foreign: an instance without the marker is invisible, and never touched.
func (s *site) foreign(t *testing.T) {
	ctx := bounded(t)
	user := newUser()
	name := incusx.InstanceName(user)
	must(t, "create a foreign instance", s.wait(s.raw.CreateInstance(api.InstancesPost{
		Name: name, Type: api.InstanceTypeContainer, Source: api.InstanceSource{Type: "image", Alias: s.image},
		InstancePut: api.InstancePut{Profiles: []string{s.profile}, Config: map[string]string{"user.note": "mine"}},
	})))
	_, err := s.client.Get(ctx, user)
	wantErr(t, "get", err, incusx.ErrNotFound)
	wantErr(t, "remove", s.client.Remove(ctx, user), incusx.ErrNotFound)
	_, err = s.client.SetKeys(ctx, user, nil)
	wantErr(t, "set keys", err, incusx.ErrNotFound)
	containers, err := s.client.List(ctx)
	must(t, "list", err)
	for _, container := range containers {
		if container.Name == name {
			t.Error("a foreign instance is listed")
		}
	}
	image, err := s.client.FindImage(ctx, s.image)
	must(t, "find the image", err)
	_, err = s.client.Init(ctx, incusx.Spec{Username: user}, image, nil)
	wantErr(t, "create over it", err, incusx.ErrExists)
	exists, err := s.client.Exists(ctx, user)
	if !exists || err != nil {
		t.Errorf("exists: got %v, %v; want true", exists, err)
	}
	instance, _, err := s.raw.GetInstance(name)
	must(t, "get the foreign instance", err)
	if instance.Config["user.note"] != "mine" {
		t.Error("a foreign instance was changed")
	}
}

// refused: what Incus takes no value for, and that nothing is left of the try.
func (s *site) refused(t *testing.T) {
	user := newUser()
	name := incusx.InstanceName(user)
	post := func(key, value string) api.InstancesPost {
		return api.InstancesPost{
			Name: name, Type: api.InstanceTypeContainer, Source: api.InstanceSource{Type: "image", Alias: s.image},
			InstancePut: api.InstancePut{Profiles: []string{s.profile}, Config: map[string]string{key: value}},
		}
	}
	values := map[string][]string{
		"limits.cpu":           {"0", "-1", "abc", "1.5"},
		"limits.cpu.allowance": {"1.5", "50"},
		"limits.memory":        {"0", "-5", "10XB"},
		"boot.autostart":       {"maybe"},
		"nosuch":               {"x"},
	}
	for key, wrong := range values {
		for _, value := range wrong {
			wantErr(t, "create with "+key+"="+value, s.wait(s.raw.CreateInstance(post(key, value))), incusx.ErrInvalid)
		}
	}
	missing := post("user.x", "y")
	missing.Source.Alias = "conform-no-such-image"
	if err := s.wait(s.raw.CreateInstance(missing)); err == nil {
		t.Error("create from no image: got no error")
	}
	if _, _, err := s.raw.GetInstance(name); !api.StatusErrorCheck(err, 404) {
		t.Errorf("after refused creates: got %v, want no instance", err)
	}

	s.create(t, incusx.Spec{Username: user})
	for key, wrong := range values {
		for _, value := range wrong {
			instance, etag, err := s.raw.GetInstance(name)
			must(t, "get", err)
			instance.Config[key] = value
			wantErr(t, "update to "+key+"="+value, s.wait(s.raw.UpdateInstance(name, instance.Writable(), etag)), incusx.ErrInvalid)
		}
	}
}

// conflict: of two writes that read the same, the second is refused; Client
// writes anew.
func (s *site) conflict(t *testing.T) {
	ctx := bounded(t)
	user := newUser()
	name := incusx.InstanceName(user)
	s.create(t, incusx.Spec{Username: user})
	stale, etag, err := s.raw.GetInstance(name)
	must(t, "get", err)
	_, err = s.client.SetKeys(ctx, user, []string{"ssh-ed25519 AAAA"})
	must(t, "set keys", err)
	stale.Config["user.note"] = "lost"
	if _, err := s.raw.UpdateInstance(name, stale.Writable(), etag); !api.StatusErrorCheck(err, 412) {
		t.Errorf("a stale write: got %v, want status 412", err)
	}
	container, err := s.client.Get(ctx, user)
	must(t, "get", err)
	if diff := cmp.Diff([]string{"ssh-ed25519 AAAA"}, container.SSHKeys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// concurrent: of writers at once that all heed the ETag, each gets its write in.
func (s *site) concurrent(t *testing.T) {
	user := newUser()
	name := incusx.InstanceName(user)
	s.create(t, incusx.Spec{Username: user})
	const writers = 4
	ended := make(chan error)
	for i := range writers {
		raw := s.connect(t, true) // the official client is not for concurrent use
		go func() {
			for {
				instance, etag, err := raw.GetInstance(name)
				if err != nil {
					ended <- err
					return
				}
				instance.Config[fmt.Sprintf("user.writer-%d", i)] = "x"
				op, err := raw.UpdateInstance(name, instance.Writable(), etag)
				if api.StatusErrorCheck(err, 412) {
					continue
				}
				ended <- s.wait(op, err)
				return
			}
		}()
	}
	for range writers {
		must(t, "update", <-ended)
	}
	instance, _, err := s.raw.GetInstance(name)
	must(t, "get", err)
	for i := range writers {
		if instance.Config[fmt.Sprintf("user.writer-%d", i)] != "x" {
			t.Errorf("the write of writer %d is lost", i)
		}
	}
}

// pinnedTwice: an address that another container has reserved can not be reserved
// again, and that is no conflict of names.
func (s *site) pinnedTwice(t *testing.T) {
	ctx := bounded(t)
	first, second := newUser(), newUser()
	s.create(t, incusx.Spec{Username: first})
	s.create(t, incusx.Spec{Username: second})
	must(t, "start", s.client.Start(ctx, first))
	address, err := s.client.WaitAddress(ctx, first, "")
	must(t, "wait for the address", err)
	_, err = s.client.Finish(ctx, first, incusx.Result{Address: address})
	must(t, "finish", err)
	_, err = s.client.Finish(ctx, second, incusx.Result{Address: address})
	wantErr(t, "finish with an address that is taken", err, incusx.ErrInvalid)

	instance, _, err := s.raw.GetInstance(incusx.InstanceName(first))
	must(t, "get", err)
	third := newUser()
	must(t, "create with an address that is taken", s.wait(s.raw.CreateInstance(api.InstancesPost{
		Name: incusx.InstanceName(third), Type: api.InstanceTypeContainer, Source: api.InstanceSource{Type: "image", Alias: s.image},
		InstancePut: api.InstancePut{Profiles: []string{s.profile}, Devices: instance.Devices},
	})))
	wantErr(t, "start with an address that is taken", s.client.Start(ctx, third), incusx.ErrInvalid)
}

// deaf: a guest that does not shut down is stopped by force alone; until then
// Incus refuses what would change it.
func (s *site) deaf(t *testing.T) {
	ctx := bounded(t)
	user := newUser()
	s.create(t, incusx.Spec{Username: user})
	must(t, "start", s.client.Start(ctx, user))
	must(t, "freeze", s.wait(s.raw.UpdateInstanceState(incusx.InstanceName(user), api.InstanceStatePut{Action: "freeze"}, "")))
	wantErr(t, "stop", s.client.Stop(ctx, user, false, time.Second), incusx.ErrStopTimeout)
	_, err := s.client.SetKeys(ctx, user, nil)
	wantErr(t, "set keys while it stops", err, incusx.ErrBusy)
	must(t, "stop by force", s.client.Stop(ctx, user, true, 0))
	must(t, "remove", s.client.Remove(ctx, user))
}
