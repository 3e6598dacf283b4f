package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"spillway/internal/s3event"
	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/s3server"
)

// featureTimeout is a time limit for each feature with each store.
const featureTimeout = 2 * time.Minute

// feature is something that Spillway does with a store.
type feature struct {
	name string

	// try returns what the table says if the feature works.
	try func(ctx context.Context, r *run) (string, error)
}

// features are the columns of the table.
var features = []feature{
	{"heartbeat", whileRunning(heartbeat)},
	{"checksum", whileRunning(checksum)},
	{"small", whileRunning(stored(small...))},
	{"large", whileRunning(stored(large...))},
	{"skip", whileRunning(skip)},
	{"refused", whileRunning(refused)},
	{"kill and sweep", killAndSweep},
}

const works = "ok"

// The entries that are uploaded. Large ones have several parts.
var (
	small = []archive.Entry{
		{Name: "small.pdb/A0/small.sym", Data: archive.Symbols(1, 20_000), Method: archive.Deflate},
		{Name: "small.pdb/A0/small.pd_", Data: archive.Noise(2, 20_000)},
	}
	large = []archive.Entry{
		{Name: "large.pdb/A0/large.sym", Data: archive.Noise(3, 11<<20), Method: archive.Deflate},
		{Name: "large.pdb/A0/large.pd_", Data: archive.Noise(4, 12<<20)},
	}
	damaged = archive.Entry{
		Name: "bad.pdb/A0/bad.sym", Data: archive.Symbols(5, 1000), Method: archive.Deflate,
		Local: func(h *archive.LocalHeader) { h.CRC32++ }, Central: func(r *archive.CentralHeader) { r.CRC32++ },
	}
)

// whileRunning returns a feature that needs one process.
func whileRunning(try func(context.Context, *run, *daemon.Daemon) (string, error)) func(context.Context, *run) (string, error) {
	return func(ctx context.Context, r *run) (cell string, err error) {
		d, err := r.spillway(ctx)
		if err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, d.Close()) }()
		return try(ctx, r, d)
	}
}

