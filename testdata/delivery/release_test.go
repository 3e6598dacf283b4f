//go:build delivery

package delivery

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// clone clones the commit that is checked out into a new folder, which it returns. Some
// tests have no history (depth 1), as most builders.
func clone(t *testing.T, folder string, options ...string) string {
	t.Helper()
	root := strings.TrimSpace(output(t, "git", "rev-parse", "--show-toplevel"))
	output(t, "git", slices.Concat([]string{"clone", "-q"}, options, []string{"file://" + root, folder})...)
	return folder
}

// output runs a command and returns what it prints. The test fails if the command does.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	c := exec.CommandContext(context.WithoutCancel(t.Context()), name, args...) // also in cleanups
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", c, err, out, &stderr)
	}
	return string(out)
}

// makeIn runs make in a folder.
func makeIn(t *testing.T, folder string, variables []string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "make", append([]string{"-C", folder}, args...)...)
	c.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") }), variables...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", c, err, out)
	}
}

// files returns the files of a folder by name.
func files(t *testing.T, folder string) map[string]string {
	t.Helper()
	all := map[string]string{}
	paths, err := filepath.Glob(folder + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(path)] = string(data)
	}
	return all
}

// TestReleaseTwice makes the release in two clones: one with history and the build cache of
// this machine, the other without both. The files are the same.
func TestReleaseTwice(t *testing.T) {
	first := clone(t, filepath.Join(t.TempDir(), "first"))
	makeIn(t, first, nil, "release")
	second := clone(t, filepath.Join(t.TempDir(), "another", "place"), "--depth=1")
	makeIn(t, second, []string{"GOCACHE=" + t.TempDir(), "TZ=Asia/Tokyo", "LC_ALL=C"}, "release")

	one, two := files(t, filepath.Join(first, "dist")), files(t, filepath.Join(second, "dist"))
	names := slices.Sorted(maps.Keys(one))
	if !slices.Equal(names, slices.Sorted(maps.Keys(two))) || len(names) != 10 {
		t.Fatalf("the releases have %q and %q", names, slices.Sorted(maps.Keys(two)))
	}
	for _, name := range names {
		t.Logf("%9d bytes: %s", len(one[name]), name)
		if one[name] != two[name] {
			t.Errorf("%s differs", name)
		}
	}

	sums := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	sums.Dir = filepath.Join(first, "dist")
	if out, err := sums.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", sums, err, out)
	}
	archives, err := filepath.Glob(filepath.Join(first, "dist", "spillway-*-"+runtime.GOOS+"-"+runtime.GOARCH+".tar.gz"))
	if err != nil || len(archives) != 1 {
		t.Fatalf("archives for this machine: %q, %v", archives, err)
	}
	unpacked := t.TempDir()
	output(t, "tar", "-xzf", archives[0], "-C", unpacked, "--strip-components=1")
	said := output(t, filepath.Join(unpacked, "spillway"), "version")
	commit := strings.TrimSpace(output(t, "git", "-C", first, "rev-parse", "HEAD"))
	version := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(archives[0]), "spillway-"), "-"+runtime.GOOS+"-"+runtime.GOARCH+".tar.gz")
	if !strings.HasPrefix(said, "spillway "+version+" commit "+commit+" build 2") {
		t.Errorf("the program says %q, want version %s and commit %s", said, version, commit)
	}
}
