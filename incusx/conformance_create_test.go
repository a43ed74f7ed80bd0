package incusx_test

import (
	"testing"

	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
)

// published: how a preparation makes an image of an instance, names it, and has
// another take its place.
func (s *site) published(t *testing.T) {
	user := newUser()
	s.create(t, incusx.Spec{Username: user})
	name := incusx.InstanceName(user)
	alias := "containarium/conform/" + user
	post := api.ImagesPost{
		ImagePut:             api.ImagePut{Properties: map[string]string{"containarium.test": "1"}},
		Source:               &api.ImagesPostSource{Type: "instance", Name: name},
		CompressionAlgorithm: "zstd",
	}
	must(t, "start", s.client.Start(bounded(t), user))
	op, err := s.raw.CreateImage(post, nil)
	if err := s.wait(op, err); err == nil {
		t.Error("a running instance was published")
	}
	must(t, "stop", s.client.Stop(bounded(t), user, true, 0))
	var prints []string
	for range 2 {
		op, err := s.raw.CreateImage(post, nil)
		must(t, "publish", s.wait(op, err))
		must(t, "refresh the operation", op.Refresh())
		fingerprint, ok := op.Get().Metadata["fingerprint"].(string)
		if !ok || len(fingerprint) != 64 {
			t.Fatalf("the operation says %v", op.Get().Metadata)
		}
		prints = append(prints, fingerprint)
		t.Cleanup(func() {
			if op, err := s.connect(t, true).DeleteImage(fingerprint); err == nil {
				_ = op.Wait()
			}
		})
		// The same content is the same image: another one is needed.
		post.Properties = map[string]string{"containarium.test": "2"}
	}
	image, etag, err := s.raw.GetImage(prints[0])
	must(t, "get the image", err)
	if image.Properties["containarium.test"] != "1" {
		t.Errorf("properties %v", image.Properties)
	}
	put := image.Writable()
	put.Properties["containarium.looked"] = "true"
	must(t, "write a property", s.raw.UpdateImage(prints[0], put, etag))
	if err := s.raw.UpdateImage(prints[0], put, etag); !api.StatusErrorCheck(err, 412) {
		t.Errorf("write over what was not read: %v, want a conflict", err)
	}
	must(t, "name it", s.raw.CreateImageAlias(api.ImageAliasesPost{ImageAliasesEntry: api.ImageAliasesEntry{
		Name: alias, Type: "container", ImageAliasesEntryPut: api.ImageAliasesEntryPut{Target: prints[0]},
	}}))
	must(t, "name the other", s.raw.UpdateImageAlias(alias, api.ImageAliasesEntryPut{Target: prints[1]}, ""))
	found, err := s.client.FindImage(bounded(t), alias)
	must(t, "find it", err)
	if found.Fingerprint != prints[1] {
		t.Errorf("the alias means %s, want %s", found.Fingerprint, prints[1])
	}
	op, err = s.raw.DeleteImage(prints[1])
	must(t, "delete", s.wait(op, err))
	_, err = s.client.FindImage(bounded(t), alias)
	wantErr(t, "find what is deleted", err, incusx.ErrNotFound)
}

// chosen: the address that is chosen at the create is the guest's, and one that is
// taken is not chosen; a wait that times out is an error.
func (s *site) chosen(t *testing.T) {
	image, err := s.client.FindImage(bounded(t), s.image)
	must(t, "find the image", err)
	seen := map[string]bool{}
	for range 2 {
		user := newUser()
		chosen, err := s.client.Init(bounded(t), incusx.Spec{Username: user}, image, nil)
		must(t, "init", err)
		if chosen == "" || seen[chosen] {
			t.Fatalf("chosen %q, after %v", chosen, seen)
		}
		seen[chosen] = true
		must(t, "start", s.client.Start(bounded(t), user))
		address, err := s.client.WaitAddress(bounded(t), user, chosen)
		if err != nil || address != chosen {
			t.Errorf("address %q, %v, want %q", address, err, chosen)
		}
		state, _, err := s.raw.GetInstanceState(incusx.InstanceName(user))
		must(t, "state", err)
		if got := incusx.AddressOf(state); got != chosen {
			t.Errorf("Incus sees %q, want %q", got, chosen)
		}
		op, err := s.raw.UpdateInstanceState(incusx.InstanceName(user), api.InstanceStatePut{Action: "stop", Timeout: 60}, "")
		must(t, "stop", err)
		_ = op.Wait()
	}
}