// heartbeat: the store is probed, and the heartbeat says that it works.
func heartbeat(ctx context.Context, _ *run, d *daemon.Daemon) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.API+"/__heartbeat__", http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Details map[string]json.RawMessage `json:"details"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %s", resp.StatusCode, answer.Details["storage"])
	}
	return works, nil
}

// checksum: says by which checksum the store checks what it gets.
func checksum(ctx context.Context, r *run, d *daemon.Daemon) (string, error) {
	metrics, err := d.Metrics(ctx)
	if err != nil {
		return "", err
	}
	for _, kind := range s3event.Checksums() {
		if metrics[fmt.Sprintf("spillway_s3_checksum{bucket=%q,kind=%q}", r.bucket, kind)] == 1 {
			return fmt.Sprintf("`%s`", kind), nil
		}
	}
	return "", errors.New("spillway_s3_checksum says nothing")
}

// stored returns a feature: entries are uploaded and become objects.
func stored(entries ...archive.Entry) func(context.Context, *run, *daemon.Daemon) (string, error) {
	return func(ctx context.Context, r *run, d *daemon.Daemon) (string, error) {
		if _, err := upload(ctx, d, http.StatusCreated, entries...); err != nil {
			return "", err
		}
		return works, r.wantOnly(ctx, entries...)
	}
}

// skip: nothing is sent that is there.
func skip(ctx context.Context, r *run, d *daemon.Daemon) (string, error) {
	all := slices.Concat(small, large)
	if _, err := upload(ctx, d, http.StatusCreated, all...); err != nil {
		return "", err
	}
	a, err := upload(ctx, d, http.StatusCreated, all...)
	if err != nil {
		return "", err
	}
	if len(a.Upload.SkippedKeys) != len(all) {
		return "", fmt.Errorf("uploaded again: %q", a.Upload.UploadedKeys)
	}
	return works, r.wantOnly(ctx, all...)
}

// refused: an archive with a damaged entry leaves nothing, and leaves alone what was there.
func refused(ctx context.Context, r *run, d *daemon.Daemon) (string, error) {
	bad := slices.Concat(small, large, []archive.Entry{damaged})
	if _, err := upload(ctx, d, http.StatusBadRequest, bad...); err != nil {
		return "", err
	}
	if err := r.wantOnly(ctx); err != nil {
		return "", err
	}
	before := archive.Entry{Name: large[1].Name, Data: archive.Noise(6, 6<<20)}
	if _, err := upload(ctx, d, http.StatusCreated, before); err != nil {
		return "", err
	}
	if _, err := upload(ctx, d, http.StatusBadRequest, bad...); err != nil {
		return "", err
	}
	return works, r.wantOnly(ctx, before)
}

// killAndSweep: a process that is killed during an upload leaves nothing visible, and the
// next one aborts what it left. Then the same archive is stored.
func killAndSweep(ctx context.Context, r *run) (_ string, err error) {
	const age = 2 * time.Second
	d, err := r.spillway(ctx)
	if err != nil {
		return "", err
	}
	zip := archive.Build(large...)
	content, end := io.Pipe()
	defer end.Close()
	go func() { _, _ = end.Write(zip[:len(zip)-1000]) }() // the rest never comes
	sending, ended := context.WithCancelCause(ctx)
	go func() {
		a, err := client.Send(ctx, d.API, "dev", content)
		if err == nil {
			err = fmt.Errorf("status %d: %s", a.Status, a.Error)
		}
		ended(err)
	}()
	if err := r.until(sending, "an upload is unfinished", func(n int) bool { return n > 0 }); err != nil {
		return "", errors.Join(err, d.Close())
	}
	if err := errors.Join(d.Signal(syscall.SIGKILL), d.Close()); err != nil {
		return "", err
	}
	<-sending.Done()
	if err := r.wantVisible(ctx); err != nil {
		return "", err
	}

	// The store's clock counts in seconds, and requests may have been under way.
	select {
	case <-time.After(age + 2*time.Second):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if d, err = r.spillway(ctx, "--upload-timeout=1s", fmt.Sprint("--sweep-age=", age)); err != nil {
		return "", err
	}
	swept := r.until(ctx, "no upload is unfinished", func(n int) bool { return n == 0 })
	if err := errors.Join(swept, d.Close()); err != nil {
		return "", err
	}
	if d, err = r.spillway(ctx); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return stored(large...)(ctx, r, d)
}

// until waits until the number of unfinished uploads is as it should be.
func (r *run) until(ctx context.Context, what string, is func(n int) bool) error {
	ctx, cancel := context.WithTimeout(ctx, featureTimeout/3)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		uploads, err := r.unfinished(ctx)
		if err == nil && is(len(uploads)) {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("not seen: %s: %w", what, context.Cause(ctx))
		}
	}
}

// upload sends an archive and checks the status of the answer.
func upload(ctx context.Context, d *daemon.Daemon, status int, entries ...archive.Entry) (client.Answer, error) {
	a, err := client.SendWhole(ctx, d.API, "dev", archive.Build(entries...))
	if err == nil && a.Status != status {
		err = fmt.Errorf("status %d: %s", a.Status, a.Error)
	}
	return a, err
}

// wantOnly checks that the bucket holds these entries, whole, and nothing else.
func (r *run) wantOnly(ctx context.Context, entries ...archive.Entry) error {
	errs := []error{r.wantVisible(ctx, entries...)}
	for _, e := range entries {
		if err := r.wantWhole(ctx, e); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e.Name, err))
		}
	}
	uploads, err := r.unfinished(ctx)
	if len(uploads) > 0 {
		err = fmt.Errorf("unfinished: %v", uploads)
	}
	return errors.Join(append(errs, err)...)
}

// unfinished lists the unfinished uploads of entries. A probe may be under way.
func (r *run) unfinished(ctx context.Context) ([]s3server.Upload, error) {
	uploads, err := r.server.ListUploads(ctx, r.bucket)
	return slices.DeleteFunc(uploads, func(u s3server.Upload) bool { return isProbe(u.Key) }), err
}

func isProbe(key string) bool { return strings.HasSuffix(key, "/.spillway-probe") }

// wantVisible checks the keys in the bucket.
func (r *run) wantVisible(ctx context.Context, entries ...archive.Entry) error {
	keys, err := r.server.ListKeys(ctx, r.bucket)
	if err != nil {
		return err
	}
	want := []string{}
	for _, e := range entries {
		want = append(want, "v1/"+e.Name)
	}
	slices.Sort(want)
	keys = slices.DeleteFunc(keys, isProbe)
	if !slices.Equal(keys, want) {
		return fmt.Errorf("visible: %q, want %q", keys, want)
	}
	return nil
}

// wantWhole checks the object of an entry.
func (r *run) wantWhole(ctx context.Context, e archive.Entry) error {
	body, o, err := r.server.Open(ctx, r.bucket, "v1/"+e.Name)
	if err != nil {
		return err
	}
	defer body.Close()
	content := io.Reader(body)
	if strings.HasSuffix(e.Name, ".sym") {
		if o.ContentType != "text/plain" || o.ContentEncoding != "gzip" {
			return fmt.Errorf("Content-Type %q, Content-Encoding %q", o.ContentType, o.ContentEncoding)
		}
		if content, err = gzip.NewReader(body); err != nil {
			return err
		}
	}
	if at, err := client.FirstDifference(content, bytes.NewReader(e.Data)); err != nil || at >= 0 {
		return fmt.Errorf("differs at byte %d, error %w", at, err)
	}
	if got, want := o.Metadata["original_size"], fmt.Sprint(len(e.Data)); got != want {
		return fmt.Errorf("original_size is %q, want %q", got, want)
	}
	return nil
}
