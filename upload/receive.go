package upload

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"spillway/internal/account"
	"spillway/internal/answer"
	"spillway/internal/guard"
	"spillway/internal/outcome"
	"spillway/observe"
	"spillway/stream"
	"spillway/stream/zip"
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
	began   time.Time
	life    *lifetime // from when the upload waits for its turn

	account  *account.Account
	reported *observe.Upload

	// what has become known of it
	token        tokens.Token
	claim        *claim
	unkeep       func()        // the connection need not be kept any more; nil if it is not
	admitted     bool          // and counted as under way
	kept         *stream.Share // what is left to close once the upload is answered
	archiveBytes atomic.Int64
	progress     stream.Progress
	batch        Batch
	abortErr     error
	cutOff       bool // by a shutdown, after it had been admitted

	// what is left of batch and progress once the upload is over
	names             lists
	uploaded, skipped int
	sentBytes         int64

	// written by the upload's goroutine, with mu held; others look at them
	mu       sync.Mutex
	stage    outcome.Stage
	filename string
	try      bool
	share    *stream.Share
}

// serveUpload takes one upload. It answers as soon as it knows what, and then
// reads what the client still sends, which may not be able to read the answer
// before it has sent everything.
func (a *API) serveUpload(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	body := newBody(r, control, a.cfg.IdleTimeout, a.cfg.MaxUploadSize+formRoom, &tooLargeError{a.cfg.MaxUploadSize})
	defer body.release()
	if body.chunked {
		stop, ok := a.cfg.OnArrival(r.Context(), body.arrived)
		defer stop()
		body.watched = ok
	}
	rest := a.answerUpload(w, r, control, body) //nolint:contextcheck // take says why an upload has a context of its own
	// From here on nothing of the upload is in use, whatever the client sends.
	rest.read()
}

// answerUpload receives an upload and answers it. It returns what to do with the
// rest of its body.
func (a *API) answerUpload(w http.ResponseWriter, r *http.Request, control *http.ResponseController, body *body) *bodyRest {
	u := &upload{
		api: a, w: w, r: r, control: control, id: a.ids.next(time.Now()), began: time.Now(), stage: outcome.Waiting,
		body: body, account: account.New(),
	}
	body.account = u.account
	defer u.leave()
	u.reported = a.cfg.Uploads.Begin(u.id, u.look)
	err := guarded(func() error {
		// Where reading and writing at once cannot be had, an answer could not
		// be given before the body's end.
		if err := control.EnableFullDuplex(); err != nil {
			return err
		}
		return u.take()
	})
	v := verdict{status: http.StatusCreated, outcome: outcome.Stored}
	if err != nil {
		v = verdictOn(err)
	}
	u.cutOff = v.outcome == outcome.ShutDown && u.admitted
	u.end(v, err)
	u.answer(v)
	shedHeader(r.Header)
	body.account = nil
	return newBodyRest(u, v)
}

// leave gives back what the upload has kept until it was answered.
func (u *upload) leave() {
	if u.kept != nil {
		u.kept.Close()
	}
	if u.admitted {
		u.api.leave(u.cutOff)
	}
	if u.unkeep != nil {
		u.unkeep()
	}
}

// guarded is [guard.Do], but for the panic that net/http wants to see.
func guarded(f func() error) error {
	err := guard.Do(f)
	if p, ok := errors.AsType[*guard.PanicError](err); ok && p.Value == any(http.ErrAbortHandler) {
		panic(p.Value)
	}
	return err
}

// take checks what can be known before the body, waits for the upload's turn
// and receives it.
func (u *upload) take() (err error) {
	if u.token, err = u.api.cfg.Tokens.Authenticate(u.r, u.began); err != nil {
		return err
	}
	boundary, err := boundaryOf(u.r.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return err
	case u.r.ContentLength > u.api.cfg.MaxUploadSize+formRoom:
		return &tooLargeError{u.api.cfg.MaxUploadSize}
	case u.api.stopping.Err() != nil:
		return errShuttingDown
	}

	if u.claim, err = u.api.claims.begin(u.token.SHA256, max(0, u.r.ContentLength)); err != nil {
		return err
	}
	defer u.claim.end()
	shedHeader(u.r.Header)
	u.unkeep = u.api.cfg.KeepConnection(u.r.Context())

	u.life = newLifetime(u.r.Context())
	defer u.life.when(u.api.closing, shutDown)()
	unlink, err := u.admit()
	if err != nil {
		return err
	}
	defer func() { u.settle(err) }()
	defer unlink()
	timeout := time.AfterFunc(u.api.cfg.UploadTimeout, func() { u.life.end(errUploadTimeout) })
	defer timeout.Stop()
	defer u.body.follow(u.life.ctx)()
	src, err := u.source(boundary)
	if err != nil {
		return err
	}
	return u.store(src)
}

// shutDown is the cause of what ends with the server.
func shutDown(context.Context) error { return errShuttingDown }

// admit waits for the upload's turn, with the body unread. An upload that
// waits is not yet one of those that a shutdown waits for.
func (u *upload) admit() (unlink func(), err error) {
	gone := u.life.when(u.r.Context(), func(requested context.Context) error { return &goneError{context.Cause(requested)} })
	stopping := u.life.when(u.api.stopping, shutDown)
	before := u.account.Switch(account.OnMemory)
	budget, share, err := u.api.cfg.Memory.Admit(u.life.ctx)
	u.account.Switch(before)
	stopping()
	gone()
	if err != nil {
		return nil, err
	}
	if !u.api.enter() {
		share.Close()
		return nil, errShuttingDown
	}
	u.admitted = true
	share.Measure(u.account)
	share.OwnedBy(u.token.SHA256)
	u.note(func() { u.share, u.stage = share, outcome.Receiving })
	return u.life.when(budget, context.Cause), nil
}

