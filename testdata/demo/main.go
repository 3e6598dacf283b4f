// Command demo shows one upload from end to end: it builds Spillway, starts it
// with --dev, uploads an archive, reads a stored file back through S3 and
// compares it with what went in, uploads again, and stops the process.
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
	"os"
	"strings"
	"syscall"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/daemon"
	"spillway/testdata/form"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	folder, err := os.MkdirTemp("", "spillway-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()

	say(out, "Building spillway")
	binary, err := daemon.Build(ctx, folder, "-trimpath") // as make build does, whose packages are cached then
	if err != nil {
		return err
	}
	say(out, "Starting spillway --dev")
	d, err := daemon.Start(ctx, binary, nil, "--dev", "--log-format=json", "--listen=127.0.0.1:0", "--dev-s3-listen=127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	fmt.Fprintf(out, "   API %s, S3 %s\n", d.API, d.S3)

	if err := show(ctx, out, d); err != nil {
		return fmt.Errorf("%w\nthe log:\n%s", err, d.Log())
	}

	say(out, "Stopping it with SIGTERM")
	if err := d.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	status, err := d.Wait(ctx)
	if err == nil && status != 0 {
		err = fmt.Errorf("exit status %d\nthe log:\n%s", status, d.Log())
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "   exit status 0")
	return nil
}

// show uploads twice and reads back once.
func show(ctx context.Context, out io.Writer, d *daemon.Daemon) error {
	files := archive.Samples(7)
	zip := archive.PythonZipfile(files...)
	say(out, "Uploading an archive of %d bytes, as Python's zipfile writes it", len(zip))
	first, err := upload(ctx, out, d.API, zip)
	if err != nil {
		return err
	}
	if len(first.UploadedKeys) == 0 || len(first.SkippedKeys) != 0 {
		return errors.New("the first upload should have stored everything")
	}

	for _, f := range files {
		if strings.HasSuffix(f.Name, ".sym") && len(f.Data) > 0 {
			say(out, "Reading v1/%s back from S3", f.Name)
			if err := compare(ctx, out, d.S3+"/symbols/v1/"+f.Name, f.Data); err != nil {
				return err
			}
			break
		}
	}

	say(out, "Uploading the same archive again")
	second, err := upload(ctx, out, d.API, zip)
	if err != nil {
		return err
	}
	if len(second.UploadedKeys) != 0 || len(second.SkippedKeys) != len(first.UploadedKeys) {
		return errors.New("the second upload should have skipped everything")
	}
	fmt.Fprintf(out, "   all %d files were there already\n", len(second.SkippedKeys))
	return nil
}

type answer struct {
	UploadedKeys []string `json:"uploaded_keys"`
	SkippedKeys  []string `json:"skipped_keys"`
}

// upload sends an archive as a form, shows the answer and returns it.
func upload(ctx context.Context, out io.Writer, api string, zip []byte) (*answer, error) {
	f := form.New()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, api+"/upload/", bytes.NewReader(f.Bytes(zip)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", f.ContentType)
	req.Header.Set("Auth-Token", "dev")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, bytes.TrimSpace(text), "   ", "  "); err != nil {
		return nil, fmt.Errorf("%s: %s", resp.Status, text)
	}
	fmt.Fprintf(out, "   %s\n   %s\n", resp.Status, pretty.String())
	if resp.StatusCode != http.StatusCreated {
		return nil, errors.New("the upload failed")
	}
	var a struct{ Upload answer }
	return &a.Upload, json.Unmarshal(text, &a)
}

// compare gets an object as anybody would and compares it with the file.
func compare(ctx context.Context, out io.Writer, url string, want []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	// Asking for gzip keeps the client from expanding the body on its own.
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	got, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("the object expands to %d bytes that are not the %d of the file", len(got), len(want))
	}
	fmt.Fprintf(out, "   %s, %s: %d bytes, expanded %d, byte for byte the file\n",
		resp.Header.Get("Content-Type"), resp.Header.Get("Content-Encoding"), len(body), len(got))
	return nil
}

func say(out io.Writer, format string, args ...any) {
	fmt.Fprintf(out, "-- "+format+"\n", args...)
}
