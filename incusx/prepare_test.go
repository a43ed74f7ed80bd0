package incusx_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

// prepare prepares an image and returns it with the stages that were reported.
func (r *rig) prepare(t *testing.T, ref string, docker, fresh bool) (incusx.Image, bool, []incusx.PrepareStage, error) {
	t.Helper()
	var stages []incusx.PrepareStage
	image, already, err := r.Prepare(bounded(t), ref, docker, fresh, func(stage incusx.PrepareStage, _ int, _ string) {
		if len(stages) == 0 || stages[len(stages)-1] != stage {
			stages = append(stages, stage)
		}
	})
	return image, already, stages, err
}

// onlyInstances fails the test unless there are exactly these instances.
func (r *rig) onlyInstances(t *testing.T, want ...string) {
	t.Helper()
	got, err := r.raw.GetInstanceNames(api.InstanceTypeContainer)
	must(t, "list", err)
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("instances %q, want %q", got, want)
	}
}

func TestPrepare(t *testing.T) {
	r := newRig(t)
	plain, err := r.FindImage(t.Context(), "nosshd")
	must(t, "find", err)
	image, already, stages, err := r.prepare(t, "nosshd", false, false)
	must(t, "prepare", err)
	want := []incusx.PrepareStage{incusx.PrepareImage, incusx.PrepareStart, incusx.PrepareInstall, incusx.PrepareClean, incusx.PreparePublish}
	if diff := cmp.Diff(want, stages); diff != "" || already || !image.Prepared() || image.Fingerprint == plain.Fingerprint {
		t.Errorf("already %t, image %+v, stages (-want +got):\n%s", already, image, diff)
	}
	r.onlyInstances(t)
	stored, err := r.StoredImage(t.Context(), image.Fingerprint)
	must(t, "look it up", err)
	if p := stored.Preparation; p == nil || p.Source != "nosshd" || p.SourceFingerprint != plain.Fingerprint || p.Docker || p.Key == "" {
		t.Errorf("preparation %+v", stored.Preparation)
	}
	// From then on it is found, and a guest of it has what was missing.
	found, err := r.FindImageFor(t.Context(), "nosshd", false)
	must(t, "find", err)
	if found.Fingerprint != image.Fingerprint {
		t.Errorf("found %s, want %s", found.Fingerprint, image.Fingerprint)
	}
	_, err = r.Init(t.Context(), incusx.Spec{Username: "alice"}, found, nil)
	must(t, "init", err)
	must(t, "start", r.Start(t.Context(), "alice"))
	_, err = r.EnsureAccount(bounded(t), "alice", nil)
	must(t, "account", err)
	// Again there is nothing to do; anew there is, and it takes the old one's place.
	if _, already, _, err := r.prepare(t, "nosshd", false, false); !already || err != nil {
		t.Errorf("again: already %t, %v", already, err)
	}
	newer, already, _, err := r.prepare(t, "nosshd", false, true)
	if already || err != nil || newer.Fingerprint == image.Fingerprint {
		t.Errorf("anew: already %t, %v", already, err)
	}
	if _, err := r.StoredImage(t.Context(), image.Fingerprint); !errors.Is(err, incusx.ErrNotFound) {
		t.Errorf("the old image: %v, want that it is gone", err)
	}
	// With Docker it is another.
	if other, err := r.FindImageFor(t.Context(), "nosshd", true); err != nil || other.Prepared() || !other.Unfit(true) {
		t.Errorf("for Docker: %+v, %v", other, err)
	}
	wantErr(t, "remove what is not ours", r.RemoveImage(t.Context(), "nosshd"), incusx.ErrNotPrepared)
	wantErr(t, "remove what is not there", r.RemoveImage(t.Context(), "nope"), incusx.ErrNotFound)
	must(t, "remove", r.RemoveImage(t.Context(), newer.Fingerprint))
	if found, err := r.FindImageFor(t.Context(), "nosshd", false); err != nil || found.Prepared() {
		t.Errorf("after the removal: %+v, %v", found, err)
	}
}

// TestPrepareFit: an image that lacks nothing is taken as it is, and is not looked
// at twice.
func TestPrepareFit(t *testing.T) {
	r := newRig(t)
	for range 2 {
		image, already, _, err := r.prepare(t, "docker", true, false)
		if err != nil || !already || image.Prepared() {
			t.Errorf("already %t, image %+v, %v", already, image, err)
		}
	}
	if got := r.sim.Requests("POST", "/1.0/instances"); got != 1 {
		t.Errorf("%d instances were made to look, want 1", got)
	}
	r.onlyInstances(t)
}

// TestPrepareFails: the error says which step and why, and nothing is left.
func TestPrepareFails(t *testing.T) {
	for name, test := range map[string]struct {
		image string
		fault *incustest.Fault
		words []string
	}{
		"no package manager": {image: "nosshd-nopackages", words: []string{"step install", "no apt-get, dnf or apk"}},
		"no such image":      {image: "nope", words: []string{"step image", "not found"}},
		"no start":           {image: "nosshd", fault: &incustest.Fault{Method: "PUT", Path: "/1.0/instances/*/state", Times: 1, OperationError: "no memory"}, words: []string{"step start", "no memory"}},
		"no publishing":      {image: "nosshd", fault: &incustest.Fault{Method: "POST", Path: "/1.0/images", OperationError: "no space"}, words: []string{"step publish", "no space"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if test.fault != nil {
				r.sim.Fail(*test.fault)
			}
			_, _, _, err := r.prepare(t, test.image, false, false)
			for _, word := range test.words {
				wantText(t, "prepare", err, word)
			}
			r.onlyInstances(t)
		})
	}
}

// TestRemoveBuilders: what a daemon that died was preparing in goes, and nothing
// else does; no list ever shows it.
func TestRemoveBuilders(t *testing.T) {
	r := newRig(t)
	r.init(t, incusx.Spec{Username: "alice"})
	for name, config := range map[string]map[string]string{
		"containarium-build-0123": {"user.containarium.builder": "x"},
		"containarium-build-mine": {},
	} {
		op, err := r.raw.CreateInstance(api.InstancesPost{
			Name: name, Source: api.InstanceSource{Type: "image", Alias: incustest.DefaultImage}, InstancePut: api.InstancePut{Config: config}, Start: true,
		})
		must(t, "create", err)
		must(t, "create", op.Wait())
	}
	if containers, err := r.List(t.Context()); err != nil || len(containers) != 1 {
		t.Errorf("containers %v, %v", containers, err)
	}
	must(t, "remove the builders", r.RemoveBuilders(bounded(t)))
	r.onlyInstances(t, "alice-container", "containarium-build-mine")
}
