package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"testing"
	"time"
)

// within is a context that ends long after everything here should have.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// uploadAnswer is what an upload came to.
type uploadAnswer struct {
	status     int    `json:"-"`
	retryAfter string `json:"-"`
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

// sendWhole is send with a Content-Length.
func sendWhole(ctx context.Context, api, token string, zip []byte) (uploadAnswer, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	file, err := form.CreateFormFile("symbols.zip", "symbols.zip")
	if err == nil {
		_, err = file.Write(zip)
	}
	if err == nil {
		err = form.Close()
	}
	if err != nil {
		return uploadAnswer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, api+"/upload/", &body)
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

// form is an archive in a form, and the form's content type.
func form(t *testing.T, zip []byte) (body []byte, contentType string) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	file, err := w.CreateFormFile("symbols.zip", "symbols.zip")
	if err == nil {
		_, err = file.Write(zip)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), w.FormDataContentType()
}