// settle drops what the upload has gathered of its archive, but for the names of
// its answer if err is nil, and gives the memory of all else back. Others can have
// its turn then, however long its client takes to read.
func (u *upload) settle(err error) {
	if b := u.batch; b != nil {
		uploaded, skipped := b.Uploaded(), b.Skipped()
		u.note(func() {
			u.uploaded, u.skipped, u.sentBytes = len(uploaded), len(skipped), b.Sent()
			u.batch = nil
		})
		if err == nil {
			u.names = lists{skipped: skipped, uploaded: uploaded, ignored: u.progress.Report().Ignored}
		}
	}
	if err == nil {
		u.share.Keep(u.names.size() + answerBuffer)
		u.kept = u.share
	} else {
		u.share.Close()
	}
}

// source reads the form up to its archive, and takes note of what the archive is.
func (u *upload) source(boundary string) (source, error) {
	if boundary == "" {
		return nil, u.urlForm()
	}
	form := newForm(u.body, boundary, u.token.OnlyTry())
	file, err := form.file()
	if err != nil {
		return nil, err
	}
	name, err := archiveName(file.field, file.filename)
	u.note(func() { u.filename, u.try = name, form.try })
	if err != nil {
		return nil, err
	}
	return &formSource{form, file.content, max(0, u.r.ContentLength)}, nil // -1: not known
}

// urlForm reads a form that cannot have a file, only a URL to fetch one from.
func (u *upload) urlForm() error {
	data, err := io.ReadAll(io.LimitReader(u.body, maxURLForm+1))
	if err != nil {
		return err
	}
	if len(data) > maxURLForm {
		return &formLimitError{what: "bytes", limit: maxURLForm}
	}
	if values, err := url.ParseQuery(string(data)); err == nil && values.Get("url") != "" {
		return errByURL
	}
	return errNoFile
}

// store puts the entries of the archive into the store: all of them, or it aborts
// what is not published.
func (u *upload) store(src source) (err error) {
	u.batch = u.api.cfg.Store.Begin(u.life.ctx, u.life.fail, u.share, u.try)
	published := false
	defer func() {
		if !published {
			err = errors.Join(err, u.abort())
		}
	}()
	if err := u.ingest(src); err != nil {
		return err
	}
	if err := u.publish(); err != nil {
		return err
	}
	published = true
	return nil
}

// ingest reads the archive to the end of its source, verifies it and stages its
// entries in the store. Nothing is visible yet.
func (u *upload) ingest(src source) error {
	cfg := &u.api.cfg
	names := nameRules{disallowed: cfg.Disallowed, gzipped: cfg.GzipExtensions, max: cfg.Store.MaxName(u.try)}
	entries := entryLog{u.batch, cfg.Log.With(zap.Int64("upload", u.id))}
	_, err := zip.Read(u.life.ctx, u.life.end, &archiveReader{u, src}, u.share, entries, stream.Rules{
		Form: names.form, MaxEntries: cfg.MaxEntries, MaxExpanded: cfg.MaxExpanded,
		Size:     src.Size(),
		Progress: &u.progress,
	})
	if err != nil {
		return err
	}
	return src.End()
}

// publish makes the entries visible. All of the archive has arrived and is verified.
func (u *upload) publish() error {
	if err := u.life.publish(); err != nil {
		return err
	}
	u.note(func() { u.stage = outcome.Publishing })
	defer u.account.Switch(u.account.Switch(account.OnStore))
	return u.batch.Publish()
}

// abort gives up what is not published. The error is a panic's; others are for the
// log alone.
func (u *upload) abort() error {
	defer u.account.Switch(u.account.Switch(account.OnStore))
	u.abortErr = u.batch.Abort()
	if p, ok := errors.AsType[*guard.PanicError](u.abortErr); ok {
		return p
	}
	return nil
}

// archiveReader is the archive of an upload, counted and held to its limit.
type archiveReader struct {
	u   *upload
	src source
}

func (a *archiveReader) Read(p []byte) (int, error) {
	n, err := a.src.Read(p)
	read := a.u.archiveBytes.Add(int64(n))
	if limit := a.u.api.cfg.MaxUploadSize; read > limit {
		return n, &tooLargeError{limit}
	}
	if limited := a.u.claim.reach(read); limited != nil {
		return n, limited
	}
	return n, err
}

// wanted reports whether others wait for what the answer keeps of the budget.
func (u *upload) wanted() bool { return u.kept != nil && u.kept.InTheWay() }

// answer answers and flushes. A connection whose client has yet to send is not
// used again: nothing of the rest may be taken for another request.
func (u *upload) answer(v verdict) {
	if !u.body.complete() {
		u.w.Header().Set("Connection", "close")
	}
	deadline := newWriteDeadline(u.control, u.wanted, u.api.closing)
	defer deadline.stop()
	if v.outcome != outcome.Stored {
		deadline.extend()
		send(u.w, v.status, answer.Failure{Error: v.message})
		return
	}
	writeStored(newAnswerWriter(u.w, v.status, deadline), storedUpload{
		ID:           u.id,
		Size:         u.archiveBytes.Load(),
		Filename:     u.filename,
		Bucket:       u.api.cfg.Store.Bucket(u.try),
		TrySymbols:   u.try,
		RedirectURLs: []string{},
		CompletedAt:  time.Now().UTC().Format(timeFormat),
		CreatedAt:    u.began.UTC().Format(timeFormat),
		User:         u.token.Email,
	}, &u.names)
}
