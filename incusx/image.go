package incusx

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

var fingerprint = regexp.MustCompile(`^[0-9a-f]{12,64}$`)

// Image is an image that was found, to make instances from.
type Image struct {
	source api.InstanceSource
	// Fingerprint is empty where Incus is yet to fetch it.
	Fingerprint string
	// PreparedAt is zero unless it was prepared here.
	PreparedAt time.Time
	// looked says that somebody looked for what it lacks.
	looked bool
	lacks  string
}

// Prepared reports whether the image was prepared here.
func (i Image) Prepared() bool { return !i.PreparedAt.IsZero() }

// Unfit reports whether the image is known to lack what is wanted of it. Where
// nobody has looked it may be either way: what is missing of SSH shows when a
// guest of it runs, so an image is taken for fit; for Docker it has to be looked.
func (i Image) Unfit(docker bool) bool {
	if i.Prepared() {
		return false
	}
	return strings.Contains(i.lacks, "ssh") || docker && (!i.looked || strings.Contains(i.lacks, "docker"))
}

// FindImage finds what an image reference means: a local alias first, even one
// with "/" or ":" in it, then a fingerprint, then REMOTE:ALIAS. ErrNotFound where
// there is no such image, ErrImageRemote where its server does not answer.
func (c *Client) FindImage(ctx context.Context, ref string) (Image, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return Image{}, err
	}
	return c.findImage(ctx, server, ref)
}

func (c *Client) findImage(ctx context.Context, server incus.InstanceServer, ref string) (Image, error) {
	what := fmt.Sprintf("look up the image %q", ref)
	image, err := localImage(server, ref)
	if err != nil {
		return Image{}, err
	}
	if image != nil {
		return fromImage(image), nil
	}
	name, remoteAlias, _ := strings.Cut(ref, ":")
	remote, known := c.cfg.Remotes[name]
	if !known || remoteAlias == "" {
		return Image{}, classify(what, api.StatusErrorf(404, "no local alias, fingerprint or known remote has this name"))
	}
	return remoteSource(ctx, what, remote, remoteAlias)
}

// FindImageFor is FindImage, and finds the one that was prepared from it for that
// purpose where there is one: of an image on a server without asking there.
func (c *Client) FindImageFor(ctx context.Context, ref string, docker bool) (Image, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return Image{}, err
	}
	image, err := localImage(server, ref)
	if err != nil {
		return Image{}, err
	}
	var found Image
	if image != nil {
		found = fromImage(image)
		if found.Prepared() {
			return found, nil
		}
	} else {
		prepared, err := localImage(server, preparedAlias+refKey(ref, docker))
		if err != nil {
			return Image{}, err
		}
		if prepared != nil {
			return fromImage(prepared), nil
		}
		if found, err = c.findImage(ctx, server, ref); err != nil {
			return Image{}, err
		}
	}
	prepared, err := localImage(server, preparedAlias+contentKey(found.Fingerprint, docker))
	if err != nil || prepared == nil {
		return found, err
	}
	return fromImage(prepared), nil
}

// localImage returns the image of the project that has the alias or fingerprint,
// or nil.
func localImage(server incus.InstanceServer, ref string) (*api.Image, error) {
	what := fmt.Sprintf("look up the image %q", ref)
	alias, _, err := server.GetImageAlias(ref)
	target := ref
	switch {
	case err == nil:
		target = alias.Target
	case !api.StatusErrorCheck(err, 404):
		return nil, classify(what, err)
	case !fingerprint.MatchString(ref):
		return nil, nil //nolint:nilnil // there is none
	}
	image, _, err := server.GetImage(target)
	if api.StatusErrorCheck(err, 404) {
		return nil, nil //nolint:nilnil // likewise
	}
	return image, classify(what, err)
}

func fromImage(image *api.Image) Image {
	return Image{
		source:      api.InstanceSource{Type: "image", Fingerprint: image.Fingerprint},
		Fingerprint: image.Fingerprint,
		PreparedAt:  preparedAt(image.Properties),
		looked:      image.Properties[propertyLooked] == "true",
		lacks:       image.Properties[propertyLacks],
	}
}

// remoteTimeout bounds each request to an image server.
const remoteTimeout = 30 * time.Second

// remoteSource asks a simplestreams server for an alias, so that "no such image"
// and "no such server" are told apart before anything is made.
func remoteSource(ctx context.Context, what, url, alias string) (Image, error) {
	type answer struct {
		image Image
		err   error
	}
	// The simplestreams client takes no context: it is left to its own time-outs
	// when ctx ends first.
	done := make(chan answer, 1)
	go func() {
		images, err := incus.ConnectSimpleStreams(url, &incus.ConnectionArgs{HTTPClient: &http.Client{Timeout: remoteTimeout}})
		if err != nil {
			done <- answer{err: fmt.Errorf("%s: %w: %w", what, ErrImageRemote, err)}
			return
		}
		entry, _, err := images.GetImageAliasType("container", alias)
		if err != nil {
			kind := ErrImageRemote
			if api.StatusErrorCheck(err, 404) || strings.Contains(err.Error(), "doesn't exist") {
				kind = ErrNotFound
			}
			done <- answer{err: fmt.Errorf("%s: %w: %w", what, kind, err)}
			return
		}
		done <- answer{image: Image{
			source:      api.InstanceSource{Type: "image", Mode: "pull", Server: url, Protocol: "simplestreams", Alias: alias},
			Fingerprint: entry.Target,
		}}
	}()
	select {
	case <-ctx.Done():
		return Image{}, fmt.Errorf("%s: %w", what, ctx.Err())
	case a := <-done:
		return a.image, a.err
	}
}
