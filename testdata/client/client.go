// Package client uploads to Spillway as its clients do, and checks what it answers
// and what it stores. What goes wrong fails the test.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"spillway/testdata/form"
)

// Within returns a context that ends long after any test should have.
func Within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Answer is what an upload came to.
type Answer struct {
	Status     int    `json:"-"`
	RetryAfter string `json:"-"`
	Error      string `json:"error"`
	Detail     string `json:"detail"`
	Upload     struct {
		ID           int64    `json:"id"`
		Size         int64    `json:"size"`
		Filename     string   `json:"filename"`
		Bucket       string   `json:"bucket"`
		DownloadURL  *string  `json:"download_url"`
		RedirectURLs []string `json:"redirect_urls"`
		SkippedKeys  []string `json:"skipped_keys"`
		UploadedKeys []string `json:"uploaded_keys"`
		IgnoredKeys  []string `json:"ignored_keys"`
	} `json:"upload"`
}

// Send posts a form whose only part is a file with that content. The length is not
// declared. Content may be read from until it ends, even after Send has returned.
func Send(ctx context.Context, api, token string, content io.Reader) (Answer, error) {
	f := form.New()
	body, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, f.Reader(content))
		w.CloseWithError(err)
	}()
	defer body.Close()
	return post(ctx, api, token, f.ContentType, body)
}

// SendWhole is [Send] with a Content-Length.
func SendWhole(ctx context.Context, api, token string, zip []byte) (Answer, error) {
	f := form.New()
	return post(ctx, api, token, f.ContentType, bytes.NewReader(f.Bytes(zip)))
}

// SendURL posts a form with the URL of an archive, as curl -d does.
func SendURL(ctx context.Context, api, token, archive string) (Answer, error) {
	body := url.Values{"url": {archive}}.Encode()
	return post(ctx, api, token, "application/x-www-form-urlencoded", strings.NewReader(body))
}

func post(ctx context.Context, api, token, contentType string, body io.Reader) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, api+"/upload/", body)
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Auth-Token", token)
	return RoundTrip(req)
}

// RoundTrip sends a request and reads the answer, which must be JSON.
func RoundTrip(req *http.Request) (Answer, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	a := Answer{Status: resp.StatusCode, RetryAfter: resp.Header.Get("Retry-After")}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, err
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return Answer{}, fmt.Errorf("%s: %q: %w", resp.Status, text, err)
	}
	return a, nil
}

// MustSend is [Send] of an archive that is there whole.
func MustSend(t *testing.T, api, token string, zip []byte) Answer {
	t.Helper()
	a, err := Send(Within(t), api, token, bytes.NewReader(zip))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Form returns the body of a form with an archive, and its content type.
func Form(zip []byte) (body []byte, contentType string) {
	f := form.New()
	return f.Bytes(zip), f.ContentType
}
