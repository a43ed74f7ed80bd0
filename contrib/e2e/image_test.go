//go:build e2e

package e2e_test

import (
	"strings"
	"testing"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
	"google.golang.org/protobuf/encoding/protojson"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// TestPreparedImage: a create from an image that lacks what containers need
// prepares it by itself, and the next one finds that done.
func TestPreparedImage(t *testing.T) {
	t.Parallel()
	s := theSite(t)
	const alias = prefix + "bare"
	s.makeImage(t, alias, "SUDO_FORCE_REMOVE=yes dpkg --purge openssh-server sudo && rm -f /etc/systemd/system/ssh-hostkey.service")
	first, second := newOwner(t, "prep-1"), newOwner(t, "prep-2")
	// The command may take longer than the tests have patience, and the daemon goes
	// on with it all the same.
	s.as(t, t.Context(), admin, "create", first.name, "--ssh-key", first.key.file+".pub", "--image", alias)
	waitFor(t, "the container of "+first.name, func() bool {
		c := first.listed(t, first.name)
		return c != nil && c.GetState() == pb.ContainerState_CONTAINER_STATE_RUNNING
	})
	first.container = first.info(t, first.name)
	image := s.prepared(t, alias)
	if image == nil {
		t.Fatal("no image was prepared")
	}
	second.create(t, "--image", alias)
	for _, o := range []*owner{first, second} {
		if got := o.sh(t, "sudo id -un"); got != "root" {
			t.Errorf("%s: sudo id says %q", o.name, got)
		}
	}
	if got := second.container.GetImageFingerprint(); got != image.GetFingerprint() {
		t.Errorf("the second container is of the image %s, want the prepared one, %s", got, image.GetFingerprint())
	}
	if first.container.GetNetwork().GetSshHostKey() == second.container.GetNetwork().GetSshHostKey() {
		t.Error("both containers have the same host key")
	}
	if a, b := first.sh(t, "cat /etc/machine-id"), second.sh(t, "cat /etc/machine-id"); a == b || len(a) != 32 {
		t.Errorf("the machine ids are %q and %q", a, b)
	}
	if left := s.instancesOf(t, alias); len(left) > 0 {
		t.Errorf("instances of the image that was prepared: %q", left)
	}
	if got := s.do(t, "image", "prepare", alias).stderr; !strings.Contains(got, "nothing to do") {
		t.Errorf("image prepare says %q", got)
	}
	// Only what was prepared is removed, and what was made from it stays.
	s.refused(t, []string{"was not prepared here"}, "image", "rm", alias)
	s.do(t, "image", "rm", image.GetFingerprint())
	if got := s.prepared(t, alias); got != nil {
		t.Errorf("image rm left %v", got)
	}
	if got := second.sh(t, "id -un"); got != second.name {
		t.Errorf("after image rm, id says %q", got)
	}
}

// TestCloudInit: an image whose first boot is cloud-init's does not take away what
// the daemon set up, and its host key is the one that was seen.
func TestCloudInit(t *testing.T) {
	t.Parallel()
	s := theSite(t)
	const alias = prefix + "cloud"
	s.makeImage(t, alias, "apt-get -q update && apt-get -qy install --no-install-recommends cloud-init && "+
		"mkdir -p /var/lib/cloud/seed/nocloud && echo 'instance-id: first' >/var/lib/cloud/seed/nocloud/meta-data && "+
		"printf '#cloud-config\\nssh_deletekeys: true\\nssh_genkeytypes: [ed25519]\\n' >/var/lib/cloud/seed/nocloud/user-data && "+
		"cloud-init clean --logs; rm -f /etc/ssh/ssh_host_*")
	o := newOwner(t, "cloud")
	o.create(t, "--image", alias)
	if got := o.sh(t, "sudo cloud-init status"); !strings.Contains(got, "done") {
		t.Errorf("once the container is there cloud-init says %q", got)
	}
	// sshConfig takes no host key but the one of the create.
	if got := o.sh(t, "echo $(id -un) $(sudo id -u)"); got != o.name+" 0" {
		t.Errorf("id says %q", got)
	}
}

// prepared returns the image that was prepared from another, or nil.
func (s *site) prepared(t *testing.T, source string) *pb.Image {
	t.Helper()
	var list pb.ListImagesResponse
	if err := protojson.Unmarshal([]byte(s.do(t, "image", "ls", "-o", "json").stdout), &list); err != nil {
		t.Fatal(err)
	}
	for _, image := range list.GetImages() {
		if image.GetPreparation().GetSource() == source {
			return image
		}
	}
	return nil
}

// instancesOf names the instances that were made from an image. Other tests make
// and prepare other ones meanwhile.
func (s *site) instancesOf(t *testing.T, alias string) []string {
	t.Helper()
	image, _, err := s.incus().GetImageAlias(alias)
	if err != nil {
		t.Fatal(err)
	}
	instances, err := s.incus().GetInstances(api.InstanceTypeContainer)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range instances {
		if instances[i].Config["volatile.base_image"] == image.Target {
			names = append(names, instances[i].Name)
		}
	}
	return names
}

// prepareImage prepares an image. It may take longer than a command has here; a
// second command then follows what goes on.
func (s *site) prepareImage(t *testing.T, image string, flags ...string) {
	t.Helper()
	var last result
	for range 5 {
		if last = s.as(t, t.Context(), admin, append([]string{"image", "prepare", image}, flags...)...); last.code == 0 {
			return
		}
	}
	t.Fatalf("image prepare %s: %s", image, last.stderr)
}

// makeImage makes an image by running a script in an instance of the daemon's.
func (s *site) makeImage(t *testing.T, alias, script string) {
	t.Helper()
	name := alias + "-maker"
	s.launch(t, name, nil)
	op, err := s.incus().ExecInstance(name, api.InstanceExecPost{Command: []string{
		"sh", "-c", "for i in $(seq 100); do getent hosts localhost && ip -4 route | grep -q default && break; sleep 0.3; done; " + script,
	}}, &incus.InstanceExecArgs{})
	s.finish(t)(op, err)
	if code, ok := op.Get().Metadata["return"].(float64); !ok || code != 0 {
		t.Fatalf("the script for %s ended with %v", alias, op.Get().Metadata["return"])
	}
	s.finish(t)(s.incus().UpdateInstanceState(name, api.InstanceStatePut{Action: "stop", Timeout: 30}, ""))
	op, err = s.incus().CreateImage(api.ImagesPost{
		Source:               &api.ImagesPostSource{Type: "instance", Name: name},
		CompressionAlgorithm: "none",
	}, nil)
	s.finish(t)(op, err)
	fingerprint, _ := op.Get().Metadata["fingerprint"].(string)
	if err := s.incus().CreateImageAlias(api.ImageAliasesPost{ImageAliasesEntry: api.ImageAliasesEntry{
		Name: alias, ImageAliasesEntryPut: api.ImageAliasesEntryPut{Target: fingerprint},
	}}); err != nil {
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
