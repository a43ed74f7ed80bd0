// Zlint runs the lints of the RFCs and of the community over certificates and
// revocation lists: it reads PEM files and directories of them, prints every
// finding above a notice, and exits 1 where there is one. The lints of the public
// web's and browsers' programmes are left out: they ask of a CA what a private one
// can not have, as certificate transparency.
package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "zlint: name PEM files or directories of them")
		os.Exit(2)
	}
	findings, linted, err := run(os.Stdout, os.Args[1:])
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "zlint:", err)
		os.Exit(1)
	case linted == 0: // fails closed: what was not looked at is not good
		fmt.Fprintln(os.Stderr, "zlint: there is nothing to lint")
		os.Exit(1)
	}
	fmt.Printf("zlint: %d certificates and lists, %d findings\n", linted, findings)
	if findings > 0 {
		os.Exit(1)
	}
}

// run lints every block of every file and returns how many findings and how many
// blocks there were.
func run(out io.Writer, paths []string) (findings, linted int, err error) {
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{IncludeSources: lint.SourceList{
		lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6962, lint.RFC8813, lint.Community,
	}})
	if err != nil {
		return 0, 0, err
	}
	for _, path := range paths {
		err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			for {
				var block *pem.Block
				if block, data = pem.Decode(data); block == nil {
					break
				}
				result, err := lintBlock(block, registry)
				if err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				linted++
				findings += report(out, file, result)
			}
			if len(bytes.TrimSpace(data)) > 0 {
				return fmt.Errorf("%s has something that is not PEM", file)
			}
			return nil
		})
		if err != nil {
			return findings, linted, err
		}
	}
	return findings, linted, nil
}

func lintBlock(block *pem.Block, registry lint.Registry) (*zlint.ResultSet, error) {
	switch block.Type {
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return zlint.LintCertificateEx(cert, registry), nil
	case "X509 CRL":
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		return zlint.LintRevocationListEx(list, registry), nil
	}
	return nil, fmt.Errorf("a %q is nothing to lint", block.Type)
}

// report prints what is a warning or worse.
func report(out io.Writer, file string, result *zlint.ResultSet) (findings int) {
	for name, finding := range result.Results {
		if finding.Status >= lint.Warn {
			findings++
			_, _ = fmt.Fprintf(out, "%s: %s: %s %s\n", file, finding.Status, name, finding.Details)
		}
	}
	return findings
}
