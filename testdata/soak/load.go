package main

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"spillway/testdata/form"
)

const (
	// A client comes back as often as the official one does, but does not wait
	// for as long.
	maxTries   = 6
	retryPause = 2 * time.Second
)

// load is what clients send, and what came of it.
type load struct {
	*soak
	shapes []*shape
	http   *http.Client
	ids    atomic.Int64

	mu       sync.Mutex
	outcomes map[string]int // uploads by what came of them
	statuses map[int]int    // answers by status
	waits    []float64      // seconds from begin to 201
	bytes    int64          // of archives that were stored
	checked  int            // objects that were read back
	lost     []*parcel      // those that were not stored, or whose answer nobody read
	odd      []string       // what should not have been
}

func newLoad(s *soak, shapes []*shape) *load {
	return &load{
		soak: s, shapes: shapes, outcomes: map[string]int{}, statuses: map[int]int{},
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: s.clients}},
	}
}

// run has the clients send one parcel after the other, until the time is over.
func (l *load) run(ctx context.Context) error {
	end := time.Now().Add(l.length)
	group, ctx := errgroup.WithContext(ctx)
	for client := range l.clients {
		group.Go(func() error {
			r := rand.New(rand.NewPCG(l.seed, uint64(client)))
			for ctx.Err() == nil && time.Now().Before(end) {
				p := l.pack(r, int(l.ids.Add(1)))
				if err := l.deliver(ctx, p); err != nil {
					return fmt.Errorf("%s %d: %w", p.kind, p.id, err)
				}
				l.mu.Lock()
				say("%v left: %v", time.Until(end).Round(time.Second), l.outcomes)
				l.mu.Unlock()
			}
			return nil
		})
	}
	return group.Wait()
}

// errGone is how a client goes away.
var errGone = errors.New("the client goes away")

