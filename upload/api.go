// Package upload receives symbol archives over HTTP, with the API of the Mozilla Symbols
// Server.
//
// It reads the form and its archive as they arrive, and answers once the archive's entries
// are stored. All answers are JSON. An upload goes through three steps: it opens the
// source of its archive, ingests it, and publishes its entries. See upload.receive.
package upload

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"spillway/fetch"
	"spillway/internal/answer"
	"spillway/internal/guard"
	"spillway/observe"
	"spillway/stream/budget"
	"spillway/tokens"
)

const (
	pathUpload   = "/upload/"
	pathAuthInfo = "/upload/auth_info/"

	// uploadAPIVersion is the API version in /upload/auth_info/.
	uploadAPIVersion = 1

	// maxDrains bounds the bodies that are drained at once, and maxStrangerDrains those of
	// clients without a token that may upload.
	maxDrains         = 64
	maxStrangerDrains = 32

	// endWait is the time that uploads have at the end of a shutdown to abort, or to
	// finish publishing. The sweep cleans up what they leave after that.
	endWait = 5 * time.Second
)

// Config configures an [API]. Every field must be set unless its comment says otherwise.
type Config struct {
	Budget *budget.Budget // admits uploads
	Store  Store
	Tokens *tokens.Set
	Fetch  *fetch.Fetcher // fetches archives from URLs
	Log    *zap.Logger    // nil for none

	// Uploads observes every upload. Panicked is called for a panic in any other request.
	Uploads  *observe.Uploads
	Panicked func(*http.Request, *guard.PanicError)

	MaxUploadSize int64 // bytes of an archive
	MaxEntries    int   // of an archive
	MaxExpanded   int64 // uncompressed bytes of an archive's entries

	// GzipExtensions are the extensions of entries that are stored as gzip, in lower
	// case and with their dot. If nil, .sym.
	GzipExtensions []string

	// Disallowed are snippets that no entry's name may contain. If nil,
	// qcom/proprietary.
	Disallowed []string

	// Limits on what is under way with one token at the same time; 0: no limit.
	MaxTokenUploads int
	MaxTokenBytes   int64 // of requests

	IdleTimeout   time.Duration // of a read from the client
	UploadTimeout time.Duration // from admission until publishing begins

	// KeepConnection keeps the connection of a request open until release is called,
	// however many others come. It is called for uploads with a token. May be nil.
	KeepConnection func(ctx context.Context) (release func())

	// OnArrival calls arrived with the number of bytes of each read from the connection
	// of a request, until stop is called. The reading goroutine makes these calls. ctx is
	// the request's. ok is false if the connection cannot be watched. Then chunked bodies
	// are read in small pieces. May be nil.
	OnArrival func(ctx context.Context, arrived func(n int)) (stop func(), ok bool)
}

// API is the http.Handler of the API for clients. It tells who sent an upload if its requests
// come through Identify of spillway/internal/sender.
type API struct {
	cfg    Config
	ids    ids
	claims claims

	// One element for each body that is being drained: of clients with a token that may
	// upload, and of others.
	drains, strangerDrains chan struct{}

	stopping context.Context // ends when new uploads are refused
	stop     context.CancelFunc
	closing  context.Context // ends when uploads under way have to end
	close    context.CancelFunc

	mu     sync.Mutex
	active int           // uploads that have been admitted and not yet answered
	ended  int           // admitted uploads that the shutdown has ended
	idle   chan struct{} // closed when stopping has ended and active is zero
}

// An UnfinishedError says that a shutdown did not wait for all uploads to finish.
type UnfinishedError struct {
	Ended int // uploads that were ended and have aborted
	Left  int // uploads that were still under way
}

func (e *UnfinishedError) Error() string {
	s := fmt.Sprintf("%d uploads did not finish in time and were ended: their clients were asked to retry", e.Ended)
	if e.Left > 0 {
		s += fmt.Sprintf("; %d more are still under way: the sweep aborts what they leave in the store", e.Left)
	}
	return s
}

// New returns an API.
func New(cfg Config) *API {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.GzipExtensions == nil {
		cfg.GzipExtensions = []string{".sym"}
	}
	if cfg.Disallowed == nil {
		cfg.Disallowed = []string{"qcom/proprietary"}
	}
	if cfg.KeepConnection == nil {
		cfg.KeepConnection = func(context.Context) func() { return func() {} }
	}
	if cfg.OnArrival == nil {
		cfg.OnArrival = func(context.Context, func(int)) (func(), bool) { return func() {}, false }
	}
	a := &API{cfg: cfg, drains: make(chan struct{}, maxDrains), strangerDrains: make(chan struct{}, maxStrangerDrains), idle: make(chan struct{})}
	a.claims = claims{uploads: cfg.MaxTokenUploads, bytes: cfg.MaxTokenBytes, byToken: map[string]*tokenUse{}}
	a.stopping, a.stop = context.WithCancel(context.Background())
	a.closing, a.close = context.WithCancel(context.Background())
	return a
}

// ServeHTTP responds in JSON whatever happens. A panic becomes a 500 unless the
// response has begun.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer.Guard(w, r, a.route, func(p *guard.PanicError) { a.cfg.Panicked(r, p) })
}

func (a *API) route(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == pathUpload && r.Method == http.MethodPost {
		a.serveUpload(w, r)
		return
	}
	answer.WithoutBody(w, r)
	switch path := r.URL.Path; {
	case path != pathUpload && path != pathAuthInfo:
		refuse(w, http.StatusNotFound, http.StatusText(http.StatusNotFound), "Uploads go to POST "+pathUpload+".")
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, fmt.Sprintf("Method Not Allowed (%s): %s", r.Method, path), "This path takes POST.")
	default:
		a.serveAuthInfo(w, r)
	}
}

func (a *API) serveAuthInfo(w http.ResponseWriter, r *http.Request) {
	token, err := a.cfg.Tokens.Authenticate(r, time.Now(), nil) //nolint:contextcheck // one question serves all clients with the token
	if err != nil {
		v := verdictOn(err)
		refuse(w, v.status, v.message, v.detail)
		return
	}
	respond(w, http.StatusOK, authInfo{
		Email:            token.Email,
		UserID:           token.ID,
		TrySymbols:       token.OnlyTry(),
		TokenExpiresAt:   token.ExpiresAt.Unix(),
		UploadAPIVersion: uploadAPIVersion,
	})
}

// enter counts an admitted upload as under way. It reports false if new uploads are
// refused. If not, the caller calls leave at the end.
func (a *API) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopping.Err() != nil {
		return false
	}
	a.active++
	return true
}

// leave says that an upload has been answered. ended says that the shutdown has ended it.
func (a *API) leave(ended bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ended {
		a.ended++
	}
	if a.active--; a.active == 0 && a.stopping.Err() != nil {
		close(a.idle)
	}
}

// Drain refuses new uploads from now on, and waits until those that have been admitted are
// answered. When ctx ends, it ends the uploads that are not being published, and waits up to
// 5 s more. It does not wait for refused clients. It is called once. The error is an
// [*UnfinishedError].
func (a *API) Drain(ctx context.Context) error {
	a.mu.Lock()
	a.stop()
	if a.active == 0 {
		close(a.idle)
	}
	a.mu.Unlock()
	defer a.close()
	select {
	case <-a.idle:
		return nil
	case <-ctx.Done():
	}
	a.close()
	timer := time.NewTimer(endWait)
	defer timer.Stop()
	select {
	case <-a.idle:
	case <-timer.C:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.active == 0 && a.ended == 0 {
		return nil
	}
	return &UnfinishedError{Ended: a.ended, Left: a.active}
}
