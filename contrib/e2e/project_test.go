//go:build e2e

package e2e_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// projectPrefix begins the names of the projects that the daemons of machines have
// in the site's Incus, beside the site's own.
const projectPrefix = siteName + "-"

// giveIncus gives the machine the site's Incus as if it were its own: at the usual
// socket, with a project that has the image and the profile.
func (m *machine) giveIncus(t *testing.T) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	m.project = projectPrefix + strings.TrimPrefix(m.name, prefix)
	must(m.incus().CreateProject(api.ProjectsPost{Name: m.project, ProjectPut: api.ProjectPut{Config: map[string]string{
		"features.images": "true", "features.profiles": "true", "features.storage.volumes": "true", "features.networks": "false",
	}}}))
	t.Cleanup(func() {
		if err := removeProject(m.incus(), m.project); err != nil {
			t.Error(err)
		}
	})
	project := m.incus().UseProject(m.project)

	profile, _, err := m.incus().GetProfile("default")
	must(err)
	must(project.UpdateProfile("default", profile.ProfilePut, ""))
	alias, _, err := m.incus().GetImageAlias(m.image)
	must(err)
	image, _, err := m.incus().GetImage(alias.Target)
	must(err)
	// Through this program: the Incus listens on no network, where it would ask itself.
	copying, err := project.CopyImage(m.incus(), *image, &incus.ImageCopyArgs{Mode: "relay", CopyAliases: true})
	must(err)
	must(copying.Wait())

	m.must(t, "mkdir", "-p", "/var/lib/incus")
	instance, etag, err := m.incus().GetInstance(m.name)
	must(err)
	instance.Devices["incus"] = map[string]string{
		"type": "proxy", "bind": "instance", "listen": "unix:/var/lib/incus/unix.socket", "connect": "unix:" + m.socket, "mode": "0600",
	}
	m.finish(t)(m.incus().UpdateInstance(m.name, instance.Writable(), etag))
}

// removeProject deletes a project with all that is in it.
func removeProject(server incus.InstanceServer, name string) error {
	project := server.UseProject(name)
	instances, err := project.GetInstanceNames(api.InstanceTypeAny)
	errs := []error{err}
	for _, instance := range instances {
		errs = append(errs, removeInstance(project, instance))
	}
	images, err := project.GetImageFingerprints()
	errs = append(errs, err)
	for _, image := range images {
		op, err := project.DeleteImage(image)
		if err == nil {
			err = op.Wait()
		}
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, server.DeleteProject(name))...); err != nil {
		return fmt.Errorf("delete the project %s: %w", name, err)
	}
	return nil
}

// sweepProjects removes the projects of a run that was cut off, whose containers
// would keep the site's pool and bridge. What an Incus has that does not run any
// more goes with its folder.
func sweepProjects() error {
	server, err := dialIncus(incusDir + "/unix.socket")
	if err != nil {
		return nil //nolint:nilerr // none runs
	}
	names, err := server.GetProjectNames()
	errs := []error{err}
	for _, name := range names {
		if strings.HasPrefix(name, projectPrefix) {
			errs = append(errs, removeProject(server, name))
		}
	}
	return errors.Join(errs...)
}
