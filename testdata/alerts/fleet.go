package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/s3fault"
	"spillway/testdata/s3server"
)

// fleet is what runs besides Prometheus.
type fleet struct {
	folder  string
	binary  string
	store   *s3server.Server
	bucket  string
	running []*daemon.Daemon
	closers []func() error
}

// close ends all, the last first.
func (f *fleet) close() error {
	var errs []error
	for _, c := range slices.Backward(f.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

func (f *fleet) atEnd(do func() error) { f.closers = append(f.closers, do) }

// addresses returns where the instances have their metrics.
func (f *fleet) addresses() (all []string) {
	for _, d := range f.running {
		all = append(all, address(d))
	}
	return all
}

// subfolder returns a new folder.
func (f *fleet) subfolder(name string) (string, error) {
	path := filepath.Join(f.folder, name)
	return path, os.Mkdir(path, 0o700)
}

// start starts an instance with the S3 server of --dev, and with args.
func (f *fleet) start(ctx context.Context, name string, args ...string) (*daemon.Daemon, error) {
	return f.launch(ctx, name, nil, append([]string{"--dev", "--dev-s3-listen=127.0.0.1:0"}, args...))
}

// launch starts an instance with a spill folder of its own, unless args name one.
func (f *fleet) launch(ctx context.Context, name string, env, args []string) (*daemon.Daemon, error) {
	spill, err := f.subfolder(name)
	if err != nil {
		return nil, err
	}
	args = append([]string{"--log-format=json", "--listen=127.0.0.1:0", "--spill-min-free=0", "--spill-dir=" + spill}, args...)
	d, err := daemon.Start(ctx, f.binary, env, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f.atEnd(d.Close)
	f.running = append(f.running, d)
	return d, nil
}

// startBehind starts an instance that reaches S3 through a proxy of its own.
func (f *fleet) startBehind(ctx context.Context, name string, args ...string) (*daemon.Daemon, *s3fault.Proxy, error) {
	proxy, err := s3fault.NewProxy(f.store.Endpoint)
	if err != nil {
		return nil, nil, err
	}
	front := httptest.NewServer(proxy)
	f.atEnd(func() error { front.CloseClientConnections(); front.Close(); return nil })
	d, err := f.launch(ctx, name, f.credentials(), append([]string{"--dev", "--s3-endpoint=" + front.URL, "--s3-bucket=" + f.bucket}, args...))
	return d, proxy, err
}

// startWithTokens starts an instance without --dev, whose only tokens are those of a file.
func (f *fleet) startWithTokens(ctx context.Context, name, file string, args ...string) (*daemon.Daemon, error) {
	return f.launch(ctx, name, f.credentials(), append([]string{
		"--s3-endpoint=" + f.store.Endpoint, "--s3-path-style", "--s3-region=" + s3server.Region, "--s3-bucket=" + f.bucket, "--tokens-file=" + file,
	}, args...))
}

func (f *fleet) credentials() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + f.store.AccessKey, "AWS_SECRET_ACCESS_KEY=" + f.store.SecretKey}
}

// isProbe reports whether a call to S3 is one of a probe.
func isProbe(call string) bool { return strings.Contains(call, ".spillway-probe") }

// upload sends an ordinary archive and returns the status of the answer.
func upload(ctx context.Context, d *daemon.Daemon, seed uint64) (int, error) {
	a, err := client.SendWhole(ctx, d.API, "dev", archive.PythonZipfile(archive.Samples(seed)...))
	return a.Status, err
}

// stall sends an archive but for its last percent until the returned function is called, which
// returns once the upload has ended.
func stall(ctx context.Context, d *daemon.Daemon, zip []byte) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	body, w := io.Pipe()
	var sending sync.WaitGroup
	sending.Go(func() {
		_, _ = io.Copy(w, bytes.NewReader(zip[:len(zip)*99/100]))
		<-ctx.Done()
		_ = w.CloseWithError(context.Canceled)
	})
	sending.Go(func() { _, _ = client.Send(ctx, d.API, "dev", body) }) // it ends with ctx
	return func() {
		cancel()
		_ = body.CloseWithError(context.Canceled) // whoever still writes: Send reads no more
		sending.Wait()
	}
}

// load has instances take uploads of all kinds until the returned function is called. An upload
// that is not stored is an error.
func (f *fleet) load(ctx context.Context, healthy []*daemon.Daemon) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	needsDisk := archive.NeedsDisk(1, 4<<20).Bytes()
	var loading sync.WaitGroup
	errs := make([]error, len(healthy))
	for i, d := range healthy {
		loading.Go(func() {
			for n := uint64(0); ctx.Err() == nil && errs[i] == nil; n++ {
				zip := needsDisk
				if n%5 > 0 {
					zip = archive.PythonZipfile(archive.Samples(n % 7)...)
				}
				a, err := client.SendWhole(ctx, d.API, "dev", zip)
				if ctx.Err() == nil && (err != nil || a.Status != 201) {
					errs[i] = fmt.Errorf("a healthy instance: %+v, error %w", a, err)
				}
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
				}
			}
		})
	}
	return func() error { cancel(); loading.Wait(); return errors.Join(errs...) }
}
