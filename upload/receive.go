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

	"spillway/health"
	"spillway/health/answer"
	"spillway/internal/account"
	"spillway/internal/guard"
	"spillway/stream"
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

	account  *account.Account
	reported *health.Upload

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
	stage    health.Stage
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
		api: a, w: w, r: r, control: control, id: a.ids.next(time.Now()), began: time.Now(), stage: health.Waiting,
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
		return u.take(r.Context())
	})
	v := verdict{status: http.StatusCreated, outcome: health.Stored}
	if err != nil {
		v = verdictOn(err)
	}
	u.cutOff = v.outcome == health.ShutDown && u.admitted
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
func (u *upload) take(requested context.Context) (err error) {
	if u.token, err = u.api.cfg.Tokens.Authenticate(u.r, u.began); err != nil {
		return err
	}
	contentType := u.r.Header.Get("Content-Type")
	boundary, err := boundaryOf(contentType)
	byURL := isURLEncoded(contentType)
	switch {
	case err != nil && !byURL:
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
	u.unkeep = u.api.cfg.KeepConnection(requested)

	// From here on the upload ends by causes of its own only. The request's
	// context has nothing to say that reading the body does not say better: it
	// ends when a read fails, be it by our own deadline.
	ctx, end := context.WithCancelCause(context.WithoutCancel(requested))
	defer end(nil)
	defer context.AfterFunc(u.api.closing, func() { end(errShuttingDown) })() //nolint:contextcheck // the server's end is not the request's
	if ctx, err = u.admit(requested, ctx, end); err != nil {
		return err
	}
	defer func() { u.settle(err) }()
	if byURL {
		return u.urlForm(ctx)
	}
	return u.receive(ctx, boundary)
}

// admit waits for the upload's turn, with the body unread. An upload that
// waits is not yet one of those that a shutdown waits for.
func (u *upload) admit(requested, ctx context.Context, end context.CancelCauseFunc) (context.Context, error) {
	defer context.AfterFunc(requested, func() { end(&goneError{context.Cause(requested)}) })()
	defer context.AfterFunc(u.api.stopping, func() { end(errShuttingDown) })()
	before := u.account.Switch(account.OnMemory)
	ctx, share, err := u.api.cfg.Memory.Admit(ctx)
	u.account.Switch(before)
	if err != nil {
		return ctx, err
	}
	if !u.api.enter() {
		share.Close()
		return ctx, errShuttingDown
	}
	u.admitted = true
	share.Measure(u.account)
	share.OwnedBy(u.token.SHA256)
	u.note(func() { u.share, u.stage = share, health.Receiving })
	return ctx, nil
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

// interruptible bounds an upload's time, and has the body's reads end when ctx
// does.
func (u *upload) interruptible(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithTimeoutCause(ctx, u.api.cfg.UploadTimeout, errUploadTimeout)
	unfollow := u.body.follow(ctx)
	return ctx, func() {
		unfollow()
		cancel()
	}
}

// urlForm reads a form that cannot have a file, only a URL to fetch one from.
func (u *upload) urlForm(ctx context.Context) error {
	_, stop := u.interruptible(ctx)
	defer stop()
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

// receive reads the form and puts the entries of its archive into the store.
func (u *upload) receive(ctx context.Context, boundary string) (err error) {
	cfg := &u.api.cfg
	ctx, stop := u.interruptible(ctx)
	defer stop()

	form := newForm(u.body, boundary)
	file, err := form.file()
	if err != nil {
		return err
	}
	name, err := archiveName(file.field, file.filename)
	u.note(func() { u.filename, u.try = name, form.try || u.token.OnlyTry() })
	if err != nil {
		return err
	}

	ctx, u.batch = cfg.Store.Begin(ctx, u.share, u.try)
	published := false
	defer func() {
		if !published {
			u.account.Switch(account.OnStore)
			u.abortErr = u.batch.Abort()
			u.account.Switch(account.OnCPU)
			if p, ok := errors.AsType[*guard.PanicError](u.abortErr); ok {
				err = errors.Join(err, p)
			}
		}
	}()
	defer u.body.follow(ctx)()
	names := nameRules{disallowed: cfg.Disallowed, gzipped: cfg.GzipExtensions, max: cfg.Store.MaxName(u.try)}
	entries := entryLog{u.batch, cfg.Log.With(zap.Int64("upload", u.id))}
	_, err = stream.ReadZip(ctx, &archiveReader{u, file.content}, u.share, entries, stream.Rules{
		Form: names.form, MaxEntries: cfg.MaxEntries, MaxExpanded: cfg.MaxExpanded,
		Size:     max(0, u.r.ContentLength), // -1 where it is not known
		Progress: &u.progress,
	})
	if err != nil {
		return err
	}
	if err := form.rest(u.try); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	// All has arrived and is verified. From here on neither the client's
	// leaving nor any timeout of the upload stops it: what is being published
	// would be half there, and a retry would have to begin again.
	u.note(func() { u.stage = health.Publishing })
	u.account.Switch(account.OnStore)
	err = u.batch.Publish(context.WithoutCancel(ctx))
	u.account.Switch(account.OnCPU)
	if err != nil {
		return err
	}
	published = true
	return nil
}

// archiveReader is the archive of an upload, counted and held to its limit.
type archiveReader struct {
	u       *upload
	content io.Reader
}

func (a *archiveReader) Read(p []byte) (int, error) {
	n, err := a.content.Read(p)
	read := a.u.archiveBytes.Add(int64(n))
	if limit := a.u.api.cfg.MaxUploadSize; read > limit {
		return n, &tooLargeError{limit}
	}
	if limited := a.u.claim.reach(read); limited != nil {
		return n, limited
	}
	return n, err
}

// Interrupt makes a Read that waits for the client return, see
// [stream.Interrupter].
func (a *archiveReader) Interrupt() { a.u.body.interrupt(errNotWanted) }

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
	if v.outcome != health.Stored {
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
