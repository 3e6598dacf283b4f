package upload

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/url"
	"slices"
	"time"

	"spillway/internal/account"
	"spillway/internal/guard"
	"spillway/internal/outcome"
	"spillway/stream"
	"spillway/stream/budget"
	"spillway/stream/zip"
)

// receive checks what it can before the body, waits for the upload's turn, opens the
// source of its archive and stores the archive.
func (u *upload) receive() (err error) {
	if u.token, err = u.api.cfg.Tokens.Authenticate(u.r, u.began, u.account); err != nil {
		return err
	}
	if encoding := u.r.Header.Get("Content-Encoding"); isEncoded(encoding, "identity") {
		return &encodingError{encoding: encoding}
	}
	boundary, err := boundaryOf(u.r.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return err
	case u.r.ContentLength > u.api.cfg.MaxUploadSize+formOverhead:
		return &tooLargeError{u.api.cfg.MaxUploadSize}
	case u.api.stopping.Err() != nil:
		return errShuttingDown
	}

	if u.claim, err = u.api.claims.begin(u.token.SHA256, max(0, u.r.ContentLength)); err != nil {
		return err
	}
	defer u.claim.end()
	shedHeader(u.r.Header)
	u.releaseConn = u.api.cfg.KeepConnection(u.r.Context())

	u.life = newLifetime(u.traced)
	defer u.life.when(u.api.closing, shutDown)()
	if err := u.admit(); err != nil {
		return err
	}
	defer func() { u.giveBack(err) }()
	timeout := time.AfterFunc(u.api.cfg.UploadTimeout, func() { u.life.end(errUploadTimeout) })
	defer timeout.Stop()
	defer u.body.follow(u.life.ctx)()
	src, err := u.source(boundary)
	if err != nil {
		return err
	}
	defer src.Close()
	return u.store(src)
}

// shutDown is the cause of uploads that a shutdown ends.
func shutDown(context.Context) error { return errShuttingDown }

// admit waits for the upload's turn, before the body is read. A shutdown does not wait
// for uploads that wait here.
func (u *upload) admit() error {
	unfollow := u.life.when(u.r.Context(), gone)
	stopping := u.life.when(u.api.stopping, shutDown)
	done := u.account.During(account.OnMemory)
	share, err := u.api.cfg.Budget.Admit(u.life.ctx, budget.Upload{Owner: u.token.SHA256, Account: u.account, End: u.life.end})
	done()
	stopping()
	unfollow()
	if err != nil {
		return err
	}
	if !u.api.enter() {
		share.Close()
		return errShuttingDown
	}
	u.admitted = true
	u.note(func() { u.share, u.stage = share, outcome.Receiving })
	return nil
}

// giveBack drops what the upload has gathered, and gives its memory and its turn back. If
// err is nil, it keeps memory for the names in the answer: other uploads do not wait until
// a slow client has read it.
func (u *upload) giveBack(err error) {
	ignored := u.progress.TakeIgnored()
	if b := u.batch; b != nil {
		uploaded, skipped := b.Uploaded(), b.Skipped()
		u.note(func() {
			u.uploaded, u.skipped, u.sentBytes = len(uploaded), len(skipped), b.Sent()
			u.batch = nil
		})
		if err == nil {
			// The batch's memory goes; its names would keep those of all entries.
			u.names = nameLists{
				skipped: stream.CopyNames(skipped), uploaded: stream.CopyNames(uploaded), ignored: stream.CopyNames(stream.IgnoredNames(ignored)),
			}
		}
	}
	if err == nil {
		u.share.Keep(u.names.size() + u.download.memory() + answerBuffer)
		u.kept = u.share
	} else {
		u.share.Close()
	}
}

// source opens what the upload reads its archive from: a form, which is read up to the
// archive, or the URL in it. It notes the archive's name and whether it has try symbols.
func (u *upload) source(boundary string) (source, error) {
	if boundary == "" {
		link, try, err := u.urlForm()
		if err != nil {
			return nil, err
		}
		return u.fetch(link, try || u.token.OnlyTry())
	}
	form := newForm(u.body, boundary, u.token.OnlyTry())
	file, err := form.file()
	switch {
	case err != nil:
		return nil, err
	case file == nil:
		return u.fetch(form.url, form.try)
	}
	name, err := archiveName(file.field, file.filename)
	u.note(func() { u.filename, u.try = name, form.try })
	if err != nil {
		return nil, err
	}
	return &formSource{form, file.content, max(0, u.r.ContentLength)}, nil // -1: not known
}

// urlForm reads a form without files, which can only have the URL of an archive.
func (u *upload) urlForm() (link string, try bool, err error) {
	data, err := io.ReadAll(io.LimitReader(u.body, maxURLForm+1))
	if err != nil {
		return "", false, err
	}
	if len(data) > maxURLForm {
		return "", false, &formLimitError{what: "bytes", limit: maxURLForm}
	}
	values, err := url.ParseQuery(string(data))
	for _, value := range values["url"] {
		link = cmp.Or(value, link)
	}
	if err != nil || link == "" {
		return "", false, errNoFile
	}
	return link, slices.ContainsFunc(values["try"], func(value string) bool { return value != "" }), nil
}

// store ingests the archive, publishes it and writes its receipt. If one of the first two
// fails, it aborts what is not published.
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
	u.completed = time.Now()
	return u.writeReceipt()
}

// ingest reads the archive to the end of its source, verifies it, and stages its entries.
// Nothing is visible yet.
func (u *upload) ingest(src source) error {
	cfg := &u.api.cfg
	if cfg.Store.Receipts() != "" {
		u.symbols = new(stream.Symbols)
	}
	names := nameRules{disallowed: cfg.Disallowed, gzipped: cfg.GzipExtensions, max: cfg.Store.MaxName()}
	entries := entryLog{u.batch, cfg.Log.With(u.reported.LogFields()...)}
	report, err := zip.Read(u.life.ctx, u.life.end, u.archive(src), u.share, entries, stream.Rules{
		Form: names.form, MaxEntries: cfg.MaxEntries, MaxUncompressed: cfg.MaxExpanded,
		Size:     src.Size(),
		Progress: &u.progress,
		Symbols:  u.symbols,
	})
	if err != nil {
		return err
	}
	u.archiveBytes.Store(report.Bytes)
	return src.End()
}

// publish makes the entries visible. The whole archive has arrived and is verified.
func (u *upload) publish() error {
	if err := u.life.publish(); err != nil {
		return err
	}
	u.note(func() { u.stage = outcome.Publishing })
	defer u.account.During(account.OnStore)()
	return u.batch.Publish()
}

// abort aborts the batch. It returns the error if that is a panic. Others are only logged.
func (u *upload) abort() error {
	defer u.account.During(account.OnStore)()
	u.abortErr = u.batch.Abort()
	if p, ok := errors.AsType[*guard.PanicError](u.abortErr); ok {
		return p
	}
	return nil
}

// archiveReader counts the bytes of an archive and enforces the limits on them.
type archiveReader struct {
	u   *upload
	src source
}

func (a *archiveReader) Read(p []byte) (int, error) {
	n, err := a.src.Read(p)
	if limited := a.u.allow(a.u.archiveBytes.Add(int64(n))); limited != nil {
		return n, limited
	}
	return n, err
}
