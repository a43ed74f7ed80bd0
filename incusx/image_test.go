package incusx_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

// imageServer is a simplestreams server with one image, debian/12.
func imageServer(t *testing.T) *httptest.Server {
	t.Helper()
	const sum = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	type object = map[string]any
	files := map[string]object{
		"/streams/v1/index.json": {"format": "index:1.0", "index": object{"images": object{
			"datatype": "image-downloads", "path": "streams/v1/images.json", "format": "products:1.0", "products": []string{"debian:12:amd64:default"},
		}}},
		"/streams/v1/images.json": {"format": "products:1.0", "datatype": "image-downloads", "products": object{"debian:12:amd64:default": object{
			"aliases": "debian/12", "arch": "amd64", "os": "Debian", "release": "bookworm", "release_title": "bookworm",
			"versions": object{"20260101_0000": object{"items": object{
				"incus.tar.xz":    object{"ftype": "incus.tar.xz", "path": "i/meta", "size": 1, "sha256": sum, "combined_squashfs_sha256": sum},
				"rootfs.squashfs": object{"ftype": "squashfs", "path": "i/root", "size": 1, "sha256": sum},
			}}},
		}}},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(file)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestFindImage(t *testing.T) {
	images := imageServer(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	t.Cleanup(broken.Close)
	sim := incustest.Start(t, incustest.Options{Images: []incustest.Image{{Alias: "images:local"}, {Alias: "a/b:c"}, {Alias: "abcdefabcdef"}}})
	r := rigOn(t, sim, map[string]string{"images": images.URL, "gone": gone.URL, "broken": broken.URL})
	fingerprint := sim.AddImage("default", incustest.Image{})

	for ref, want := range map[string]api.InstanceSource{
		incustest.DefaultImage: local(t, r, incustest.DefaultImage),
		"a/b:c":                local(t, r, "a/b:c"),
		// A local alias comes first, also before a remote and a fingerprint.
		"images:local":     local(t, r, "images:local"),
		"abcdefabcdef":     local(t, r, "abcdefabcdef"),
		fingerprint:        {Type: "image", Fingerprint: fingerprint},
		fingerprint[:12]:   {Type: "image", Fingerprint: fingerprint},
		"images:debian/12": {Type: "image", Mode: "pull", Server: images.URL, Protocol: "simplestreams", Alias: "debian/12"},
	} {
		image, err := r.FindImage(bounded(t), ref)
		must(t, ref, err)
		if got := incusx.SourceOf(image); !sameSource(got, want) {
			t.Errorf("%s: got %+v, want %+v", ref, got, want)
		}
	}
	for ref, kind := range map[string]error{
		"nope":             incusx.ErrNotFound,
		"no/pe":            incusx.ErrNotFound,
		"ffffffffffff":     incusx.ErrNotFound,
		"unknown:debian":   incusx.ErrNotFound,
		"images:":          incusx.ErrNotFound,
		"images:debian/99": incusx.ErrNotFound,
		"gone:debian/12":   incusx.ErrImageRemote,
		"broken:debian/12": incusx.ErrImageRemote,
	} {
		_, err := r.FindImage(bounded(t), ref)
		wantErr(t, ref, err, kind)
		if errors.Is(err, incusx.ErrUnavailable) {
			t.Errorf("%s: taken for an Incus that is away: %v", ref, err)
		}
	}
}

func local(t *testing.T, r *rig, alias string) api.InstanceSource {
	t.Helper()
	entry, _, err := r.raw.GetImageAlias(alias)
	must(t, "get the alias "+alias, err)
	return api.InstanceSource{Type: "image", Fingerprint: entry.Target}
}

func sameSource(a, b api.InstanceSource) bool {
	return a.Type == b.Type && a.Fingerprint == b.Fingerprint && a.Server == b.Server && a.Protocol == b.Protocol && a.Alias == b.Alias && a.Mode == b.Mode
}

// TestSilentImageServer: one that takes connections and says nothing does not
// hold a create up for longer than its context.
func TestSilentImageServer(t *testing.T) {
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(release) })
	r := rigOn(t, incustest.Start(t), map[string]string{"silent": silent.URL})
	_, err := r.FindImage(within(t, 50*time.Millisecond), "silent:debian/12")
	wantErr(t, "find", err, context.DeadlineExceeded)
}

// TestRemoteImage: an instance can be made from one.
func TestRemoteImage(t *testing.T) {
	r := rigOn(t, incustest.Start(t), map[string]string{"images": imageServer(t).URL})
	r.init(t, incusx.Spec{Username: "alice", Image: "images:debian/12"})
	container, err := r.Get(t.Context(), "alice")
	must(t, "get", err)
	if container.Image != "images:debian/12" || container.ImageFingerprint == "" {
		t.Errorf("image %q, fingerprint %q", container.Image, container.ImageFingerprint)
	}
}