// deliver sends a parcel until it is stored, and reads its objects back.
func (l *load) deliver(ctx context.Context, p *parcel) error {
	began := time.Now()
	for try := 1; ; try++ {
		if p.unread {
			l.count(p, "answer not read")
			return l.ignore(ctx, p)
		}
		status, a, err := l.send(ctx, p)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case p.cutAt > 0 && errors.Is(err, errGone):
			l.count(p, "cut off")
			return nil
		case err != nil:
			l.oddity("%s %d broke off: %v", p.kind, p.id, err)
			l.count(p, "broke off")
			return nil
		}
		l.answered(status)
		switch {
		case status == http.StatusCreated && p.cutAt > 0:
			l.oddity("%s %d was cut off, and stored", p.kind, p.id)
			return nil
		case p.damage && status == http.StatusCreated:
			l.oddity("%s %d was damaged, and stored", p.kind, p.id)
			return nil
		case p.damage && status == http.StatusBadRequest:
			l.count(p, "refused")
			return nil
		case status == http.StatusCreated:
			l.stored(p, time.Since(began))
			return l.readBack(ctx, p, a)
		case status != http.StatusServiceUnavailable:
			l.oddity("%s %d: status %d: %s", p.kind, p.id, status, a.Error)
			return nil
		case try == maxTries:
			l.count(p, "given up")
			return nil
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answer is what the service says.
type answer struct {
	Error  string `json:"error"`
	Upload struct {
		Uploaded []string `json:"uploaded_keys"`
		Skipped  []string `json:"skipped_keys"`
	} `json:"upload"`
}

func (l *load) send(ctx context.Context, p *parcel) (status int, a answer, err error) {
	f := form.New()
	body, w := io.Pipe()
	defer body.Close() // ends the writer
	go func() { w.CloseWithError(p.writeForm(w, f)) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.daemon.API+"/upload/", body)
	if err != nil {
		return 0, a, err
	}
	if !p.chunked {
		req.ContentLength = f.Length(p.length())
	}
	req.Header.Set("Content-Type", f.ContentType)
	req.Header.Set("Auth-Token", "dev")
	resp, err := l.http.Do(req)
	if err != nil {
		return 0, a, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, a, err
	}
	return resp.StatusCode, a, json.Unmarshal(text, &a)
}

// writeForm writes a form with the archive.
func (p *parcel) writeForm(w io.Writer, f form.Form) error {
	out := &paced{w: w, rate: p.rate, began: time.Now(), left: -1}
	if p.cutAt > 0 {
		out.left = p.cutAt
	}
	if _, err := w.Write(f.Head); err != nil {
		return err
	}
	if err := p.write(out); err != nil {
		return err
	}
	_, err := w.Write(f.Tail)
	return err
}

// paced writes at a rate, and fails after so many bytes.
type paced struct {
	w     io.Writer
	rate  int64 // bytes a second; 0: as fast as it goes
	began time.Time
	n     int64
	left  int64 // negative: all
}

func (w *paced) Write(p []byte) (int, error) {
	if w.left >= 0 && int64(len(p)) > w.left {
		return 0, errGone
	}
	n, err := w.w.Write(p)
	w.n += int64(n)
	if w.left >= 0 {
		w.left -= int64(n)
	}
	if w.rate > 0 {
		time.Sleep(time.Duration(float64(w.n)/float64(w.rate)*float64(time.Second)) - time.Since(w.began))
	}
	return n, err
}

// readBack reads all objects of a parcel that is said to be stored, and takes
// away those that are its own.
func (l *load) readBack(ctx context.Context, p *parcel, a answer) error {
	told := append(slices.Clone(a.Upload.Uploaded), a.Upload.Skipped...)
	if len(told) != len(p.files) {
		l.oddity("%s %d: %d files uploaded and %d skipped, of %d", p.kind, p.id, len(a.Upload.Uploaded), len(a.Upload.Skipped), len(p.files))
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, f := range p.files {
		group.Go(func() error {
			key := "v1/" + p.name(i)
			if err := l.check(ctx, key, f); err != nil || !p.own(i) {
				return err
			}
			return l.server.Delete(ctx, l.bucket, key)
		})
	}
	return group.Wait()
}

// check reads an object back.
func (l *load) check(ctx context.Context, key string, want file) error {
	body, _, err := l.server.Open(ctx, l.bucket, key)
	if err != nil {
		l.oddity("%s is said to be stored: %v", key, err)
		return ctx.Err()
	}
	defer body.Close()
	var content io.Reader = body
	if want.gunzips {
		if content, err = gzip.NewReader(body); err != nil {
			l.oddity("%s is no gzip: %v", key, err)
			return ctx.Err()
		}
	}
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, content); err != nil {
		return fmt.Errorf("reading %s back: %w", key, err)
	}
	if sum.Sum32() != want.crc32 {
		l.oddity("%s is stored wrong", key)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checked++
	return nil
}

// checkVisible looks at every object that is there in the end: those of uploads
// that failed while they were published, and those that all have. It says how
// many there are.
func (l *load) checkVisible(ctx context.Context) (int, error) {
	say("reading what is left")
	keys, err := l.server.ListKeys(ctx, l.bucket)
	if err != nil {
		return 0, err
	}
	right := map[string]file{}
	for _, s := range l.shapes {
		for i, f := range s.files {
			right["v1/"+s.common(i)] = f
		}
	}
	cut := map[string]bool{}
	for _, p := range l.lost {
		for i, f := range p.files {
			key := "v1/" + p.name(i)
			right[key] = f
			cut[key] = (p.cutAt > 0 || p.damage) && p.own(i)
		}
	}
	for _, key := range keys {
		want, known := right[key]
		switch {
		case !known:
			l.oddity("%s is visible, which nobody has sent", key)
		case cut[key]:
			l.oddity("%s is visible, of an archive that was cut off or damaged", key)
		default:
			if err := l.check(ctx, key, want); err != nil {
				return 0, err
			}
		}
	}
	return len(keys), nil
}

func (l *load) oddity(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.odd) < 20 {
		l.odd = append(l.odd, fmt.Sprintf(format, args...))
	}
}

func (l *load) answered(status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.statuses[status]++
}

func (l *load) count(p *parcel, outcome string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes[outcome]++
	l.lost = append(l.lost, p)
}

func (l *load) stored(p *parcel, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes["stored"]++
	l.waits = append(l.waits, took.Seconds())
	l.bytes += p.length()
}

// wrong is what should not have been.
func (l *load) wrong() []string {
	if l.outcomes["stored"] == 0 {
		return append(l.odd, "nothing was stored")
	}
	return l.odd
}

func (l *load) print(w io.Writer) {
	var outcomes, statuses []string
	for _, name := range slices.Sorted(maps.Keys(l.outcomes)) {
		outcomes = append(outcomes, fmt.Sprintf("%d %s", l.outcomes[name], name))
	}
	for _, status := range slices.Sorted(maps.Keys(l.statuses)) {
		statuses = append(statuses, fmt.Sprintf("%d of %d", l.statuses[status], status))
	}
	slices.Sort(l.waits)
	fmt.Fprintf(w, "uploads:   %s (%s); %.1f GB stored; %d objects read back\n", strings.Join(outcomes, ", "), strings.Join(statuses, ", "), float64(l.bytes)/1e9, l.checked)
}
