package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"debug/buildinfo"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// here is the platform of this machine.
var here = platform{runtime.GOOS, runtime.GOARCH}

// commitTime is when the commits of the tests were made.
const commitTime = "2026-03-01T12:30:00+02:00"

// sources are the files of a small program that is released as Spillway is. It has one
// module beside it, whose licence the program has to carry.
var sources = map[string]string{
	"go.mod": "module spillway\n\ngo 1.26.0\n\ntoolchain " + runtime.Version() + "\n\n" +
		"require example.com/small v1.2.3\n\nreplace example.com/small v1.2.3 => ./small\n",
	"small/go.mod":          "module example.com/small\n\ngo 1.26.0\n",
	"small/LICENSE":         "Redistributions of source code must retain the above\ncopyright notice.\nNeither the name of nobody.\n",
	"small/deep/deep.go":    "package deep\n\nconst Word = \"deep\"\n",
	"small/deep/COPYING":    "Permission is hereby granted, free of charge, to any person obtaining a copy. The above copyright notice and this permission notice shall be included in all\ncopies.\n",
	"small/other/LICENSE":   "of a package that the program does not use\n",
	"main.go":               "package main\n\nimport (\n\t\"example.com/small/deep\"\n\n\t\"spillway/serve\"\n)\n\nfunc main() { println(serve.Text(), deep.Word) }\n",
	"serve/version.go":      "package serve\n\nvar version, commit, build string\n\nfunc Text() string { return version + \" \" + commit + \" \" + build }\n",
	".gitignore":            "/dist/\n",
	"LICENSE":               "licence\n",
	"README.md":             "read me\n",
	"CHANGELOG.md":          "changes\n",
	"docs/design.md":        "design\n",
	"deploy/start\u00fc.sh": "#!/bin/sh\n",
}

// repository makes a repository of sources with one commit and tags, and returns its folder.
func repository(t *testing.T, tags ...string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range sources {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o600) // git keeps who may execute a file, and nothing else
		if strings.HasSuffix(name, ".sh") {
			mode = 0o700
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	mustGit(t, folder, "init", "-q")
	mustGit(t, folder, "add", ".")
	mustGit(t, folder, "commit", "-q", "-m", "first")
	for _, tag := range tags {
		mustGit(t, folder, "tag", tag)
	}
	return folder
}

func mustGit(t *testing.T, folder string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", folder, "-c", "user.name=x", "-c", "user.email=x@example.com"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_DATE="+commitTime, "GIT_COMMITTER_DATE="+commitTime)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// makeRelease makes a release and returns its files by name.
func makeRelease(t *testing.T, source string, platforms ...platform) map[string]string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "dist")
	if err := release(t.Context(), source, out, platforms, io.Discard); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(out, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}

// TestSameBytesTwice: another folder, another time zone, an
// empty build cache, other settings of Go and no history change nothing.
func TestSameBytesTwice(t *testing.T) {
	origin := repository(t, "v1.2.3")
	first := makeRelease(t, origin, here)

	clone := filepath.Join(t.TempDir(), "another folder", "clone")
	mustGit(t, t.TempDir(), "clone", "-q", "--depth=1", "file://"+origin, clone)
	t.Setenv("GOCACHE", t.TempDir())
	t.Setenv("GOFLAGS", "-tags=other")
	local := time.Local
	time.Local = time.FixedZone("elsewhere", 9*60*60)
	t.Cleanup(func() { time.Local = local })
	second := makeRelease(t, clone, here)

	if names := slices.Sorted(maps.Keys(second)); !slices.Equal(names, slices.Sorted(maps.Keys(first))) || len(names) != 4 {
		t.Fatalf("the second release has %q", names)
	}
	for name := range first {
		if first[name] != second[name] {
			t.Errorf("%s differs", name)
		}
	}
}

