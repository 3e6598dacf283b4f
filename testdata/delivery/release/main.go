// Command release makes a release of the commit that is checked out: static binaries for
// each platform in archives, bills of materials, root certificates for the container image,
// and checksums. The same commit gives the same bytes, wherever and whenever it is built.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// platforms are the systems and processors that releases are for.
var platforms = []platform{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}}

type platform struct{ system, processor string }

// String returns the platform as names of files have it.
func (p platform) String() string { return p.system + "-" + p.processor }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	source := flags.String("source", ".", "the `folder` of the repository")
	out := flags.String("out", "dist", "the `folder` for the release, which must be empty or new")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return release(ctx, *source, *out, platforms, stdout)
}

// release makes a release of the commit that is checked out in source. It writes to stdout
// what it has made.
func release(ctx context.Context, source, out string, platforms []platform, stdout io.Writer) error {
	c, err := checkedOut(ctx, source)
	if err != nil {
		return err
	}
	if runtime.Version() != c.toolchain {
		return fmt.Errorf("this is %s, and go.mod pins %s: other versions give other bytes. Set GOTOOLCHAIN=%s", runtime.Version(), c.toolchain, c.toolchain)
	}
	if err := makeEmpty(out); err != nil {
		return err
	}
	for _, p := range platforms {
		if err := c.pack(ctx, out, p); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	if err := os.WriteFile(filepath.Join(out, "ca-certificates.crt"), rootCertificates(), 0o644); err != nil {
		return err
	}
	sums, err := checksums(out)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "SHA256SUMS"), []byte(sums), 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "spillway %s, commit %s of %s\n%s", c.version, c.hash, c.date(), sums)
	return err
}

// makeEmpty makes a folder, or accepts one that is empty.
func makeEmpty(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(folder)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s is not empty", folder)
	}
	return err
}

// pack builds the program for a platform, and writes its archive and its bill of materials.
func (c *commit) pack(ctx context.Context, out string, p platform) error {
	work, err := os.MkdirTemp("", "spillway-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	binary := filepath.Join(work, "spillway")
	if err := c.build(ctx, binary, p); err != nil {
		return err
	}
	parts, err := c.parts(ctx, p)
	if err != nil {
		return err
	}
	documents, err := c.documents(ctx)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("spillway-%s-%s", c.version, p)
	files := append(documents,
		file{name: "spillway", mode: 0o755, data: program},
		file{name: "NOTICE", mode: 0o644, data: []byte(notice(c.version, parts))},
	)
	archive, err := c.archive(name, files)
	if err != nil {
		return err
	}
	bill, err := c.bill(binary, parts, p)
	if err != nil {
		return err
	}
	for suffix, data := range map[string][]byte{".tar.gz": archive, ".cdx.json": bill} {
		if err := os.WriteFile(filepath.Join(out, name+suffix), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// checksums returns the SHA-256 of each file in a folder, as sha256sum writes them.
func checksums(folder string) (string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", err
	}
	var lines []string
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return "", err
		}
		lines = append(lines, fmt.Sprintf("%s  %s\n", digest(data), e.Name()))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[64:], b[64:]) })
	return strings.Join(lines, ""), nil
}
