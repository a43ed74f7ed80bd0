package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// scriptRemember notes what is in folders: names, modes and contents.
func scriptRemember(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: remember DIR...")
	}
	w := worldOf(ts)
	w.dirs = args
	w.tree = treeOf(ts, args)
}

// scriptUnchanged fails where anything of that is not as it was.
func scriptUnchanged(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: unchanged")
	}
	w := worldOf(ts)
	if len(w.dirs) == 0 {
		ts.Fatalf("remember comes first")
	}
	if diff := cmp.Diff(w.tree, treeOf(ts, w.dirs)); diff != "" {
		ts.Fatalf("something was changed:\n%s", diff)
	}
}

func treeOf(ts *testscript.TestScript, dirs []string) map[string]string {
	tree := map[string]string{}
	for _, dir := range dirs {
		ts.Check(filepath.WalkDir(ts.MkAbs(dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			tree[path] = info.Mode().String()
			if info.Mode().IsRegular() {
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				tree[path] += fmt.Sprintf(" %x", sha256.Sum256(data))
			}
			return nil
		}))
	}
	return tree
}
