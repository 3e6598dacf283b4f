package upload

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"spillway/internal/account"
	"spillway/internal/answer"
	"spillway/internal/guard"
	"spillway/internal/outcome"
	"spillway/observe"
	"spillway/stream"
	"spillway/stream/budget"
	"spillway/tokens"
)

// upload is one request to /upload/, from its header to the end of its body.
type upload struct {
	api     *API
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	body    *body
	id      int64
	sender  observe.Sender
	began   time.Time

	account  *account.Account
	reported *observe.Upload
	traced   context.Context // of the request, with the upload's trace

	// set by receive, as it gets there
	token        tokens.Token
	claim        *claim
	releaseConn  func() // ends Config.KeepConnection; nil if it was not called
	life         *lifetime
	admitted     bool         // and counted in API.active
	archiveBytes atomic.Int64 // how far the archive has been read
	progress     stream.Progress
	symbols      *stream.Symbols // nil without receipts
	batch        Batch           // nil before and after
	completed    time.Time       // when it was published
	receipt      string          // key of the receipt; empty if there is none
	abortErr     error

	// set by giveBack, once the archive is stored or refused
	kept              *budget.Share // the answer's memory, closed once the answer is written; nil if there is none
	names             nameLists     // in the answer
	uploaded, skipped int
	sentBytes         int64

	endedByShutdown bool // after it had been admitted

	// written by the upload's goroutine under mu, read by look
	mu       sync.Mutex
	stage    outcome.Stage
	filename string
	try      bool
	download *download // nil if the client sends the archive
	share    *budget.Share
}

// serveUpload receives an upload. It answers as early as it can, and then reads the rest
// of the body: many clients read no answer before they have sent everything.
func (a *API) serveUpload(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	body := newBody(r, control, a.cfg.IdleTimeout, a.cfg.MaxUploadSize+formOverhead, &tooLargeError{a.cfg.MaxUploadSize})
	defer body.release()
	if body.chunked {
		stop, ok := a.cfg.OnArrival(r.Context(), body.arrived)
		defer stop()
		body.watched = ok
	}
	rest := a.answerUpload(w, r, control, body)
	// The upload's memory is free from here on, however long the client goes on sending.
	rest.read()
}

// answerUpload receives an upload and answers it. It returns what to do with the rest of
// the body.
func (a *API) answerUpload(w http.ResponseWriter, r *http.Request, control *http.ResponseController, body *body) *bodyRest {
	u := &upload{
		api: a, w: w, r: r, control: control, id: a.ids.next(time.Now()), began: time.Now(), stage: outcome.Waiting,
		body: body, account: account.New(),
	}
	body.account = u.account
	defer u.leave()
	u.sender = senderOf(r)
	u.reported = a.cfg.Uploads.Begin(u.id, u.sender, u.look)
	u.traced = u.reported.Trace(r.Context(), r.Header, u.began)
	err := guarded(func() error { //nolint:contextcheck // an upload has a context of its own: see newLifetime
		// Without full duplex, the server could not answer before the body's end.
		if err := control.EnableFullDuplex(); err != nil {
			return err
		}
		return u.receive()
	})
	v := verdict{status: http.StatusCreated, outcome: outcome.Stored}
	if err != nil {
		v = verdictOn(err)
	}
	u.endedByShutdown = v.outcome == outcome.ShutDown && u.admitted
	u.end(v, err)
	u.answer(v)
	shedHeader(r.Header)
	body.account = nil
	return newBodyRest(u, v)
}

// leave gives back what the upload kept until it was answered.
func (u *upload) leave() {
	if u.kept != nil {
		u.kept.Close()
	}
	if u.admitted {
		u.api.leave(u.endedByShutdown)
	}
	if u.releaseConn != nil {
		u.releaseConn()
	}
}

// guarded is [guard.Do], but panics with [http.ErrAbortHandler], which net/http expects.
func guarded(f func() error) error {
	err := guard.Do(f)
	if p, ok := errors.AsType[*guard.PanicError](err); ok && p.Value == any(http.ErrAbortHandler) {
		panic(p.Value)
	}
	return err
}

// othersWait reports whether other uploads wait for the memory that the answer takes.
func (u *upload) othersWait() bool { return u.kept != nil && u.kept.InTheWay() }

// answer answers and flushes. If the client has not sent its whole body, the connection is
// closed afterwards, so that the rest is not taken for another request.
func (u *upload) answer(v verdict) {
	if !u.body.complete() {
		u.w.Header().Set("Connection", "close")
	}
	deadline := newWriteDeadline(u.control, u.othersWait, u.api.closing)
	defer deadline.stop()
	if v.outcome != outcome.Stored {
		deadline.extend()
		send(u.w, v.status, answer.Failure{Error: v.message, Detail: v.detail, UploadID: &u.id})
		return
	}
	writeStored(newAnswerWriter(u.w, v.status, deadline), storedUpload{
		ID:           u.id,
		Size:         u.archiveBytes.Load(),
		Filename:     u.filename,
		Bucket:       u.api.cfg.Store.Bucket(u.try),
		DownloadURL:  u.download.linkSent(),
		TrySymbols:   u.try,
		RedirectURLs: u.download.redirects(),
		CompletedAt:  u.completed.UTC().Format(timeFormat),
		CreatedAt:    u.began.UTC().Format(timeFormat),
		User:         u.token.Email,
	}, &u.names)
}
