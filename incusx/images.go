package incusx

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// The properties in which an image carries what Containarium knows of it.
const (
	propertyPrefix = "containarium."
	// Of one that was prepared.
	propertyKey      = propertyPrefix + "key" // the mark: an image without it is not ours
	propertySource   = propertyPrefix + "source"
	propertySourceID = propertyPrefix + "source-fingerprint"
	propertyDocker   = propertyPrefix + "docker"
	propertyAt       = propertyPrefix + "prepared-at" // RFC 3339
	// Of one that was looked at: "true", and "ssh" and "docker" where it lacks them.
	propertyLooked = propertyPrefix + "looked"
	propertyLacks  = propertyPrefix + "lacks"
)

// preparedAlias begins the aliases of prepared images: one by content for each,
// and one by what was asked for, by which images of servers are found without
// asking there.
const preparedAlias = "containarium/prepared/"

// contentKey is the same for the same source and the same steps.
func contentKey(fingerprint string, docker bool) string {
	return digestKey("content", fingerprint, docker)
}

// refKey is the same for the same request.
func refKey(ref string, docker bool) string { return digestKey("ref", ref, docker) }

func digestKey(kind, what string, docker bool) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{kind, what, strconv.FormatBool(docker), prepareScript}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// Preparation is what an image was prepared from, and for what.
type Preparation struct {
	// Source is the image as it was asked for, SourceFingerprint what that meant.
	Source, SourceFingerprint string
	Docker                    bool
	At                        time.Time
	// Key is that of the content: same source, same steps.
	Key string
}

// StoredImage is an image that lies on the host.
type StoredImage struct {
	Fingerprint         string
	Aliases             []string // sorted
	Description         string
	Size                int64 // bytes
	CreatedAt, LastUsed time.Time
	Preparation         *Preparation // nil: not prepared here
}

// Images returns the images of the project, by alias and fingerprint.
func (c *Client) Images(ctx context.Context) ([]StoredImage, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	images, err := server.GetImages()
	if err != nil {
		return nil, classify("list the images", err)
	}
	stored := make([]StoredImage, len(images))
	for i := range images {
		stored[i] = storedImage(&images[i])
	}
	slices.SortFunc(stored, func(a, b StoredImage) int {
		return cmp.Or(slices.Compare(a.Aliases, b.Aliases), strings.Compare(a.Fingerprint, b.Fingerprint))
	})
	return stored, nil
}

// StoredImage returns one image by its fingerprint.
func (c *Client) StoredImage(ctx context.Context, fingerprint string) (StoredImage, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return StoredImage{}, err
	}
	image, _, err := server.GetImage(fingerprint)
	if err != nil {
		return StoredImage{}, classify("look up the image "+fingerprint, err)
	}
	return storedImage(image), nil
}

func storedImage(image *api.Image) StoredImage {
	stored := StoredImage{
		Fingerprint: image.Fingerprint, Description: image.Properties["description"], Size: image.Size,
		CreatedAt: image.UploadedAt, LastUsed: image.LastUsedAt,
	}
	for _, alias := range image.Aliases {
		stored.Aliases = append(stored.Aliases, alias.Name)
	}
	slices.Sort(stored.Aliases)
	if p := image.Properties; p[propertyKey] != "" {
		stored.Preparation = &Preparation{
			Source: p[propertySource], SourceFingerprint: p[propertySourceID], Docker: p[propertyDocker] == "true",
			Key: p[propertyKey], At: preparedAt(p),
		}
	}
	return stored
}

// preparedAt is the zero time where the image was not prepared here.
func preparedAt(properties map[string]string) time.Time {
	at, _ := time.Parse(time.RFC3339, properties[propertyAt])
	return at
}

// RemoveImage removes an image that was prepared, by alias or fingerprint.
// ErrNotFound where there is none, ErrNotPrepared where it is not ours to remove.
func (c *Client) RemoveImage(ctx context.Context, ref string) error {
	server, err := c.connect(ctx)
	if err != nil {
		return err
	}
	image, err := localImage(server, ref)
	if err != nil {
		return err
	}
	if image == nil {
		return fmt.Errorf("image %q: %w on this host", ref, ErrNotFound)
	}
	if image.Properties[propertyKey] == "" {
		return fmt.Errorf("the image %q %w", ref, ErrNotPrepared)
	}
	op, err := server.DeleteImage(image.Fingerprint)
	return wait("remove the image "+ref, op, err)
}

