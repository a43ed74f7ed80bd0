package incusx

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// prepareScript does the steps of a preparation in the guest. It is constant.
//
//go:embed prepare.sh
var prepareScript string

// dockerd is the command by which a Docker engine is known.
const dockerd = "dockerd"

// exitNoPackages is how prepare.sh says that it knows no package manager there.
const exitNoPackages = 67

// keyBuilder marks an instance in which an image is prepared, with the key that
// it is prepared under. It has no user, so no list shows it.
const keyBuilder = keyPrefix + "builder"

// PrepareStage is a step of a preparation.
type PrepareStage string

// The stages of a preparation, in the order in which they run.
const (
	PrepareImage   PrepareStage = "image"   // the image is looked up, and fetched
	PrepareStart   PrepareStage = "start"   // an instance of it starts
	PrepareInstall PrepareStage = "install" // what it lacks is installed
	PrepareClean   PrepareStage = "clean"   // what must not be in two containers is taken out
	PreparePublish PrepareStage = "publish" // it is made into an image
)

// cleanupTimeout bounds the removal of the instance in which an image was
// prepared; it runs on its own time.
const cleanupTimeout = 30 * time.Second

// Prepare makes an image fit for users' containers, with a Docker engine where
// that is wanted: an instance of it gets what it lacks and becomes an image of
// its own. One that lacks nothing is returned as it is, and one that was prepared
// before is taken unless fresh is set; then already is true. The same image must
// not be prepared twice at once. *ImageError where a step in the guest fails;
// whatever fails, no instance is left.
func (c *Client) Prepare(ctx context.Context, ref string, docker, fresh bool, report func(PrepareStage, int, string)) (image Image, already bool, err error) {
	stage := PrepareImage
	enter := func(s PrepareStage, percent int, detail string) {
		stage = s
		report(s, percent, detail)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("prepare the image %q, step %s: %w", ref, stage, err)
		}
	}()
	enter(PrepareImage, 0, "")
	if fresh {
		image, err = c.FindImage(ctx, ref)
	} else {
		image, err = c.FindImageFor(ctx, ref, docker)
	}
	if err != nil {
		return Image{}, false, err
	}
	if !fresh && (image.Prepared() || image.looked && !image.Unfit(docker)) {
		return image, true, nil
	}
	server, err := c.connect(ctx)
	if err != nil {
		return Image{}, false, err
	}
	b := &builder{client: c, server: server, name: builderName(ref, docker), docker: docker}
	defer c.hold(b.name)()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		err = errors.Join(err, c.removeBuilder(ctx, b.name))
	}()
	if image.Fingerprint, err = b.launch(ctx, image, enter); err != nil {
		return Image{}, false, err
	}
	lacks, err := b.look(ctx)
	if err != nil {
		return Image{}, false, err
	}
	if err := noteLook(server, image.Fingerprint, lacks); err != nil {
		return Image{}, false, err
	}
	if !docker {
		lacks = slices.DeleteFunc(lacks, func(tool string) bool { return tool == dockerd })
	}
	if len(lacks) == 0 {
		return image, true, nil
	}
	enter(PrepareInstall, 0, "installing "+strings.Join(lacks, ", "))
	// Packages come over the network.
	if _, err := c.waitAddress(ctx, b.name, ""); err != nil {
		return Image{}, false, err
	}
	if err := b.run(ctx, "install"); err != nil {
		return Image{}, false, err
	}
	enter(PrepareClean, 0, "")
	if err := b.run(ctx, "clean"); err != nil {
		return Image{}, false, err
	}
	if err := b.stop(); err != nil {
		return Image{}, false, err
	}
	enter(PreparePublish, 0, "")
	image, err = b.publish(ref, image.Fingerprint, func(percent int, detail string) { report(PreparePublish, percent, detail) })
	return image, false, err
}

// builder is an instance in which an image is prepared.
type builder struct {
	client *Client
	server incus.InstanceServer
	name   string
	docker bool
}

// builderName is the same for the same work, so that what a daemon that died has
// left is met again.
func builderName(ref string, docker bool) string {
	return "containarium-build-" + refKey(ref, docker)[:12]
}

