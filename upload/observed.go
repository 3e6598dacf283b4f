package upload

import (
	"errors"
	"maps"
	"net/http"
	"slices"

	"spillway/internal/outcome"
	"spillway/internal/sender"
	"spillway/observe"
	"spillway/stream"
	"spillway/tokens"
)

// senderOf returns who sent an upload.
func senderOf(r *http.Request) observe.Sender {
	return observe.Sender{Sender: sender.Of(r.Context()), TokenDigest: tokens.ShortDigest(r.Header.Get("Auth-Token"))}
}

// end reports how the upload ended.
func (u *upload) end(v verdict, err error) {
	ended := observe.Ended{
		Result: outcome.Result{Outcome: v.outcome, Reason: v.reason, Stage: u.stageNow(), Spent: u.account.Spent()},
		Status: v.status, Shape: u.shape(), Err: err,
		User: u.token.Email, AbortErr: u.abortErr, Receipt: u.receipt, Download: u.download.observed(),
		Anonymous: errors.Is(err, tokens.ErrMissing) || errors.Is(err, tokens.ErrUnknown) || errors.Is(err, tokens.ErrUnchecked),
	}
	ended.Shape.Uploaded, ended.Shape.Skipped, ended.Shape.SentBytes = u.uploaded, u.skipped, u.sentBytes
	if v.outcome != outcome.Stored {
		ended.Message = v.message
	}
	if e, ok := errors.AsType[*stream.StoreError](err); ok {
		ended.Detail = e.Op + ": " + e.Code
	}
	u.reported.End(ended)
}

// look returns the state of the upload. Any goroutine may call it.
func (u *upload) look() observe.Progress {
	return observe.Progress{Stage: u.stageNow(), Expected: u.expected(), Shape: u.shape(), Spent: u.account.Spent()}
}

// expected returns the size of the archive in bytes, approximately; 0 if it is not known.
func (u *upload) expected() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.download != nil {
		return u.download.size()
	}
	return max(0, u.r.ContentLength)
}

func (u *upload) stageNow() outcome.Stage {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.stage
}

// note changes fields that look reads.
func (u *upload) note(change func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change()
}

// shape returns what is known of the archive, except what only the batch knows. Any
// goroutine may call it.
func (u *upload) shape() observe.Shape {
	r := u.progress.Report()
	s := observe.Shape{
		ArchiveBytes: u.archiveBytes.Load(), ExpandedBytes: r.Uncompressed, HashedBytes: r.Hashed,
		Entries: r.Entries, Unread: r.Unread, Ignored: r.IgnoredCount,
		Biggest: r.Biggest, BiggestBytes: r.BiggestSize, At: r.At,
	}
	for _, name := range slices.Sorted(maps.Keys(r.Kinds)) {
		s.Kinds = append(s.Kinds, observe.Kind{Name: name, Files: r.Kinds[name].Files, Bytes: r.Kinds[name].Bytes})
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	s.Filename, s.Try, s.Host, s.FetchedBytes = u.filename, u.try, u.download.host(), u.download.fetched()
	if u.share != nil {
		s.PeakMemoryBytes, s.SpilledBytes = u.share.Peak()
	}
	return s
}
