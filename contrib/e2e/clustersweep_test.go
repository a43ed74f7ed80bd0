//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// sweepCluster removes everything with the names of the cluster, whichever run made it.
func sweepCluster(ctx context.Context) error {
	var errs []error
	errs = append(errs, sweepClusterProcesses(ctx))
	for i := range 3 {
		name := clusterBridge + fmt.Sprint(i+1)
		if _, err := os.Stat("/run/netns/" + name); err == nil {
			errs = append(errs, ip(ctx, "netns del "+name))
		}
		if _, err := os.Stat("/sys/class/net/" + name); err == nil {
			_ = ip(ctx, "link del "+name) // it goes with its namespace
		}
	}
	if _, err := os.Stat("/sys/class/net/" + clusterBridge); err == nil {
		errs = append(errs, ip(ctx, "link del "+clusterBridge))
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	errs = append(errs, err)
	for _, line := range slices.Backward(strings.Split(string(mounts), "\n")) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], clusterDir+"/") {
			errs = append(errs, syscall.Unmount(fields[1], syscall.MNT_DETACH))
		}
	}
	errs = append(errs, os.RemoveAll(clusterDir))
	return errors.Join(errs...)
}

// sweepClusterProcesses ends the incusd of the cluster and what runs in its containers,
// which is known by its control group.
func sweepClusterProcesses(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		found := 0
		files, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return err
		}
		for _, dir := range files {
			line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
			group, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
			if !strings.Contains(string(line), clusterDir+"/") && !strings.Contains(string(group), "/lxc.payload."+clusterProject+"_") &&
				!strings.Contains(string(group), "/lxc.monitor."+clusterProject+"_") {
				continue
			}
			pid := 0
			if _, err := fmt.Sscan(filepath.Base(dir), &pid); err != nil || pid == os.Getpid() {
				continue
			}
			found++
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
		if found == 0 {
			return sweepClusterGroups()
		}
		if waiting.Err() != nil {
			return fmt.Errorf("%d processes of the cluster go on: %w", found, waiting.Err())
		}
	}
}

// sweepClusterGroups removes the control groups of containers that are gone.
func sweepClusterGroups() error {
	var groups []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.Contains(path, "/lxc.") && strings.Contains(path, "."+clusterProject+"_") {
			groups = append(groups, path)
		}
		return nil
	})
	for _, group := range slices.Backward(groups) {
		_ = os.Remove(group) // what a process that ends still holds goes with the next sweep
	}
	return err
}
