package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/s3server"
)

// service is Spillway before a real S3 server.
type service struct {
	server *s3server.Server
	bucket client.Bucket
	daemon *daemon.Daemon
}

// startService builds Spillway into folder and starts it. The caller closes it.
func startService(ctx context.Context, folder string) (s *service, err error) {
	binary, err := daemon.Build(ctx, folder)
	if err != nil {
		return nil, err
	}
	server, err := s3server.New(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, server.Close())
		}
	}()
	bucket, err := server.MakeBucket(ctx)
	if err != nil {
		return nil, err
	}
	d, err := daemon.Start(ctx, binary, []string{"AWS_ACCESS_KEY_ID=" + server.AccessKey, "AWS_SECRET_ACCESS_KEY=" + server.SecretKey},
		"--dev", "--log-format=json", "--listen=127.0.0.1:0", "--s3-endpoint="+server.Endpoint, "--s3-bucket="+bucket, "--spill-dir="+folder)
	if err != nil {
		return nil, err
	}
	return &service{server, client.Bucket{Store: server.Client, BucketName: bucket}, d}, nil
}

func (s *service) close() error {
	return errors.Join(s.daemon.Close(), s.server.Close())
}

// outcome is what came of an archive. The zero outcome is that the writer cannot write it.
type outcome struct {
	status int
	err    string // the answer's error and detail, if Spillway refused the archive
	wrong  []string
}

// check uploads an archive of files twice, compares what is stored with the files, and empties
// the bucket.
func (s *service) check(ctx context.Context, zip []byte, files []archive.File) (o outcome, err error) {
	a, err := client.SendWhole(ctx, s.daemon.API, "dev", zip)
	if err != nil {
		return o, err
	}
	o.status = a.Status
	stored := []string{}
	if a.Status == http.StatusCreated {
		for _, f := range client.Stored(files) {
			stored = append(stored, f.Name)
		}
		o.wrong, err = s.bucket.Differences(ctx, "v1/", files)
	} else {
		o.err = strings.TrimSuffix(a.Error, ".") + ". " + a.Detail
		o.wrong, err = s.bucket.Differences(ctx, "", nil)
	}
	if err != nil {
		return o, err
	}
	if got := sorted(a.Upload.UploadedKeys); !slices.Equal(got, stored) {
		o.wrong = append(o.wrong, fmt.Sprintf("uploaded_keys are %q, want %q", got, stored))
	}
	if a.Status == http.StatusCreated {
		if err := s.again(ctx, zip, stored, &o); err != nil {
			return o, err
		}
	}
	return o, s.empty(ctx)
}

// again uploads an archive that is stored: all of it is skipped.
func (s *service) again(ctx context.Context, zip []byte, stored []string, o *outcome) error {
	a, err := client.SendWhole(ctx, s.daemon.API, "dev", zip)
	if err != nil {
		return err
	}
	if got := sorted(a.Upload.SkippedKeys); a.Status != http.StatusCreated || !slices.Equal(got, stored) {
		o.wrong = append(o.wrong, fmt.Sprintf("the second time, status %d and skipped_keys %q, want %q", a.Status, got, stored))
	}
	return nil
}

func sorted(keys []string) []string {
	return append([]string{}, slices.Sorted(slices.Values(keys))...)
}

// empty removes all objects from the bucket.
func (s *service) empty(ctx context.Context) error {
	keys, err := s.bucket.ListKeys(ctx)
	for _, key := range keys {
		err = errors.Join(err, s.server.Delete(ctx, s.bucket.BucketName, key))
	}
	return err
}
