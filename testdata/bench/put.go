package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"spillway/testdata/s3server"
)

// put is what the process needs to know that puts finished objects, and what it reports.
type put struct {
	Endpoint, AccessKey, SecretKey string
	From, To                       string // buckets

	Objects, Bytes int64
	Wall, CPU      float64 // seconds
}

// putAll puts the objects of an archive, as they are in a bucket, into another one. A process
// of its own does it, so that its CPU time shows. Nobody who only has the archive can be
// faster.
func (b *bench) putAll(ctx context.Context, server *s3server.Server, from string, w work) (r result, err error) {
	r = b.result(w, bound)
	p := put{Endpoint: server.Endpoint, AccessKey: server.AccessKey, SecretKey: server.SecretKey, From: from}
	if p.To, err = server.MakeBucket(ctx); err != nil {
		return r, err
	}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	in, err := json.Marshal(p)
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, self, putCommand)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &p)
	}
	if err != nil {
		return r, fmt.Errorf("%s: %w", bound, err)
	}
	r.Wall, r.CPU, r.Sent, r.Requests = p.Wall, p.CPU, p.Bytes, map[string]int64{"PutObject": p.Objects}
	return r, nil
}

// putObjects is the process of putAll. Objects are read before the measuring begins, and then
// put 64 at once.
func putObjects(ctx context.Context, in io.Reader, out io.Writer) error {
	var p put
	if err := json.NewDecoder(in).Decode(&p); err != nil {
		return err
	}
	client := s3server.NewClient(p.Endpoint, p.AccessKey, p.SecretKey)
	keys, err := client.ListKeys(ctx, p.From)
	if err != nil {
		return err
	}
	objects := make([][]byte, len(keys))
	for i, key := range keys {
		if objects[i], err = readObject(ctx, client, p.From, key); err != nil {
			return err
		}
		p.Bytes += int64(len(objects[i]))
	}
	p.Objects = int64(len(keys))
	before, err := ownCPU()
	if err != nil {
		return err
	}
	begun := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for i, key := range keys {
		group.Go(func() error { return client.Store(ctx, p.To, key, bytes.NewReader(objects[i])) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	p.Wall = time.Since(begun).Seconds()
	after, err := ownCPU()
	if err != nil {
		return err
	}
	p.CPU = (after - before).Seconds()
	return json.NewEncoder(out).Encode(p)
}

func readObject(ctx context.Context, client s3server.Client, bucket, key string) ([]byte, error) {
	body, o, err := client.Open(ctx, bucket, key)
	if err != nil {
		return nil, err
	}
	data := make([]byte, o.Length)
	_, err = io.ReadFull(body, data)
	return data, errors.Join(err, body.Close())
}

// ownCPU returns the CPU time of this process.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}
