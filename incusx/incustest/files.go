package incustest

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"

	"github.com/lxc/incus/v6/shared/api"
)

// getFile answers with a file of a guest. Folders are not simulated.
func (s *Server) getFile(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	inst, err := s.instance(r)
	var f file
	found := false
	if err == nil {
		f, found = inst.guest.files[r.FormValue("path")]
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if !found {
		return api.StatusErrorf(http.StatusNotFound, "file does not exist")
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Incus-uid", "0")
	w.Header().Set("X-Incus-gid", "0")
	w.Header().Set("X-Incus-mode", fmt.Sprintf("%04o", f.mode))
	w.Header().Set("X-Incus-type", "file")
	_, _ = w.Write(f.content)
	return nil
}

// postFile writes a file into a guest, or adds to one.
func (s *Server) postFile(w http.ResponseWriter, r *http.Request) error {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(r)
	if err != nil {
		return err
	}
	path := r.URL.Query().Get("path")
	switch r.Header.Get("X-Incus-type") {
	case "", "file":
	case "symlink": // to an absolute path
		inst.guest.files[path] = file{content, int(fs.ModeSymlink | 0o777)}
		return writeSync(w, nil, "")
	default:
		return writeSync(w, nil, "")
	}
	mode := 0o644
	if m, err := strconv.ParseInt(r.Header.Get("X-Incus-mode"), 8, 32); err == nil {
		mode = int(m)
	}
	if r.Header.Get("X-Incus-write") == "append" {
		content = slices.Concat(inst.guest.files[path].content, content)
	}
	inst.guest.files[path] = file{content, mode}
	return writeSync(w, nil, "")
}

// deleteFile removes a file of a guest.
func (s *Server) deleteFile(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(r)
	if err != nil {
		return err
	}
	path := r.FormValue("path")
	if _, ok := inst.guest.files[path]; !ok {
		return api.StatusErrorf(http.StatusNotFound, "file does not exist")
	}
	delete(inst.guest.files, path)
	return writeSync(w, nil, "")
}
