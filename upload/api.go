// Package upload takes symbol archives over HTTP, in the manner of the Mozilla
// Symbols Server.
//
// It reads the form and the archive in it as they arrive, keeps neither, and
// answers once the archive's entries are stored. All its answers are JSON.
package upload

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"spillway/internal/answer"
	"spillway/internal/guard"
	"spillway/observe"
	"spillway/stream"
	"spillway/tokens"
)

const (
	pathUpload   = "/upload/"
	pathAuthInfo = "/upload/auth_info/"

	// uploadAPIVersion is the version of the interface that clients ask for.
	uploadAPIVersion = 1

	// maxDrains is how many bodies may be drained at once.
	maxDrains = 64

	// endWait is how long uploads that were ended have to clean up, and those
	// that are being published to finish. A sweep cleans up what takes longer.
	endWait = 5 * time.Second
)

// Config is what an API works with. Every field must be set unless it says
// otherwise.
type Config struct {
	Memory *stream.Memory // admits uploads
	Store  Store
	Tokens *tokens.Set
	Log    *zap.Logger // nil for none

	// Uploads is told of every upload, and Panicked of a panic in any other request.
	Uploads  *observe.Uploads
	Panicked func(*http.Request, *guard.PanicError)

	MaxUploadSize int64 // bytes of an archive
	MaxEntries    int   // of an archive
	MaxExpanded   int64 // bytes of an archive's entries, expanded

	// GzipExtensions are the extensions, with their dot, of the entries that
	// are stored as gzip, whatever their case. If nil, it is .sym.
	GzipExtensions []string

	// Disallowed are snippets that no entry's name may hold. If nil, it is
	// qcom/proprietary.
	Disallowed []string

	// What may be under way with one token at once; 0: as much as there is room for.
	MaxTokenUploads int
	MaxTokenBytes   int64 // of requests

	IdleTimeout   time.Duration // without a byte from a client that we read from
	UploadTimeout time.Duration // from admission until publishing begins

	// KeepConnection has the connection of a request stay open until release is
	// called, however many other connections come. It is called for uploads with
	// a token. If nil, nothing closes connections.
	KeepConnection func(ctx context.Context) (release func())

	// OnArrival has arrived called with the number of bytes of each read from the
	// connection of a request, by the goroutine that reads, until stop is called.
	// ctx is the request's. It reports false where it cannot. If nil, it never can.
	// Without it, chunked bodies are read in small pieces.
	OnArrival func(ctx context.Context, arrived func(n int)) (stop func(), ok bool)
}

// API is the http.Handler of all that clients talk to.
type API struct {
	cfg    Config
	ids    ids
	claims claims
	drains chan struct{} // one element for each body that is being drained

	stopping context.Context // ends when no more uploads are taken
	stop     context.CancelFunc
	closing  context.Context // ends when those under way have to end
	close    context.CancelFunc

	mu     sync.Mutex
	active int           // uploads that have been admitted and not yet answered
	ended  int           // uploads that a shutdown has ended after they had begun
	idle   chan struct{} // closed once stopping has ended and active is zero
}

// An UnfinishedError says that a shutdown did not wait for all uploads.
type UnfinishedError struct {
	Ended int // that were ended; nothing is left of them
	Left  int // that were still under way nevertheless
}

func (e *UnfinishedError) Error() string {
	s := fmt.Sprintf("%d uploads did not finish in time and were ended: their clients were told to come back", e.Ended)
	if e.Left > 0 {
		s += fmt.Sprintf("; %d more did not even end: what they leave in the store is swept later", e.Left)
	}
	return s
}

// New makes an API.
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
	a := &API{cfg: cfg, drains: make(chan struct{}, maxDrains), idle: make(chan struct{})}
	a.claims = claims{uploads: cfg.MaxTokenUploads, bytes: cfg.MaxTokenBytes, byToken: map[string]*claimed{}}
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
		refuse(w, http.StatusNotFound, http.StatusText(http.StatusNotFound))
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, fmt.Sprintf("Method Not Allowed (%s): %s", r.Method, path))
	default:
		a.serveAuthInfo(w, r)
	}
}

func (a *API) serveAuthInfo(w http.ResponseWriter, r *http.Request) {
	token, err := a.cfg.Tokens.Authenticate(r, time.Now())
	if err != nil {
		v := verdictOn(err)
		refuse(w, v.status, v.message)
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

// enter counts an upload that has been admitted as under way, unless no more are
// taken. Those that are counted call leave.
func (a *API) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopping.Err() != nil {
		return false
	}
	a.active++
	return true
}

// leave says that an upload is over, and whether it was ended by the shutdown
// although it had begun.
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

// Drain has new uploads refused from now on, and waits until those that have been
// admitted are answered. When ctx ends, it ends those that are not being published
// yet, and waits up to 5 s more. It does not wait for clients that were refused.
// It is called once. The error is an [*UnfinishedError].
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
