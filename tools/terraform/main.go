// Command terraform checks Terraform modules where no provider can be had, and so
// "terraform validate" not be run: given a directory it checks each module below it.
// The files parse and are formatted as "terraform fmt" does it; what they refer to is
// declared; a variable has a description, a type and, unless it is a bool, a validation;
// and what one module gives another is what that one takes. It prints each finding and
// exits 1 where there is one.
package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: terraform DIRECTORY")
		os.Exit(2)
	}
	modules, findings, err := run(os.Stdout, os.Args[1])
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "terraform:", err)
		os.Exit(1)
	case modules == 0: // fails closed: what was not looked at is not good
		fmt.Fprintln(os.Stderr, "terraform: there is no module in", os.Args[1])
		os.Exit(1)
	}
	fmt.Printf("terraform: %d modules, %d findings\n", modules, findings)
	if findings > 0 {
		os.Exit(1)
	}
}

// run checks each module and returns how many there were, and how many findings.
func run(out io.Writer, root string) (modules, findings int, err error) {
	var dirs []string
	err = filepath.WalkDir(root, func(file string, _ fs.DirEntry, err error) error {
		if dir := filepath.Dir(file); filepath.Ext(file) == ".tf" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
		return err
	})
	for _, dir := range dirs {
		m, err := load(dir)
		if err != nil {
			return len(dirs), findings, err
		}
		m.check()
		for _, finding := range m.findings {
			_, _ = fmt.Fprintln(out, finding)
		}
		findings += len(m.findings)
	}
	return len(dirs), findings, err
}

// module is a directory of files.
type module struct {
	dir       string
	blocks    []*hclsyntax.Block
	variables map[string]*hclsyntax.Block
	locals    map[string]hclsyntax.Expression
	// declared has all that can be referred to, as it is written there.
	declared map[string]bool
	findings []string
}

func load(dir string) (*module, error) {
	m := &module{dir: dir, variables: map[string]*hclsyntax.Block{}, locals: map[string]hclsyntax.Expression{}, declared: map[string]bool{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		parsed, diagnostics := hclparse.NewParser().ParseHCL(source, file)
		if diagnostics.HasErrors() {
			return nil, diagnostics
		}
		if !bytes.Equal(hclwrite.Format(source), source) {
			m.found(hcl.Range{Filename: file, Start: hcl.InitialPos}, "it is not formatted: terraform fmt %s", file)
		}
		body, _ := parsed.Body.(*hclsyntax.Body)
		m.blocks = append(m.blocks, body.Blocks...)
	}
	for _, block := range m.blocks {
		switch block.Type {
		case "variable":
			m.variables[block.Labels[0]] = block
			m.declared["var."+block.Labels[0]] = true
		case "locals":
			for name, attribute := range block.Body.Attributes {
				m.locals[name] = attribute.Expr
				m.declared["local."+name] = true
			}
		case "resource":
			m.declared[block.Labels[0]+"."+block.Labels[1]] = true
		case "module":
			m.declared["module."+block.Labels[0]] = true
		}
	}
	return m, nil
}

func (m *module) found(where hcl.Range, format string, args ...any) {
	m.findings = append(m.findings, fmt.Sprintf("%s:%d: %s", where.Filename, where.Start.Line, fmt.Sprintf(format, args...)))
}

func (m *module) check() {
	for _, block := range m.blocks {
		switch block.Type {
		case "variable":
			m.checkVariable(block)
		case "output":
			if block.Body.Attributes["description"] == nil {
				m.found(block.DefRange(), "output %s has no description", block.Labels[0])
			}
		case "module":
			m.checkCall(block)
		}
		m.checkReferences(block.Body)
	}
}

func (m *module) checkVariable(block *hclsyntax.Block) {
	for _, name := range []string{"description", "type"} {
		if block.Body.Attributes[name] == nil {
			m.found(block.DefRange(), "variable %s has no %s", block.Labels[0], name)
		}
	}
	if t := block.Body.Attributes["type"]; t == nil || hcl.ExprAsKeyword(t.Expr) != "bool" && len(block.Body.Blocks) == 0 {
		m.found(block.DefRange(), "variable %s takes anything: it has no validation", block.Labels[0])
	}
}

// checkReferences looks at everything below a body that is an expression, and not
// only looks like one.
func (m *module) checkReferences(body *hclsyntax.Body) {
	for name, attribute := range body.Attributes {
		if name == "type" || name == "ignore_changes" {
			continue
		}
		for _, traversal := range attribute.Expr.Variables() {
			root := traversal.RootName()
			if root == "each" || root == "path" {
				continue
			}
			to := root
			if len(traversal) > 1 {
				if step, ok := traversal[1].(hcl.TraverseAttr); ok {
					to += "." + step.Name
				}
			}
			if !m.declared[to] {
				m.found(traversal.SourceRange(), "%s is declared nowhere", to)
			}
		}
	}
	for _, block := range body.Blocks {
		m.checkReferences(block.Body)
	}
}

// checkCall compares what a call gives a module of ours with its variables, the
// values too where they are written out.
func (m *module) checkCall(block *hclsyntax.Block) {
	source, diagnostics := block.Body.Attributes["source"].Expr.Value(nil)
	if diagnostics.HasErrors() {
		m.found(block.DefRange(), "module %s: %s", block.Labels[0], diagnostics)
		return
	}
	called, err := load(filepath.Join(m.dir, source.AsString()))
	if err != nil {
		m.found(block.DefRange(), "module %s: %s", block.Labels[0], err)
		return
	}
	for name, attribute := range block.Body.Attributes {
		if name != "source" && called.variables[name] == nil {
			m.found(attribute.SrcRange, "module %s takes no %s", block.Labels[0], name)
		}
	}
	for name, variable := range called.variables {
		if variable.Body.Attributes["default"] == nil && block.Body.Attributes[name] == nil {
			m.found(block.DefRange(), "module %s lacks %s", block.Labels[0], name)
		}
	}
	values := called.defaults()
	for name, attribute := range block.Body.Attributes {
		if value, diagnostics := attribute.Expr.Value(nil); !diagnostics.HasErrors() && called.variables[name] != nil {
			values[name] = value
		}
	}
	for name := range values {
		if complaint := called.refuses(name, values); complaint != "" {
			m.found(block.DefRange(), "module %s does not take this %s: %s", block.Labels[0], name, complaint)
		}
	}
}
