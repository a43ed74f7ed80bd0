package incustest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/lxc/incus/v6/shared/api"
)

// usedAtFirst is what a disk holds that nobody wrote to.
const usedAtFirst = 20 << 20

// Fill has the disk of an instance hold so many bytes. One that holds as much as
// its size is full: Incus starts it no more, and changes nothing but its size.
func (s *Server) Fill(project, name string, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.projects[project].instances[name].used = bytes
}

// rootSize is the size of an instance's root disk; 0 where nothing holds it to
// one. Server.mu is held.
func (s *Server) rootSize(inst *instance, put *api.InstancePut) int64 {
	if s.driver() == "dir" {
		return 0
	}
	_, devices := inst.project.expand(put)
	for _, device := range devices {
		if device["type"] == "disk" && device["path"] == "/" && device["size"] != "" {
			return sizeOf(device["size"])
		}
	}
	return 0
}

// diskFull reports whether the quota lets nothing more be written. Server.mu is held.
func (s *Server) diskFull(inst *instance) bool {
	size := s.rootSize(inst, &inst.put)
	return size > 0 && inst.used >= size
}

// checkQuota refuses an update that a full disk refuses, or that makes it one.
// Other storage than btrfs puts a smaller size off to the next start. Server.mu is
// held.
func (s *Server) checkQuota(inst *instance, put *api.InstancePut) error {
	from, to := s.rootSize(inst, &inst.put), s.rootSize(inst, put)
	if s.driver() != "btrfs" {
		if to > 0 && to < from && inst.status != api.Stopped {
			put.Config["volatile.root.apply_quota"] = "true"
		} else if to != from {
			delete(put.Config, "volatile.root.apply_quota")
		}
		return nil
	}
	switch {
	case to == 0 || inst.used < to:
		return nil
	case to != from:
		return errors.New(`Failed to update device "root": Failed to run: btrfs qgroup limit: exit status 1 (ERROR: unable to limit requested quota group: Disk quota exceeded)`) //nolint:staticcheck // Incus' words
	}
	return fmt.Errorf("Failed to write backup file: Failed to create file: open backup.yaml: disk quota exceeded") //nolint:staticcheck // Incus' words
}

// du says how many KiB a guest's disk holds.
func (s *Server) du(g *guest, std stdio) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(std.out, "%d\t/\n", g.instance.used>>10)
	return 0
}

// dd writes so many MiB as count= says, or as many as there is room for.
func (s *Server) dd(g *guest, args []string, std stdio) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, arg := range args {
		if count, ok := strings.CutPrefix(arg, "count="); ok {
			n, _ := strconv.ParseInt(count, 10, 32)
			g.instance.used += n << 20
		}
	}
	if size := s.rootSize(g.instance, &g.instance.put); size > 0 && g.instance.used > size {
		g.instance.used = size
		_, _ = fmt.Fprintln(std.err, "dd: error writing: Disk quota exceeded")
		return 1
	}
	return 0
}
