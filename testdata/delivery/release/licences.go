package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// part is a module that the program contains, or Go's standard library.
type part struct {
	path, version string
	texts         []string // of its licences and notices
	licences      []string // their SPDX identifiers
}

// standardLibrary is the path of Go's standard library, as databases of vulnerabilities have
// it.
const standardLibrary = "stdlib"

var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([.-].*)?$`)

// licences tells licences by sentences that only they have. Wording that many share, such
// as the disclaimer of the BSD licences, is no sign.
var licences = []struct {
	id    string
	signs []string
}{
	{"Apache-2.0", []string{"apache license version 2.0, january 2004"}},
	{"BSD-3-Clause", []string{"redistributions of source code must retain the above copyright", "neither the name of"}},
	{"MIT", []string{"permission is hereby granted, free of charge, to any person obtaining a copy", "the above copyright notice and this permission notice shall be included in all copies"}},
}

// parts returns what the program for a platform contains, sorted by path, with the licences
// of the packages that it uses.
func (c *commit) parts(ctx context.Context, p platform) ([]part, error) {
	const format = `{{if .Standard}}` + standardLibrary + `{{else if not .Module.Main}}{{.Module.Path}}{{"\t"}}{{.Module.Version}}{{"\t"}}{{.Module.Dir}}{{"\t"}}{{.Dir}}{{end}}`
	out, err := c.golang(ctx, p, "list", "-deps", "-f", format, ".")
	if err != nil {
		return nil, err
	}
	root, err := c.golang(ctx, p, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	goroot := strings.TrimSpace(string(root))
	var all []part
	folders := map[string][]string{} // of the packages, by the module's path
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch fields[0] {
		case "": // the program's own
			continue
		case standardLibrary:
			fields = []string{standardLibrary, strings.TrimPrefix(c.toolchain, "go"), goroot, goroot}
		}
		path := fields[0]
		if folders[path] == nil {
			all = append(all, part{path: path, version: fields[1]})
		}
		for folder := fields[3]; !slices.Contains(folders[path], folder); folder = filepath.Dir(folder) {
			folders[path] = append(folders[path], folder)
			if folder == fields[2] {
				break
			}
		}
	}
	slices.SortFunc(all, func(a, b part) int { return strings.Compare(a.path, b.path) })
	for i := range all {
		if err := all[i].readLicences(folders[all[i].path]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// readLicences reads the licences in folders. It is an error if there is none that is known:
// somebody has to look whether Spillway may contain that part.
func (p *part) readLicences(folders []string) error {
	slices.Sort(folders)
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Type() != 0 && e.Type() != fs.ModeSymlink || !licenceFile.MatchString(e.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(folder, e.Name()))
			if err != nil {
				return err
			}
			p.texts = append(p.texts, string(text))
			for _, id := range identify(string(text)) {
				if !slices.Contains(p.licences, id) {
					p.licences = append(p.licences, id)
				}
			}
		}
	}
	if len(p.licences) == 0 {
		return fmt.Errorf("%s %s has no licence that testdata/delivery/release knows: see whether Spillway may contain it", p.path, p.version)
	}
	slices.Sort(p.licences)
	return nil
}

// identify returns the licences that a text contains.
func identify(text string) []string {
	words := strings.ToLower(strings.Join(strings.Fields(text), " "))
	var found []string
	for _, l := range licences {
		if !slices.ContainsFunc(l.signs, func(sign string) bool { return !strings.Contains(words, sign) }) {
			found = append(found, l.id)
		}
	}
	return found
}

// notice returns the licences and notices of all parts, each text once.
func notice(version string, parts []part) string {
	var texts []string
	owners := map[string][]string{} // by text
	for _, p := range parts {
		for _, text := range p.texts {
			if owners[text] == nil {
				texts = append(texts, text)
			}
			if owner := p.path + " " + p.version; !slices.Contains(owners[text], owner) {
				owners[text] = append(owners[text], owner)
			}
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "Spillway %s is under the Apache License 2.0: see the file LICENSE. The program contains\nthe work of others, under the licences below.\n", version)
	for _, text := range texts {
		fmt.Fprintf(&out, "\n%s\n%s\n\n%s\n", strings.Repeat("=", 80), strings.Join(owners[text], "\n"), strings.TrimSpace(text))
	}
	return out.String()
}
