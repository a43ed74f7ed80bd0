//go:build e2e

package e2e_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocker: a container that was created with Docker has an engine that runs
// images, although the image that was asked for has none.
func TestDocker(t *testing.T) {
	t.Parallel()
	settings := func(o *owner) map[string]string {
		instance, _, err := o.incus().GetInstance(o.container.GetName())
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for key, value := range instance.ExpandedConfig {
			if strings.HasPrefix(key, "security.") {
				got[key] = value
			}
		}
		return got
	}
	with, without := newOwner(t, "docker"), newOwner(t, "plain")
	with.prepareImage(t, with.image, "--docker")
	with.create(t, "--docker")
	want := map[string]string{
		"security.nesting":                     "true",
		"security.syscalls.intercept.mknod":    "true",
		"security.syscalls.intercept.setxattr": "true",
	}
	if diff := cmp.Diff(want, settings(with)); diff != "" {
		t.Errorf("with --docker (-want +got):\n%s", diff)
	}
	if c := with.info(t, with.name); !c.GetDockerEnabled() || !c.GetDockerInstalled() || len(with.warnings) > 0 {
		t.Errorf("the response says %v, warnings %q", c, with.warnings)
	}
	// An image made from scratch, so that nothing is fetched: one static binary.
	dir := t.TempDir()
	source := filepath.Join(dir, "hello.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() { println(\"from scratch\") }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, "hello"), source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := quiet(build); err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(filepath.Join(dir, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-F", with.sshConfig(t, with.key)}, with.hops()...)
	if r := run(t, t.Context(), string(binary), nil, "ssh", append(args, "cat >hello && chmod +x hello")...); r.code != 0 {
		t.Fatal(r.stderr)
	}
	with.sh(t, "tar -c hello | sudo docker import -c 'ENTRYPOINT [\"/hello\"]' - scratch-hello >/dev/null")
	if got := with.sh(t, "sudo docker run --rm scratch-hello 2>&1"); got != "from scratch" {
		t.Errorf("docker run printed %q", got)
	}

	without.create(t)
	if diff := cmp.Diff(map[string]string{}, settings(without)); diff != "" {
		t.Errorf("without --docker (-want +got):\n%s", diff)
	}
	if c := without.container; c.GetDockerEnabled() || c.DockerInstalled != nil || len(without.warnings) > 0 {
		t.Errorf("without --docker: %v, warnings %q", c, without.warnings)
	}
}
