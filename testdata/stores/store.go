package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"

	"spillway/testdata/daemon"
	"spillway/testdata/s3quirk"
	"spillway/testdata/s3server"
)

// store is a kind of S3 server, perhaps behind a proxy that makes it behave as another.
type store struct {
	name   string
	kind   s3server.Kind
	quirks []s3quirk.Quirk // of the proxy; none: there is no proxy
	flags  []string        // that Spillway needs with this store

	// faults says by feature what the store does wrong. Such a feature must fail.
	faults map[string]fault
}

// fault is what a store does wrong with a feature.
type fault struct {
	says  string // for the table
	error string // part of the error that it leads to
}

// stores returns the stores that can be had here.
func stores() []store {
	var all []store
	for _, k := range append(s3server.Kinds(), s3server.Faulty()...) {
		s := store{name: k.Name, kind: k, flags: flags[k.Name], faults: faults[k.Name]}
		for _, f := range s.flags {
			s.name += ", `" + f + "`"
		}
		all = append(all, s)
	}
	return append(all, imitations...)
}

// flags are what Spillway needs with real servers.
var flags = map[string][]string{"rclone serve s3": {"--s3-verify"}}

// faults are those of real servers.
var faults = map[string]map[string]fault{
	"versitygw over Azurite": {
		"heartbeat":      {"500: says that objects are lost", "not there after it was written"},
		"refused":        {"the abort deletes the object that was there", "visible: []"},
		"small":          expanded,
		"large":          expanded,
		"skip":           expanded,
		"kill and sweep": expanded,
	},
}

// expanded: the gateway's client of Azure expands gzip bodies that are read, and drops
// their Content-Encoding.
var expanded = fault{"ok, but reads return `.sym` without gzip", `Content-Type "text/plain", Content-Encoding ""`}

// imitations are proxies before versitygw.
var imitations = []store{
	{name: "a front end that adds to `Accept-Encoding`, as Google's", quirks: []s3quirk.Quirk{s3quirk.Google()}},
	{name: "refuses all checksums with 400, as Backblaze B2", quirks: []s3quirk.Quirk{s3quirk.NoChecksums(false)}},
	{name: "refuses all checksums with 501", quirks: []s3quirk.Quirk{s3quirk.NoChecksums(true)}},
	{name: "refuses checksums of whole objects, as Cloudflare R2", quirks: []s3quirk.Quirk{s3quirk.PartChecksums()}},
	{name: "ignores checksums", quirks: []s3quirk.Quirk{s3quirk.IgnoresChecksums()}},
	{name: "no ETag of completed uploads, hyphens in metadata", quirks: []s3quirk.Quirk{s3quirk.RadosGW()}},
	{name: "nginx with its defaults in front of it", quirks: []s3quirk.Quirk{s3quirk.Nginx()}, faults: map[string]fault{
		"heartbeat":      {"500: says what nginx drops", "underscores_in_headers"},
		"checksum":       {"–", "says nothing"},
		"small":          dropped,
		"large":          dropped,
		"skip":           dropped,
		"refused":        dropped,
		"kill and sweep": dropped,
	}},
}

// dropped: nginx drops headers with underscores in their names, so the metadata.
var dropped = fault{"503: metadata is lost", "status 503"}

// trial is a running store.
type trial struct {
	store
	version string
	binary  string // Spillway
	folder  string // for spill files

	server   *s3server.Server
	proxy    *s3quirk.Proxy
	front    *httptest.Server // of the proxy
	endpoint string           // for Spillway
}

// start starts a store. The caller closes the trial.
func start(ctx context.Context, binary string, s store) (t *trial, err error) {
	t = &trial{store: s, binary: binary}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if len(s.quirks) > 0 {
		t.kind = s3server.Versitygw
	}
	if t.version, err = t.kind.Version(); err != nil {
		return nil, err
	}
	if t.folder, err = os.MkdirTemp("", "spillway-stores-"); err != nil {
		return nil, err
	}
	if t.server, err = t.kind.New(ctx); err != nil {
		return nil, err
	}
	t.endpoint = t.server.Endpoint
	if len(s.quirks) > 0 {
		t.version = "fake"
		if t.proxy, err = s3quirk.NewProxy(t.endpoint, s.quirks...); err != nil {
			return nil, err
		}
		t.front = httptest.NewServer(t.proxy)
		t.endpoint = t.front.URL
	}
	return t, nil
}

func (t *trial) close() error {
	var errs []error
	if t.front != nil {
		t.front.Close()
		t.proxy.Close()
	}
	if t.server != nil {
		errs = append(errs, t.server.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(t.folder))...)
}

// try tries a feature and returns what the table says of it. The error says that it does
// not work, or that it works although the store has a fault.
func (t *trial) try(ctx context.Context, f feature) (cell string, err error) {
	ctx, cancel := context.WithTimeout(ctx, featureTimeout)
	defer cancel()
	bucket, err := t.server.MakeBucket(ctx)
	if err != nil {
		return "", err
	}
	cell, err = f.try(ctx, &run{trial: t, bucket: bucket})
	known, faulty := t.faults[f.name]
	switch {
	case !faulty:
		return cell, err
	case err == nil:
		return "", fmt.Errorf("works, although the store is said to have a fault: %s", known.says)
	case !strings.Contains(err.Error(), known.error):
		return "", err
	}
	return known.says, nil
}

// run is a trial of one feature, in a bucket of its own.
type run struct {
	*trial
	bucket string
}

// spillway starts Spillway and asks for its heartbeat, as a load balancer does before it
// sends uploads. The caller closes it.
func (r *run) spillway(ctx context.Context, args ...string) (*daemon.Daemon, error) {
	args = append([]string{
		"--dev", "--listen=127.0.0.1:0", "--log-format=json", "--memory=64MiB", "--s3-part-size=5MiB", "--spill-dir=" + r.folder,
		"--s3-endpoint=" + r.endpoint, "--s3-bucket=" + r.bucket,
	}, append(args, r.flags...)...)
	d, err := daemon.Start(ctx, r.binary, []string{"AWS_ACCESS_KEY_ID=" + r.server.AccessKey, "AWS_SECRET_ACCESS_KEY=" + r.server.SecretKey}, args...)
	if err == nil {
		_, _ = heartbeat(ctx, r, d) // what it says is a feature of its own
	}
	return d, err
}