// noteLook writes on an image what it lacks, by the commands that it should have,
// so that nobody has to look again.
func noteLook(server incus.InstanceServer, fingerprint string, lacks []string) error {
	what := "note what the image lacks"
	image, etag, err := server.GetImage(fingerprint)
	if err != nil {
		return classify(what, err)
	}
	var missing []string
	if slices.ContainsFunc(lacks, func(tool string) bool { return tool != dockerd }) {
		missing = append(missing, "ssh")
	}
	if slices.Contains(lacks, dockerd) {
		missing = append(missing, "docker")
	}
	put := image.Writable()
	put.Properties = maps.Clone(put.Properties)
	put.Properties[propertyLooked] = "true"
	put.Properties[propertyLacks] = strings.Join(missing, " ")
	return classify(what, server.UpdateImage(fingerprint, put, etag))
}

// publish makes the image out of the stopped instance, gives it its names and
// removes the one that had them before.
func (b *builder) publish(ref, source string, report Progress) (Image, error) {
	what := "publish the prepared image"
	key := contentKey(source, b.docker)
	properties := map[string]string{
		propertyKey: key, propertySource: ref, propertySourceID: source,
		propertyDocker: strconv.FormatBool(b.docker), propertyAt: time.Now().UTC().Format(time.RFC3339),
	}
	before, _, err := b.server.GetImage(source)
	if err != nil {
		return Image{}, classify(what, err)
	}
	for name, value := range before.Properties {
		if !strings.HasPrefix(name, propertyPrefix) {
			properties[name] = value
		}
	}
	post := api.ImagesPost{
		ImagePut: api.ImagePut{Properties: properties},
		Source:   &api.ImagesPostSource{ImageSource: api.ImageSource{}, Type: "instance", Name: b.name},
		// Several times as fast to unpack as Incus' default, on pools that unpack it
		// for every container.
		CompressionAlgorithm: "zstd",
	}
	op, err := b.server.CreateImage(post, nil)
	if err := waitProgress(b.server, what, op, err, report); err != nil {
		return Image{}, err
	}
	if err := op.Refresh(); err != nil {
		return Image{}, classify(what, err)
	}
	fingerprint, ok := op.Get().Metadata["fingerprint"].(string)
	if !ok { // fails closed: an image that can not be named is none
		return Image{}, fmt.Errorf("%s: Incus did not tell its fingerprint", what)
	}
	for _, alias := range []string{preparedAlias + key, preparedAlias + refKey(ref, b.docker)} {
		if err := moveAlias(b.server, alias, fingerprint); err != nil {
			return Image{}, err
		}
	}
	return Image{
		source:      api.InstanceSource{Type: "image", Fingerprint: fingerprint},
		Fingerprint: fingerprint, PreparedAt: time.Now(),
	}, nil
}

// moveAlias points an alias at an image. The image that loses its last name by
// that is removed if it was prepared here.
func moveAlias(server incus.InstanceServer, alias, fingerprint string) error {
	what := "name the prepared image"
	entry := api.ImageAliasesEntryPut{Target: fingerprint}
	old, etag, err := server.GetImageAlias(alias)
	if api.StatusErrorCheck(err, 404) {
		return classify(what, server.CreateImageAlias(api.ImageAliasesPost{ImageAliasesEntry: api.ImageAliasesEntry{
			Name: alias, Type: "container", ImageAliasesEntryPut: entry,
		}}))
	}
	if err != nil || old.Target == fingerprint {
		return classify(what, err)
	}
	if err := server.UpdateImageAlias(alias, entry, etag); err != nil {
		return classify(what, err)
	}
	image, _, err := server.GetImage(old.Target)
	if err != nil || len(image.Aliases) > 0 || image.Properties[propertyKey] == "" {
		return nil //nolint:nilerr // it is gone, or it stays
	}
	op, err := server.DeleteImage(old.Target)
	return wait("remove the image that was replaced", op, err)
}
