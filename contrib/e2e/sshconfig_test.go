//go:build e2e

package e2e_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The commands that log users in, and what other programs make of what they write.
// No key of a host is given here but what the daemon tells.
func TestLoginByTheCommandLine(t *testing.T) {
	t.Parallel()
	alice := newOwner(t, "carla")
	alice.create(t)
	dir := t.TempDir()
	env := []string{"XDG_STATE_HOME=" + filepath.Join(dir, "state")}

	t.Run("ssh", func(t *testing.T) {
		r := alice.asIn(t, t.Context(), env, admin, "ssh", alice.name, "-i", alice.key.file, "--", "id", "-un;", "hostname;", "exit", "7")
		if want := alice.name + "\n" + alice.name + "-container\n"; r.stdout != want || r.stderr != "" || r.code != 7 {
			t.Errorf("%+v, want %q and exit code 7", r, want)
		}
		other := newKey(t, "mallory")
		if r := alice.asIn(t, t.Context(), env, admin, "ssh", alice.name, "-i", other.file, "--", "true"); r.code != 255 || !strings.Contains(r.stderr, "Permission denied") {
			t.Errorf("with another's key: %+v", r)
		}
	})

	// As a user's own configuration has it.
	list, config := filepath.Join(dir, "containers"), filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte("Include "+list+"\nHost *\n\tBatchMode yes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	alice.do(t, "ssh-config", "--output-file", list, "--identity", alice.key.file)
	// quiet runs a program that may ask and say nothing.
	quiet := func(t *testing.T, name string, args ...string) string {
		t.Helper()
		r := run(t, t.Context(), "", nil, name, args...)
		if r.code != 0 || r.stderr != "" {
			t.Fatalf("%s %s: %+v\n%s", name, strings.Join(args, " "), r, end(list, 4000))
		}
		return r.stdout
	}
	t.Run("ssh by the configuration", func(t *testing.T) {
		if out := quiet(t, "ssh", "-F", config, alice.name, "id", "-un"); out != alice.name+"\n" {
			t.Errorf("it says %q", out)
		}
	})
	// Binary, and larger than what any buffer between takes at once.
	data := make([]byte, 3<<20)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(dir, "tree")
	for file, content := range map[string][]byte{"data": data, "with a blank": []byte("x\n"), "sub/empty": nil} {
		path := filepath.Join(tree, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	same := func(t *testing.T, back string) {
		t.Helper()
		got, err := os.ReadFile(filepath.Join(back, "data"))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("what comes back is not what went: %d bytes, %v", len(got), err)
		}
		for _, file := range []string{"with a blank", "sub/empty"} {
			if _, err := os.Stat(filepath.Join(back, file)); err != nil {
				t.Error(err)
			}
		}
	}
	t.Run("scp", func(t *testing.T) {
		back := filepath.Join(dir, "scp")
		quiet(t, "scp", "-q", "-r", "-F", config, tree, alice.name+":by-scp")
		quiet(t, "scp", "-q", "-r", "-F", config, alice.name+":by-scp", back)
		same(t, back)
	})
	t.Run("rsync", func(t *testing.T) {
		back := filepath.Join(dir, "rsync")
		rsync := func(args ...string) string {
			return quiet(t, "rsync", append([]string{"-a", "--itemize-changes", "-e", "ssh -F " + config}, args...)...)
		}
		if out := rsync(tree+"/", alice.name+":by-rsync/"); !strings.Contains(out, "data") {
			t.Errorf("it sent %q", out)
		}
		if out := rsync(tree+"/", alice.name+":by-rsync/"); out != "" {
			t.Errorf("with nothing changed it sent %q", out)
		}
		rsync(alice.name+":by-rsync/", back+"/")
		same(t, back)
	})
	t.Run("gone", func(t *testing.T) {
		alice.do(t, "rm", alice.name, "--force")
		alice.do(t, "ssh-config", "--output-file", list, "--identity", alice.key.file)
		if text, err := os.ReadFile(list); err != nil || strings.Contains(string(text), alice.name) {
			t.Errorf("%s, %v", text, err)
		}
	})
}
