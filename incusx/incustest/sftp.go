package incustest

import (
	"bytes"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/lxc/incus/v6/shared/api"
	"github.com/pkg/sftp"
)

// serveSFTP makes an HTTP connection one of SFTP to a guest's files, for its
// root. A file's owner is not simulated.
func (s *Server) serveSFTP(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Upgrade") != "sftp" {
		return api.StatusErrorf(http.StatusBadRequest, "Missing or invalid upgrade header")
	}
	s.mu.Lock()
	inst, err := s.instance(r)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer untilDown(r.Context(), func() { _ = conn.Close() })()
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: sftp\r\nConnection: Upgrade\r\n\r\n"); err != nil {
		return nil
	}
	files := guestFS{s, inst.guest}
	_ = sftp.NewRequestServer(conn, sftp.Handlers{FileGet: files, FilePut: files, FileCmd: files, FileList: files}).Serve()
	return nil
}

// guestFS are the files of a guest. There is a folder wherever a file is below it.
type guestFS struct {
	server *Server
	guest  *guest
}

// Fileread implements sftp.FileReader.
func (g guestFS) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	g.server.mu.Lock()
	defer g.server.mu.Unlock()
	f, ok := g.guest.files[r.Filepath]
	if !ok {
		return nil, os.ErrNotExist
	}
	return bytes.NewReader(f.content), nil
}

// Filewrite implements sftp.FileWriter.
func (g guestFS) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	g.server.mu.Lock()
	defer g.server.mu.Unlock()
	flags := r.Pflags()
	f, exists := g.guest.files[r.Filepath]
	switch {
	case exists && flags.Excl:
		return nil, os.ErrExist
	case !exists && !flags.Creat:
		return nil, os.ErrNotExist
	case !exists:
		f.mode = 0o644
	}
	if flags.Trunc {
		f.content = nil
	}
	g.guest.files[r.Filepath] = f
	return fileWriter{g, r.Filepath}, nil
}

type fileWriter struct {
	guestFS
	name string
}

// WriteAt implements io.WriterAt.
func (w fileWriter) WriteAt(p []byte, offset int64) (int, error) {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	f := w.guest.files[w.name]
	content := make([]byte, max(len(f.content), int(offset)+len(p)))
	copy(content, f.content)
	copy(content[offset:], p)
	f.content = content
	w.guest.files[w.name] = f
	return len(p), nil
}

// Filecmd implements sftp.FileCmder.
func (g guestFS) Filecmd(r *sftp.Request) error {
	g.server.mu.Lock()
	defer g.server.mu.Unlock()
	f, ok := g.guest.files[r.Filepath]
	if !ok {
		return os.ErrNotExist
	}
	switch r.Method {
	case "Setstat":
		if r.AttrFlags().Permissions {
			f.mode = int(r.Attributes().FileMode().Perm())
			g.guest.files[r.Filepath] = f
		}
	case "Remove":
		delete(g.guest.files, r.Filepath)
	default:
		return sftp.ErrSSHFxOpUnsupported
	}
	return nil
}

// PosixRename implements sftp.PosixRenameFileCmder.
func (g guestFS) PosixRename(r *sftp.Request) error {
	g.server.mu.Lock()
	defer g.server.mu.Unlock()
	f, ok := g.guest.files[r.Filepath]
	if !ok {
		return os.ErrNotExist
	}
	delete(g.guest.files, r.Filepath)
	g.guest.files[r.Target] = f
	return nil
}

// Lstat implements sftp.LstatFileLister.
func (g guestFS) Lstat(r *sftp.Request) (sftp.ListerAt, error) {
	g.server.mu.Lock()
	defer g.server.mu.Unlock()
	info := fileInfo{name: path.Base(r.Filepath)}
	if f, ok := g.guest.files[r.Filepath]; ok {
		info.file = f
		return info, nil
	}
	for name := range g.guest.files {
		if strings.HasPrefix(name, r.Filepath+"/") {
			info.mode = int(fs.ModeDir | 0o755)
			return info, nil
		}
	}
	return nil, os.ErrNotExist
}

// Filelist implements sftp.FileLister.
func (g guestFS) Filelist(*sftp.Request) (sftp.ListerAt, error) {
	return nil, sftp.ErrSSHFxOpUnsupported
}

// fileInfo is a file, and the list of it alone.
type fileInfo struct {
	file
	name string
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return int64(len(i.content)) }
func (i fileInfo) Mode() fs.FileMode  { return fs.FileMode(i.mode) } //nolint:gosec // bits
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return i.Mode().IsDir() }
func (i fileInfo) Sys() any           { return nil }

// ListAt implements sftp.ListerAt.
func (i fileInfo) ListAt(list []os.FileInfo, offset int64) (int, error) {
	if offset > 0 {
		return 0, io.EOF
	}
	return copy(list, []os.FileInfo{i}), io.EOF
}
