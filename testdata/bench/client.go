package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"spillway/testdata/form"
)

// lastRead notes when a reader came to its end.
type lastRead struct {
	io.Reader
	at *atomic.Pointer[time.Time]
}

func (r lastRead) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF || n > 0 {
		now := time.Now()
		r.at.Store(&now)
	}
	return n, err
}

// send sends so many copies of the work, each over connections of its own. It returns how
// long the slowest answer took after the last byte of its archive had been sent, in seconds.
func (w work) send(ctx context.Context, api string, count int) (answer float64, err error) {
	group, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex // guards answer
	for range count {
		var next atomic.Int64 // the piece that is sent next
		for range w.connections {
			group.Go(func() error {
				for {
					i := int(next.Add(1)) - 1
					if i >= len(w.pieces) {
						return nil
					}
					_, took, err := upload(ctx, api, w.pieces[i])
					if err != nil {
						return err
					}
					mu.Lock()
					answer = max(answer, took.Seconds())
					mu.Unlock()
				}
			})
		}
	}
	err = group.Wait()
	return answer, err
}

// upload sends an archive as clients do, and returns how long it took, and how
// long of that the answer took after the last byte had been sent.
func upload(ctx context.Context, api, path string) (took, answer time.Duration, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	archiveForm := form.New()
	var sent atomic.Pointer[time.Time]
	body := lastRead{archiveForm.Reader(f), &sent}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, api+"/upload/", body)
	if err != nil {
		return 0, 0, err
	}
	req.ContentLength = archiveForm.Length(info.Size())
	req.Header.Set("Content-Type", archiveForm.ContentType)
	req.Header.Set("Auth-Token", "dev")
	begun := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, 0, err
	}
	if resp.StatusCode != http.StatusCreated {
		return 0, 0, fmt.Errorf("%s: %s", resp.Status, text)
	}
	now := time.Now()
	return now.Sub(begun), now.Sub(*sent.Load()), nil
}
