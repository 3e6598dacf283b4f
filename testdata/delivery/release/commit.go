package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// commit is what a release is made of.
type commit struct {
	folder    string // where it is checked out
	hash      string
	when      time.Time
	version   string // see [versionOf]
	toolchain string // of go.mod, such as go1.26.8
}

// date returns the time of the commit as text, the same in every time zone.
func (c *commit) date() string { return c.when.Format(time.RFC3339) }

// checkedOut returns the commit that is checked out in a folder. Changes that are not
// committed are an error: no one could build the same again.
func checkedOut(ctx context.Context, folder string) (*commit, error) {
	changes, err := git(ctx, folder, "status", "--porcelain", "--untracked-files=all")
	if err != nil {
		return nil, err
	}
	if len(changes) > 0 {
		return nil, fmt.Errorf("%d files differ from the commit. Commit or remove them: %s", len(changes), strings.Join(changes, ", "))
	}
	head, err := git(ctx, folder, "log", "-1", "--format=%H%n%ct")
	if err != nil {
		return nil, err
	}
	seconds, err := strconv.ParseInt(head[1], 10, 64)
	if err != nil {
		return nil, err
	}
	tags, err := git(ctx, folder, "tag", "--points-at", "HEAD")
	if err != nil {
		return nil, err
	}
	c := &commit{folder: folder, hash: head[0], when: time.Unix(seconds, 0).UTC()}
	c.version = versionOf(c.hash, c.when, tags)
	c.toolchain, err = toolchain(filepath.Join(folder, "go.mod"))
	return c, err
}

// versionOf returns the highest version among the tags of a commit. Without one it returns
// the version that the go command gives a commit, which names its time and hash. It looks at
// no other commit, so that a clone without history has the same version.
func versionOf(hash string, when time.Time, tags []string) string {
	version := ""
	for _, tag := range tags {
		if semver.IsValid(tag) && semver.Canonical(tag) == tag && semver.Compare(tag, version) > 0 {
			version = tag
		}
	}
	if version == "" {
		version = module.PseudoVersion("v0", "", when, hash[:12])
	}
	return version
}

// toolchain returns the Go version that a go.mod file pins.
func toolchain(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	m, err := modfile.Parse(path, data, nil)
	if err != nil {
		return "", err
	}
	if m.Toolchain == nil {
		return "", fmt.Errorf("%s has no toolchain line", path)
	}
	return m.Toolchain.Name, nil
}

// build builds the program. Nothing in the binary comes from this machine, its folders or
// the time. The version is stamped by the linker: the go command would stamp what it finds in
// .git, which a clone without history lacks.
func (c *commit) build(ctx context.Context, binary string, p platform) error {
	stamp := fmt.Sprintf("-s -w -X spillway/serve.version=%s -X spillway/serve.commit=%s -X spillway/serve.build=%s", c.version, c.hash, c.date())
	_, err := c.golang(ctx, p, "build", "-trimpath", "-buildvcs=false", "-ldflags", stamp, "-o", binary, ".")
	return err
}

// golang runs the go command for a platform. It returns what the command prints.
func (c *commit) golang(ctx context.Context, p platform, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = c.folder
	cmd.Env = append(os.Environ(),
		"GOOS="+p.system, "GOARCH="+p.processor, "GOTOOLCHAIN="+c.toolchain, "CGO_ENABLED=0",
		// What else changes the code that is generated, whatever `go env -w` has set.
		"GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOFIPS140=off", "GOAMD64=v1", "GOARM64=v8.0",
	)
	return output(cmd)
}

// documents returns the files of the commit that go into each archive.
func (c *commit) documents(ctx context.Context) ([]file, error) {
	lines, err := git(ctx, c.folder, "ls-files", "--stage", "--", "CHANGELOG.md", "LICENSE", "README.md", "deploy", "docs")
	if err != nil {
		return nil, err
	}
	var files []file
	for _, line := range lines {
		attributes, name, _ := strings.Cut(line, "\t")
		data, err := os.ReadFile(filepath.Join(c.folder, name))
		if err != nil {
			return nil, err
		}
		f := file{name: name, mode: 0o644, data: data}
		if strings.HasPrefix(attributes, "100755 ") {
			f.mode = 0o755
		}
		files = append(files, f)
	}
	return files, nil
}

// git runs a git command in a folder and returns the lines that it prints.
func git(ctx context.Context, folder string, args ...string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", folder, "-c", "core.quotePath=false"}, args...)...)
	out, err := output(cmd)
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"), nil
}

// output runs a command and returns what it prints. What it prints to its standard error
// is in the error.
func output(cmd *exec.Cmd) ([]byte, error) {
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s: %w: %s", cmd, err, bytes.TrimSpace(failed.Stderr))
	}
	return out, err
}
