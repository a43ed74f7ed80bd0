package incustest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/lxc/incus/v6/shared/api"
)

// exitNoPackages is how prepare.sh says that it can install nothing.
const exitNoPackages = 67

// prepare does to a guest what incusx/prepare.sh does: what is missing in its
// image is no longer missing in those that are made of it.
func (s *Server) prepare(g *guest, step string, docker bool, std stdio) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	image := &g.instance.image
	switch step {
	case "look":
		for tool, lacks := range map[string]bool{"sshd": image.NoSSHD, "sudo": image.NoSudo, "dockerd": !image.Docker} {
			if lacks {
				_, _ = fmt.Fprintln(std.out, tool)
			}
		}
	case "install":
		if image.NoPackages {
			_, _ = fmt.Fprintln(std.err, "the image has no apt-get, dnf or apk")
			return exitNoPackages
		}
		image.NoSSHD, image.NoSudo = false, false
		image.Docker = image.Docker || docker
	case "clean":
		g.hostKey = nil
	}
	return 0
}

// publishImage makes an image of a stopped instance.
func (s *Server) publishImage(w http.ResponseWriter, r *http.Request) error {
	var post api.ImagesPost
	if err := readJSON(r, &post); err != nil {
		return err
	}
	if post.Source == nil || post.Source.Type != "instance" {
		return api.StatusErrorf(http.StatusNotImplemented, "only instances are published in the simulator")
	}
	s.mu.Lock()
	p, err := s.project(r)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	op := &operation{project: p.name, description: "Downloading image"} // Incus' own words for it
	return s.launch(w, r, op, func(context.Context) error {
		s.mu.Lock()
		inst := p.instances[post.Source.Name]
		if inst == nil {
			s.mu.Unlock()
			return errNoInstance(p.name, post.Source.Name)
		}
		if inst.status != api.Stopped {
			s.mu.Unlock()
			return fmt.Errorf("Cannot export a running instance as an image") //nolint:staticcheck // Incus' words
		}
		published := newImage(inst.image)
		published.Alias = "" // that of its source
		published.fingerprint = strings.ReplaceAll(newUUID()+newUUID(), "-", "")
		published.put = post.ImagePut
		published.put.Properties = maps.Clone(post.Properties)
		p.images[published.fingerprint] = published
		for _, alias := range post.Aliases {
			p.aliases[alias.Name] = published.fingerprint
		}
		s.mu.Unlock()
		s.extend(op, map[string]any{"fingerprint": published.fingerprint, "size": 60 << 20})
		return nil
	})
}

// putImage replaces an image's properties.
func (s *Server) putImage(w http.ResponseWriter, r *http.Request) error {
	var put api.ImagePut
	if err := readJSON(r, &put); err != nil {
		return err
	}
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
	if match := strings.Trim(r.Header.Get("If-Match"), `"`); match != "" && match != etagOf(i.put) {
		return api.StatusErrorf(http.StatusPreconditionFailed, "ETag doesn't match: %s vs %s", etagOf(i.put), match)
	}
	i.put = put
	return writeSync(w, nil, "")
}

// deleteImage removes an image with its aliases.
func (s *Server) deleteImage(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	p, err := s.project(r)
	var i *image
	if err == nil {
		i, err = p.findImage(r.PathValue("fingerprint"))
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	op := &operation{project: p.name, description: "Deleting image"}
	return s.launch(w, r, op, func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(p.images, i.fingerprint)
		maps.DeleteFunc(p.aliases, func(_, target string) bool { return target == i.fingerprint })
		return nil
	})
}

// putAlias points an alias at another image.
func (s *Server) putAlias(w http.ResponseWriter, r *http.Request) error {
	var put api.ImageAliasesEntryPut
	if err := readJSON(r, &put); err != nil {
		return err
	}
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
	i, err := p.findImage(put.Target)
	if err != nil {
		return err
	}
	p.aliases[name] = i.fingerprint
	return writeSync(w, nil, "")
}
