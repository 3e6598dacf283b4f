package upload

import (
	"encoding/hex"
	"fmt"
	"strings"

	"spillway/internal/account"
	"spillway/receipts"
	"spillway/stream"
)

// writeReceipt writes down what the upload has brought. It has been published, so only the
// store can end the upload. If the receipt cannot be written, the upload fails: a retry
// finds everything stored, and writes its own receipt.
func (u *upload) writeReceipt() error {
	prefix := u.api.cfg.Store.Receipts()
	if prefix == "" {
		return nil
	}
	defer u.account.During(account.OnStore)()
	files := &receiptFiles{batch: u.batch, symbols: u.symbols, ignored: u.progress.Report().Ignored}
	key := ""
	for _, o := range receipts.Objects(u.receiptHead(files), files, len(prefix)) {
		if err := u.batch.WriteReceipt(o.Name, o.ContentType, o.Body, o.Size); err != nil {
			return err
		}
		key = prefix + o.Name
	}
	u.receipt = key
	return nil
}

// receiptHead returns what the receipt says of the upload.
func (u *upload) receiptHead(files *receiptFiles) receipts.Head {
	h := receipts.Head{
		Schema: receipts.Schema, ID: u.id, RequestID: known(u.sender.RequestID),
		User: u.token.Email, UserID: u.token.ID, Token: u.token.ShortDigest(), UserAgent: known(u.sender.UserAgent),
		ReceivedAt: receipts.Time{Time: u.began}, CompletedAt: receipts.Time{Time: u.completed},
		Filename: u.filename, Size: u.archiveBytes.Load(), RedirectURLs: []string{},
		TrySymbols: u.try, Bucket: u.api.cfg.Store.Bucket(u.try), Prefix: u.api.cfg.Store.Prefix(u.try),
		Ignored: len(files.ignored),
	}
	if u.sender.Address.IsValid() {
		h.ClientAddress = known(u.sender.Address.String())
	}
	if d := u.download.observed(); d != nil {
		h.DownloadURL, h.RedirectURLs = &d.URL, append(h.RedirectURLs, d.Redirects...)
	}
	for i := range u.batch.Len() {
		switch r, ok := u.batch.Result(i); {
		case !ok:
		case r.Skipped:
			h.Skipped++
		default:
			h.Stored++
		}
	}
	return h
}

// receiptFiles are the files of an upload that is published: the objects of the batch, and
// then the ignored entries.
type receiptFiles struct {
	batch   Batch
	symbols *stream.Symbols
	ignored []stream.IgnoredFile
}

// Len implements [receipts.Files].
func (f *receiptFiles) Len() int { return f.batch.Len() + len(f.ignored) }

// At implements [receipts.Files].
func (f *receiptFiles) At(number int) (receipts.File, bool) {
	if n := number - f.batch.Len(); n >= 0 {
		e := f.ignored[n]
		return receipts.File{Key: e.Name, State: receipts.Ignored, Size: e.Size, CRC32: crcText(e.CRC32)}, true
	}
	r, ok := f.batch.Result(number)
	if !ok {
		return receipts.File{}, false
	}
	s := f.symbols.At(number)
	file := receipts.File{
		Key: r.Name, State: receipts.Stored, Replaced: r.Replaced, Unread: r.Unread, Size: r.Facts.Size, Gzip: r.Form == stream.Gzip, CRC32: crcText(r.Facts.CRC32),
		DebugFile: known(s.DebugFile), DebugID: known(strings.ToUpper(s.DebugID)),
		CodeFile: known(s.CodeFile), CodeID: known(strings.ToUpper(s.CodeID)), Generator: known(s.Generator),
	}
	if r.Skipped {
		file.State = receipts.Skipped
	} else {
		file.StoredSize = &r.BodySize
	}
	if r.Facts.HasMD5 {
		file.MD5 = known(hex.EncodeToString(r.Facts.MD5[:]))
	}
	return file, true
}

func crcText(sum uint32) string { return fmt.Sprintf("%08x", sum) }

// known returns nil for the empty text.
func known(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