func TestArchive(t *testing.T) {
	source := repository(t, "v1.2.3")
	name := "spillway-v1.2.3-" + here.String()
	files := makeRelease(t, source, here)
	compressed, err := gzip.NewReader(strings.NewReader(files[name+".tar.gz"]))
	if err != nil {
		t.Fatal(err)
	}
	if compressed.Name != "" || !compressed.ModTime.IsZero() {
		t.Errorf("the gzip header has the name %q and the time %v", compressed.Name, compressed.ModTime)
	}
	when, err := time.Parse(time.RFC3339, commitTime)
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	contents := map[string][]byte{}
	for archive := tar.NewReader(compressed); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(when) || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s: time %v, owner %d:%d %q:%q", h.Name, h.ModTime, h.Uid, h.Gid, h.Uname, h.Gname)
		}
		file := strings.TrimPrefix(h.Name, name+"/")
		listed = append(listed, fmt.Sprintf("%o %s", h.Mode, file))
		if contents[file], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{
		"644 CHANGELOG.md", "644 LICENSE", "644 NOTICE", "644 README.md", "755 deploy/start\u00fc.sh", "644 docs/design.md", "755 spillway",
	}; !slices.Equal(listed, want) {
		t.Errorf("the archive has\n%q, want\n%q", listed, want)
	}
	for part, there := range map[string]bool{
		"example.com/small v1.2.3\n\nRedistributions of source": true,
		"example.com/small v1.2.3\n\nPermission is hereby":      true,
		"The Go Authors": true,
		"of a package that the program does not use": false,
	} {
		if strings.Contains(string(contents["NOTICE"]), part) != there {
			t.Errorf("NOTICE has %q: %t, want %t", part, !there, there)
		}
	}

	program := filepath.Join(t.TempDir(), "spillway")
	if err := os.WriteFile(program, contents["spillway"], 0o700); err != nil {
		t.Fatal(err)
	}
	head, err := git(t.Context(), source, "rev-parse", "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), program).CombinedOutput()
	if want := "v1.2.3 " + head[0] + " 2026-03-01T10:30:00Z deep\n"; err != nil || string(said) != want {
		t.Errorf("the program says %q, want %q: %v", said, want, err)
	}
	if bytes.Contains(contents["spillway"], []byte(source)) {
		t.Error("the program contains the path of its sources")
	}
}

// TestBill compares the bill of materials with what the binary says of itself.
func TestBill(t *testing.T) {
	source := repository(t, "v1.2.3")
	c, err := checkedOut(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	serials := map[string]bool{}
	for _, p := range []platform{here, {"linux", "riscv64"}} {
		binary := filepath.Join(t.TempDir(), "spillway")
		if err := c.build(t.Context(), binary, p); err != nil {
			t.Fatal(err)
		}
		parts, err := c.parts(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := c.bill(binary, parts, p)
		if err != nil {
			t.Fatal(err)
		}
		var bom cdx.BOM
		if err := cdx.NewBOMDecoder(bytes.NewReader(encoded), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
			t.Fatal(err)
		}
		info, err := buildinfo.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"stdlib " + strings.TrimPrefix(info.GoVersion, "go") + " [BSD-3-Clause]", "example.com/small v1.2.3 [BSD-3-Clause MIT]"}
		var got []string
		for _, b := range *bom.Components {
			var ids []string
			for _, l := range *b.Licenses {
				ids = append(ids, l.License.ID)
			}
			got = append(got, fmt.Sprint(b.Name, " ", b.Version, " ", ids))
		}
		if !slices.Equal(got, want) || len(info.Deps) != 1 {
			t.Errorf("the bill has %q, want %q", got, want)
		}
		program, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		main := bom.Metadata.Component
		if hash := (*main.Hashes)[0].Value; hash != digest(program) || main.Version != "v1.2.3" || bom.Metadata.Timestamp != "2026-03-01T10:30:00Z" {
			t.Errorf("the bill is of version %s, digest %s, time %s", main.Version, hash, bom.Metadata.Timestamp)
		}
		if serials[bom.SerialNumber] {
			t.Errorf("two bills have the serial number %s", bom.SerialNumber)
		}
		serials[bom.SerialNumber] = true
	}
}

func TestChecksums(t *testing.T) {
	files := makeRelease(t, repository(t), here)
	var want strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name != "SHA256SUMS" {
			fmt.Fprintf(&want, "%s  %s\n", digest([]byte(files[name])), name)
		}
	}
	if files["SHA256SUMS"] != want.String() {
		t.Errorf("SHA256SUMS has\n%swant\n%s", files["SHA256SUMS"], &want)
	}
}

