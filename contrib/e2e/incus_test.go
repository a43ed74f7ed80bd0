//go:build e2e

package e2e_test

import (
	"fmt"
	"testing"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// launch makes an instance without the daemon, of the daemon's image.
func (s *site) launch(t testing.TB, name string, config map[string]string) {
	t.Helper()
	s.finish(t)(s.incus().CreateInstance(api.InstancesPost{
		Name:        name,
		Type:        api.InstanceTypeContainer,
		Source:      api.InstanceSource{Type: "image", Alias: s.image},
		InstancePut: api.InstancePut{Config: config},
		Start:       true,
	}))
	t.Cleanup(func() { s.discard(t, name) })
}

// discard removes an instance that the daemon does not.
func (s *site) discard(t testing.TB, name string) {
	t.Helper()
	if err := removeInstance(s.incus(), name); err != nil {
		t.Error(err)
	}
}

func removeInstance(server incus.InstanceServer, name string) error {
	// One that is stopped already is fine: the deletion tells.
	if op, err := server.UpdateInstanceState(name, api.InstanceStatePut{Action: "stop", Force: true, Timeout: -1}, ""); err == nil {
		_ = op.Wait()
	}
	op, err := server.DeleteInstance(name)
	if err == nil {
		err = op.Wait()
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

// finish waits for an operation of Incus, which must succeed.
func (s *site) finish(t testing.TB) func(incus.Operation, error) {
	return func(op incus.Operation, err error) {
		t.Helper()
		if err == nil {
			err = op.Wait()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// makeDirProfile makes the profile "dir", which is the default one on a pool that
// can not hold a disk to a size.
func (s *site) makeDirProfile(t *testing.T) {
	t.Helper()
	const name = "dir"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.incus().CreateStoragePool(api.StoragePoolsPost{Name: siteName + "-dir", Driver: "dir"}))
	t.Cleanup(func() {
		if err := s.incus().DeleteStoragePool(siteName + "-dir"); err != nil {
			t.Error(err)
		}
	})
	profile, _, err := s.incus().GetProfile("default")
	must(err)
	profile.Devices["root"] = map[string]string{"type": "disk", "path": "/", "pool": siteName + "-dir"}
	must(s.incus().CreateProfile(api.ProfilesPost{Name: name, ProfilePut: profile.ProfilePut}))
	t.Cleanup(func() {
		if err := s.incus().DeleteProfile(name); err != nil {
			t.Error(err)
		}
	})
}

// makeImageWithout publishes the daemon's image without one of its files, under
// an alias of its own, and removes it after the test.
func (s *site) makeImageWithout(t *testing.T, path, alias string) {
	t.Helper()
	const name = prefix + "maker"
	s.finish(t)(s.incus().CreateInstance(api.InstancesPost{
		Name:   name,
		Type:   api.InstanceTypeContainer,
		Source: api.InstanceSource{Type: "image", Alias: s.image},
	}))
	t.Cleanup(func() { s.discard(t, name) })
	if err := s.incus().DeleteInstanceFile(name, path); err != nil {
		t.Fatal(err)
	}
	op, err := s.incus().CreateImage(api.ImagesPost{
		Source:               &api.ImagesPostSource{Type: "instance", Name: name},
		CompressionAlgorithm: "none",
	}, nil)
	s.finish(t)(op, err)
	fingerprint, _ := op.Get().Metadata["fingerprint"].(string)
	if err := s.incus().CreateImageAlias(api.ImageAliasesPost{ImageAliasesEntry: api.ImageAliasesEntry{Name: alias, ImageAliasesEntryPut: api.ImageAliasesEntryPut{Target: fingerprint}}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		op, err := s.incus().DeleteImage(fingerprint)
		if err == nil {
			err = op.Wait()
		}
		if err != nil {
			t.Error(err)
		}
	})
}
