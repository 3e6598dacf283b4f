package main

import (
	"archive/zip"
	"context"
	"crypto/md5"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"

	"spillway/testdata/daemon"
	"spillway/testdata/s3server"
)

// extractScript does what a server does that extracts archives to its disk.
//
//go:embed extract.py
var extractScript string

// extract measures it: in Python, as those servers are, or else a twin of it in
// this process.
func (b *bench) extract(ctx context.Context, server *s3server.Server, w work) (r result, err error) {
	r = b.result(w, extract)
	folder, err := os.MkdirTemp(b.folder, "extract-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	bucket, err := server.MakeBucket(ctx)
	if err != nil {
		return r, err
	}
	disk := watchDisk(folder)
	begun := time.Now()
	python, missing := exec.LookPath("python3")
	if missing != nil {
		var before, after daemon.Usage
		if before, err = daemon.UsageOf(os.Getpid()); err == nil {
			err = extractTwin(ctx, server, bucket, w.Path, folder)
		}
		r.Wall, r.Disk = time.Since(begun).Seconds(), disk.stop()
		if err == nil {
			after, err = daemon.UsageOf(os.Getpid())
		}
		r.CPU = (after.CPU - before.CPU).Seconds()
		return r, err
	}
	cmd := exec.CommandContext(ctx, python, "-W", "ignore", "-c", extractScript, w.Path, folder, server.Endpoint, bucket, server.AccessKey, server.SecretKey)
	out, err := cmd.CombinedOutput()
	r.Wall, r.Disk = time.Since(begun).Seconds(), disk.stop()
	if err != nil {
		return r, fmt.Errorf("%w\n%s", err, out)
	}
	r.CPU = cpuOf(cmd)
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.Peak = u.Maxrss << 10 // getrusage(2)
	}
	return r, nil
}

// extractTwin is the script's twin.
func extractTwin(ctx context.Context, server *s3server.Server, bucket, path, folder string) error {
	spooled := filepath.Join(folder, "upload.zip")
	if err := copyFile(spooled, func() (io.ReadCloser, error) { return os.Open(path) }); err != nil {
		return err
	}
	z, err := zip.OpenReader(spooled)
	if err != nil {
		return err
	}
	defer z.Close()
	for _, f := range z.File {
		to := filepath.Join(folder, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := copyFile(to, f.Open); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(6)
	for _, f := range z.File {
		group.Go(func() error {
			return putFile(ctx, server, bucket, "v1/"+f.Name, filepath.Join(folder, filepath.FromSlash(f.Name)))
		})
	}
	return group.Wait()
}

func copyFile(to string, open func() (io.ReadCloser, error)) error {
	in, err := open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func putFile(ctx context.Context, server *s3server.Server, bucket, key, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := io.Copy(md5.New(), in); err != nil {
		return err
	}
	if strings.HasSuffix(path, ".sym") {
		packed, err := os.Create(path + ".gz")
		if err != nil {
			return err
		}
		defer packed.Close()
		z, err := gzip.NewWriterLevel(packed, gzip.BestCompression)
		if err == nil {
			_, err = in.Seek(0, io.SeekStart)
		}
		if err == nil {
			_, err = io.Copy(z, in)
		}
		if err := errors.Join(err, z.Close()); err != nil {
			return err
		}
		in = packed
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return server.Store(ctx, bucket, key, in)
}