func TestRefusals(t *testing.T) {
	write := func(name, text string) func(t *testing.T, folder string) {
		return func(t *testing.T, folder string) {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	commit := func(name, text string) func(t *testing.T, folder string) {
		return func(t *testing.T, folder string) {
			write(name, text)(t, folder)
			mustGit(t, folder, "add", ".")
			mustGit(t, folder, "commit", "-q", "-m", "second")
		}
	}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, folder string)
		want   string // in the error
	}{
		{"a changed file", write("main.go", "package main\n"), "1 files differ from the commit. Commit or remove them:  M main.go"},
		{"a new file", write("serve/new.go", "package serve\n"), "?? serve/new.go"},
		{"a removed file", func(t *testing.T, folder string) {
			if err := os.Remove(filepath.Join(folder, "README.md")); err != nil {
				t.Fatal(err)
			}
		}, " D README.md"},
		{"no toolchain", commit("go.mod", "module spillway\n\ngo 1.26.0\n"), "has no toolchain line"},
		{"another toolchain", commit("go.mod", "module spillway\n\ngo 1.26.0\n\ntoolchain go1.26.1\n"), "Set GOTOOLCHAIN=go1.26.1"},
		{"no known licence", func(t *testing.T, folder string) {
			commit("small/LICENSE", "All rights reserved.\n")(t, folder)
			commit("small/deep/COPYING", "All rights reserved.\n")(t, folder)
		}, "example.com/small v1.2.3 has no licence that testdata/delivery/release knows"},
		{"no repository", func(t *testing.T, folder string) {
			if err := os.RemoveAll(filepath.Join(folder, ".git")); err != nil {
				t.Fatal(err)
			}
		}, "not a git repository"},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := repository(t)
			c.change(t, folder)
			err := release(t.Context(), folder, filepath.Join(t.TempDir(), "dist"), []platform{here}, io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	t.Run("a release that is there", func(t *testing.T) {
		out := t.TempDir()
		write("old", "")(t, out)
		if err := release(t.Context(), repository(t), out, nil, io.Discard); err == nil || !strings.Contains(err.Error(), "is not empty") {
			t.Errorf("error %v", err)
		}
	})
}

func TestVersions(t *testing.T) {
	const hash = "0123456789abcdef0123456789abcdef01234567"
	const none = "v0.0.0-20260301103000-0123456789ab"
	when := time.Date(2026, 3, 1, 10, 30, 0, 0, time.UTC)
	for _, c := range []struct {
		tags []string
		want string
	}{
		{nil, none},
		{[]string{"v1.2.3"}, "v1.2.3"},
		{[]string{"v1.9.0", "v1.10.0", "v1.10.0-rc.1"}, "v1.10.0"},
		{[]string{"v2.0.0-rc.1"}, "v2.0.0-rc.1"},
		{[]string{"1.2.3", "release", "v1", "v1.2", "v1.2.3+build"}, none},
	} {
		if got := versionOf(hash, when, c.tags); got != c.want {
			t.Errorf("%q: %s, want %s", c.tags, got, c.want)
		}
	}
}

// TestRootCertificates: the roots are certificates that are valid today, Amazon's among them.
func TestRootCertificates(t *testing.T) {
	count, amazon := 0, false
	for rest := rootCertificates(); ; count++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if !root.IsCA || time.Now().After(root.NotAfter) {
			t.Errorf("%s: CA: %t, valid until %v: update golang.org/x/crypto/x509roots/fallback", root.Subject, root.IsCA, root.NotAfter)
		}
		amazon = amazon || root.Subject.CommonName == "Amazon Root CA 1"
	}
	if count < 100 || !amazon {
		t.Errorf("there are %d roots, and Amazon's: %t", count, amazon)
	}
}

// TestEveryLicenceIsKnown: a module that comes to Spillway with an unknown licence fails here,
// and not only when the next release is made.
func TestEveryLicenceIsKnown(t *testing.T) {
	const root = "../../.."
	pinned, err := toolchain(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	c := &commit{folder: root, toolchain: pinned}
	for _, p := range platforms {
		if parts, err := c.parts(t.Context(), p); err != nil || len(parts) < 20 {
			t.Errorf("%s: %d parts, error %v", p, len(parts), err)
		}
	}
}