// launch starts the instance and returns the fingerprint of its image.
func (b *builder) launch(ctx context.Context, image Image, enter func(PrepareStage, int, string)) (string, error) {
	if err := b.client.removeBuilder(ctx, b.name); err != nil {
		return "", err
	}
	what := "make the instance " + b.name
	config := map[string]string{keyBuilder: b.name, "boot.autostart": "false"}
	if through, err := b.client.member(b.server); err == nil && through != "" {
		config[keyThrough] = through
	}
	if b.docker {
		maps.Copy(config, dockerConfig)
	}
	op, err := b.server.CreateInstance(api.InstancesPost{
		Name: b.name, Type: api.InstanceTypeContainer, Source: image.source,
		InstancePut: api.InstancePut{Profiles: []string{b.client.cfg.Profile}, Config: config},
	})
	err = waitProgress(b.server, what, op, err, func(percent int, detail string) { enter(PrepareImage, percent, detail) })
	if err != nil {
		return "", err
	}
	enter(PrepareStart, 0, "")
	op, err = b.server.UpdateInstanceState(b.name, api.InstanceStatePut{Action: "start", Timeout: -1}, "")
	if err := wait("start "+b.name, op, err); err != nil {
		return "", err
	}
	instance, _, err := b.server.GetInstance(b.name)
	if err != nil {
		return "", classify("look up "+b.name, err)
	}
	return instance.Config["volatile.base_image"], nil
}

// look returns what the image lacks, by the commands that it should have.
func (b *builder) look(ctx context.Context) ([]string, error) {
	result, err := b.exec(ctx, "look")
	if err != nil {
		return nil, err
	}
	return strings.Fields(result.stdout), nil
}

// run does a step in the guest.
func (b *builder) run(ctx context.Context, step string) error {
	_, err := b.exec(ctx, step)
	return err
}

func (b *builder) exec(ctx context.Context, step string) (execResult, error) {
	docker := ""
	if b.docker {
		docker = "docker"
	}
	result, err := exec(ctx, b.server, b.name, []string{"/bin/sh", "-c", prepareScript, "containarium-prepare", step, docker}, "")
	if err != nil {
		return execResult{}, err
	}
	switch result.code {
	case 0:
		return result, nil
	case exitNoPackages:
		return execResult{}, &ImageError{result.stderr}
	}
	return execResult{}, &ImageError{fmt.Sprintf("exit code %d: %s", result.code, result.stderr)}
}

// stop shuts the guest down, so that its disk is whole; one that does not listen
// is stopped all the same: what was written is synced.
func (b *builder) stop() error {
	op, err := b.server.UpdateInstanceState(b.name, api.InstanceStatePut{Action: "stop", Timeout: 20}, "")
	err = wait("stop "+b.name, op, err)
	if errors.Is(err, ErrStopTimeout) {
		op, err := b.server.UpdateInstanceState(b.name, api.InstanceStatePut{Action: "stop", Force: true, Timeout: -1}, "")
		return wait("stop "+b.name, op, err)
	}
	return err
}

// hold keeps RemoveBuilders from an instance until the returned function is
// called.
func (c *Client) hold(name string) (release func()) {
	c.building.mu.Lock()
	defer c.building.mu.Unlock()
	if c.building.names == nil {
		c.building.names = map[string]bool{}
	}
	c.building.names[name] = true
	return func() {
		c.building.mu.Lock()
		defer c.building.mu.Unlock()
		delete(c.building.names, name)
	}
}

// RemoveBuilders removes the instances in which images were being prepared by a
// daemon that died. Those of this Client are left alone, and on a cluster those of
// other members' daemons unless they are old.
func (c *Client) RemoveBuilders(ctx context.Context) error {
	server, err := c.connect(ctx)
	if err != nil {
		return err
	}
	instances, err := server.GetInstances(api.InstanceTypeContainer)
	if err != nil {
		return classify("list the instances", err)
	}
	local, err := c.member(server)
	if err != nil {
		return classify("look whether Incus is a cluster", err)
	}
	var errs []error
	for i := range instances {
		name := instances[i].Name
		if instances[i].Config[keyThrough] != local && time.Since(instances[i].CreatedAt) < OthersFor {
			continue
		}
		c.building.mu.Lock()
		held := c.building.names[name]
		c.building.mu.Unlock()
		if instances[i].Config[keyBuilder] != "" && !held {
			errs = append(errs, c.removeBuilder(ctx, name))
		}
	}
	return errors.Join(errs...)
}

// removeBuilder removes an instance if it is one in which an image was prepared;
// a missing one is fine.
func (c *Client) removeBuilder(ctx context.Context, name string) error {
	server, err := c.connect(ctx)
	if err != nil {
		return err
	}
	instance, _, err := server.GetInstance(name)
	if api.StatusErrorCheck(err, 404) {
		return nil
	}
	if err != nil {
		return classify("look up "+name, err)
	}
	if instance.Config[keyBuilder] == "" { // fails closed: it is somebody's
		return fmt.Errorf("the instance %s was not made here: %w", name, ErrExists)
	}
	return remove(ctx, server, instance)
}
