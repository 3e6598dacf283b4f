package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/daemon"
	"spillway/testdata/s3server"
)

// The tests of this file and its siblings run the program as a process, as
// people do, and look at it through HTTP, S3 and signals.

// built is where the program is built to.
var built string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "spillway-test-")
	if err != nil {
		panic(err)
	}
	built = folder
	status := m.Run()
	if err := os.RemoveAll(folder); err != nil {
		panic(err)
	}
	os.Exit(status)
}

// program is the program, built with the race detector if the tests are.
var program = sync.OnceValues(func() (string, error) {
	return daemon.Build(context.Background(), built, raceFlags...)
})

// system is a running Spillway and the S3 server behind it.
type system struct {
	*daemon.Daemon
	s3     s3server.Client
	bucket string
}

// stores are the kinds of S3 servers that the program is tried with.
var stores = []struct {
	name  string
	start func(t *testing.T, args ...string) system
}{
	{"embedded", startEmbedded},
	{"versitygw", startBeside},
}

// startEmbedded starts the program with its own S3 server.
func startEmbedded(t *testing.T, args ...string) system {
	t.Helper()
	d := start(t, nil, append([]string{"--dev", "--log-format=json", "--dev-s3-listen=127.0.0.1:0"}, args...)...)
	return system{d, s3server.NewClient(d.S3, "any", "any"), devBucket}
}

// startBeside starts the program beside a real S3 server.
func startBeside(t *testing.T, args ...string) system {
	t.Helper()
	server := s3server.Start(t)
	bucket := server.Bucket(t)
	d := start(t, credentialsOf(server), append([]string{
		"--dev", "--log-format=json", "--s3-endpoint=" + server.Endpoint, "--s3-bucket=" + bucket,
	}, args...)...)
	return system{d, server.Client, bucket}
}

func credentialsOf(s *s3server.Server) []string {
	return []string{"AWS_ACCESS_KEY_ID=" + s.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.SecretKey}
}

// start starts the program on a free port. It ends with the test.
func start(t *testing.T, env []string, args ...string) *daemon.Daemon {
	t.Helper()
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemon.Start(t.Context(), binary, env, append(args, "--listen=127.0.0.1:0")...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		log := d.Log()
		panicked := strings.Count(log, `"msg":"panic"`) > strings.Count(log, "a test error, raised on request")
		if t.Failed() || panicked || strings.Contains(log, "DATA RACE") {
			t.Errorf("the log:\n%s", log)
		}
	})
	return d
}

// within is a context that ends long after everything here should have.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// wantExit waits for the process to end.
func wantExit(t *testing.T, d *daemon.Daemon, want int) {
	t.Helper()
	status, err := d.Wait(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if status != want {
		t.Errorf("exit status %d, want %d", status, want)
	}
}

func awaitLog(t *testing.T, d *daemon.Daemon, words ...string) {
	t.Helper()
	if _, err := d.AwaitLog(within(t), words...); err != nil {
		t.Fatal(err)
	}
}

// uploadAnswer is what an upload came to.
type uploadAnswer struct {
	status     int
	retryAfter string
	Error      string `json:"error"`
	Upload     struct {
		ID           int64    `json:"id"`
		Size         int64    `json:"size"`
		Filename     string   `json:"filename"`
		Bucket       string   `json:"bucket"`
		SkippedKeys  []string `json:"skipped_keys"`
		UploadedKeys []string `json:"uploaded_keys"`
		IgnoredKeys  []string `json:"ignored_keys"`
	} `json:"upload"`
}

// send posts a form whose only part is a file with that content. Content may be
// read from until it ends, even when send has returned.
func send(ctx context.Context, api, token string, content io.Reader) (uploadAnswer, error) {
	body, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() {
		file, err := form.CreateFormFile("symbols.zip", "symbols.zip")
		if err == nil {
			_, err = io.Copy(file, content)
		}
		if err == nil {
			err = form.Close()
		}
		w.CloseWithError(err)
	}()
	defer body.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, api+"/upload/", body)
	if err != nil {
		return uploadAnswer{}, err
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("Auth-Token", token)
	return roundTrip(req)
}

func roundTrip(req *http.Request) (uploadAnswer, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return uploadAnswer{}, err
	}
	defer resp.Body.Close()
	a := uploadAnswer{status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After")}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return uploadAnswer{}, err
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return uploadAnswer{}, fmt.Errorf("%s: %q: %w", resp.Status, text, err)
	}
	return a, nil
}

// mustSend is send of an archive that is there whole.
func mustSend(t *testing.T, api, token string, zip []byte) uploadAnswer {
	t.Helper()
	a, err := send(within(t), api, token, bytes.NewReader(zip))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// response is the answer to a GET.
type response struct {
	status int
	body   []byte
}

func get(t *testing.T, url string) response {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip") // as it is, not expanded by the client
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp.StatusCode, body}
}

// stored are the files of an archive that become objects, sorted by name.
func stored(files []archive.File) []archive.File {
	var out []archive.File
	for _, f := range files {
		if !strings.HasSuffix(f.Name, "/") && !strings.HasSuffix(f.Name, "-symbols.txt") {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b archive.File) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func names(files []archive.File) []string {
	out := []string{}
	for _, f := range files {
		out = append(out, f.Name)
	}
	return out
}

// wantStored checks that the bucket holds these files under prefix, as the
// service stores them, and nothing else.
func (s system) wantStored(t *testing.T, prefix string, files []archive.File) {
	t.Helper()
	files = stored(files)
	keys := []string{}
	for _, f := range files {
		keys = append(keys, prefix+f.Name)
	}
	if got := s.s3.Keys(t, s.bucket); !slices.Equal(got, keys) {
		t.Errorf("the bucket holds %q, want %q", got, keys)
	}
	for _, f := range files {
		o, ok := s.s3.Object(t, s.bucket, prefix+f.Name)
		if !ok {
			continue
		}
		contentType, encoding, body := "", "", o.Body
		if strings.HasSuffix(f.Name, ".sym") {
			contentType, encoding, body = "text/plain", "gzip", gunzip(t, o.Body)
			if o.ContentType != contentType {
				t.Errorf("%s: Content-Type %q, want %q", f.Name, o.ContentType, contentType)
			}
		}
		if !bytes.Equal(body, f.Data) {
			t.Errorf("%s: the object is %d bytes that are not the %d of the file", f.Name, len(body), len(f.Data))
		}
		if o.ContentEncoding != encoding {
			t.Errorf("%s: Content-Encoding %q, want %q", f.Name, o.ContentEncoding, encoding)
		}
		sum := md5.Sum(f.Data)
		for key, want := range map[string]string{
			"original_size":     strconv.Itoa(len(f.Data)),
			"original_crc32":    fmt.Sprintf("%08x", crc32.ChecksumIEEE(f.Data)),
			"original_md5_hash": hex.EncodeToString(sum[:]),
		} {
			if got := o.Metadata[key]; got != want {
				t.Errorf("%s: %s is %q, want %q", f.Name, key, got, want)
			}
		}
	}
}

// wantNothing checks that the bucket holds no object and no unfinished upload.
func (s system) wantNothing(t *testing.T) {
	t.Helper()
	s.wantStored(t, "", nil)
	s.wantNoUploads(t)
}

func (s system) wantNoUploads(t *testing.T) {
	t.Helper()
	if got := s.s3.Uploads(t, s.bucket); len(got) != 0 {
		t.Errorf("multipart uploads are unfinished: %v", got)
	}
}

func gunzip(t *testing.T, data []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
