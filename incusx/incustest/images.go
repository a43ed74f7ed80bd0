package incustest

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lxc/incus/v6/shared/api"
)

// DefaultImage is the alias of an image that is fit for a user's container.
const DefaultImage = "containarium/debian-12"

// Image is an image, with what its guests can and can not do.
type Image struct {
	// Alias is its name; its fingerprint follows from it.
	Alias string
	// NoSSHD and NoSudo: the guest lacks them. NoDHCP: nothing in it asks for an
	// address, so it never gets one. NoLease: it asks, and gets none. Docker: it has
	// an engine.
	NoSSHD, NoSudo, NoDHCP, NoLease, Docker bool
	// IgnoresShutdown: the guest never shuts down by itself.
	IgnoresShutdown bool
	// NoPackages: nothing can be installed in the guest.
	NoPackages bool
}

// standardImages are there in every project: the default one and one for each
// way to be unfit, under these aliases.
var standardImages = []Image{
	{Alias: DefaultImage},
	{Alias: "nosshd", NoSSHD: true},
	{Alias: "nosudo", NoSudo: true},
	{Alias: "nodhcp", NoDHCP: true},
	{Alias: "nolease", NoLease: true},
	{Alias: "docker", Docker: true},
	{Alias: "deaf", IgnoresShutdown: true},
	{Alias: "nosshd-nopackages", NoSSHD: true, NoPackages: true},
}

// image is an image in a project.
type image struct {
	Image
	fingerprint string
	uploaded    time.Time
	put         api.ImagePut
}

func newImage(i Image) *image {
	sum := sha256.Sum256([]byte("image " + i.Alias))
	return &image{
		Image: i, fingerprint: hex.EncodeToString(sum[:]), uploaded: time.Now(),
		put: api.ImagePut{
			Properties: map[string]string{"os": "Debian", "release": "bookworm", "description": "Simulated " + i.Alias},
			Profiles:   []string{api.ProjectDefaultName},
		},
	}
}

// AddImage puts an image into a project and returns its fingerprint.
func (s *Server) AddImage(project string, i Image) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.projects[project].addImage(i).fingerprint
}

func (p *project) addImage(i Image) *image {
	added := newImage(i)
	p.images[added.fingerprint] = added
	if i.Alias != "" {
		p.aliases[i.Alias] = added.fingerprint
	}
	return added
}

func (s *Server) imageRoutes() {
	s.handle("GET /1.0/images", s.listImages)
	s.handle("POST /1.0/images", s.publishImage)
	s.handle("GET /1.0/images/{fingerprint}", s.getImage)
	s.handle("PUT /1.0/images/{fingerprint}", s.putImage)
	s.handle("DELETE /1.0/images/{fingerprint}", s.deleteImage)
	s.handle("GET /1.0/images/aliases", s.listAliases)
	s.handle("POST /1.0/images/aliases", s.createAlias)
	s.handle("GET /1.0/images/aliases/{name...}", s.getAlias)
	s.handle("PUT /1.0/images/aliases/{name...}", s.putAlias)
	s.handle("DELETE /1.0/images/aliases/{name...}", s.deleteAlias)
}

func (s *Server) listImages(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.project(r)
	if err != nil {
		return err
	}
	if !recursive(r) {
		urls := []string{}
		for fingerprint := range p.images {
			urls = append(urls, "/1.0/images/"+fingerprint)
		}
		return writeSync(w, urls, "")
	}
	images := []api.Image{}
	for _, i := range p.images {
		images = append(images, p.renderImage(i))
	}
	return writeSync(w, images, "")
}

func (s *Server) getImage(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.project(r)
	if err != nil {
		return err
	}
	i, err := p.findImage(r.PathValue("fingerprint"))
	if err != nil {
		return err
	}
	return writeSync(w, p.renderImage(i), etagOf(i.put))
}

// findImage finds an image by the beginning of its fingerprint.
func (p *project) findImage(fingerprint string) (*image, error) {
	var found []*image
	for full, i := range p.images {
		if strings.HasPrefix(full, fingerprint) {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 0:
		return nil, api.StatusErrorf(http.StatusNotFound, "Image %q not found", fingerprint)
	case 1:
		return found[0], nil
	}
	return nil, api.StatusErrorf(http.StatusBadRequest, "Image fingerprint %q is ambiguous", fingerprint)
}

func (p *project) renderImage(i *image) api.Image {
	rendered := api.Image{
		ImagePut:     api.ImagePut{Properties: maps.Clone(i.put.Properties), Profiles: slices.Clone(i.put.Profiles)},
		Aliases:      []api.ImageAlias{},
		Architecture: "x86_64",
		Fingerprint:  i.fingerprint,
		Filename:     "rootfs.squashfs",
		Size:         60 << 20,
		Type:         "container",
		CreatedAt:    i.uploaded,
		UploadedAt:   i.uploaded,
		Project:      p.name,
	}
	for name, target := range p.aliases {
		if target == i.fingerprint {
			rendered.Aliases = append(rendered.Aliases, api.ImageAlias{Name: name})
		}
	}
	return rendered
}

func (s *Server) listAliases(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.project(r)
	if err != nil {
		return err
	}
	if !recursive(r) {
		urls := []string{}
		for name := range p.aliases {
			urls = append(urls, "/1.0/images/aliases/"+name)
		}
		return writeSync(w, urls, "")
	}
	entries := []api.ImageAliasesEntry{}
	for name, target := range p.aliases {
		entries = append(entries, aliasEntry(name, target))
	}
	return writeSync(w, entries, "")
}

func aliasEntry(name, target string) api.ImageAliasesEntry {
	return api.ImageAliasesEntry{
		Name: name, Type: "container", ImageAliasesEntryPut: api.ImageAliasesEntryPut{Target: target},
	}
}

func (s *Server) getAlias(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.project(r)
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	target := p.aliases[name]
	if target == "" {
		return api.StatusErrorf(http.StatusNotFound, "Image alias not found")
	}
	return writeSync(w, aliasEntry(name, target), target)
}

func (s *Server) createAlias(w http.ResponseWriter, r *http.Request) error {
	var post api.ImageAliasesPost
	if err := readJSON(r, &post); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.project(r)
	if err != nil {
		return err
	}
	if p.aliases[post.Name] != "" {
		return api.StatusErrorf(http.StatusConflict, "Alias %q already exists", post.Name)
	}
	i, err := p.findImage(post.Target)
	if err != nil {
		return err
	}
	p.aliases[post.Name] = i.fingerprint
	return writeSync(w, nil, "")
}

func (s *Server) deleteAlias(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.project(r)
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	if p.aliases[name] == "" {
		return api.StatusErrorf(http.StatusNotFound, "Image alias not found")
	}
	delete(p.aliases, name)
	return writeSync(w, nil, "")
}
