package upload

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strings"

	"spillway/fetch"
	"spillway/observe"
	"spillway/stream"
	"spillway/stream/zip"
)

// download is the URL that an upload fetches its archive from.
type download struct {
	link    string // as the client sent it
	url     *url.URL
	content *fetch.Download // nil until it has begun
}

// fetch opens the download of an archive. It notes the archive's name and the URL.
//
// There is no body that would break off when the client leaves. So the upload follows the
// request's context, until it is published.
func (u *upload) fetch(link string, try bool) (source, error) {
	u.note(func() { u.try = try })
	link = strings.TrimSpace(link)
	parsed, err := u.api.cfg.Fetch.Parse(link)
	if err != nil {
		return nil, err
	}
	// As Python's os.path.basename.
	base := parsed.EscapedPath()
	base = base[strings.LastIndexByte(base, '/')+1:]
	name, err := archiveName(base, base)
	if e, ok := errors.AsType[*extensionError](err); ok {
		e.ofURL = true
	}
	u.note(func() { u.filename, u.download = name, &download{link: link, url: parsed} })
	if err != nil {
		return nil, err
	}
	src := &urlSource{unfollow: u.life.when(u.r.Context(), gone)}
	if src.Download, err = u.api.cfg.Fetch.Open(u.life.ctx, parsed, u.account, zip.TailSize); err != nil {
		src.unfollow()
		return nil, err
	}
	u.note(func() { u.download.content = src.Download })
	if err := u.allow(src.Size()); err != nil {
		src.Close()
		return nil, err
	}
	return src, nil
}

// allow checks the limits on an archive of that many bytes.
func (u *upload) allow(size int64) error {
	if limit := u.api.cfg.MaxUploadSize; size > limit {
		return &tooLargeError{limit}
	}
	return u.claim.grow(size)
}

// gone is the cause of an upload whose client has left.
func gone(requested context.Context) error { return &goneError{context.Cause(requested)} }

// urlSource is an archive that is fetched from a URL.
type urlSource struct {
	*fetch.Download
	unfollow func() // the client may leave from then on
}

// End does nothing: Read returns io.EOF only where the whole file has arrived.
func (s *urlSource) End() error { return nil }

func (s *urlSource) Close() {
	s.unfollow()
	s.Download.Close()
}

// archive returns what the archive is read from. If the remote gives ranges, it is a
// [stream.RangeReader].
func (u *upload) archive(src source) io.Reader {
	r := archiveReader{u, src}
	if s, ok := src.(*urlSource); ok && s.Ranged() {
		return &rangedArchive{r, s.Download}
	}
	return &r
}

// rangedArchive is an archive that is fetched in ranges.
type rangedArchive struct {
	archiveReader
	file *fetch.Download
}

// Read reads from the present range.
func (a *rangedArchive) Read(p []byte) (int, error) {
	n, err := a.archiveReader.Read(p)
	if e, ok := errors.AsType[*fetch.RemoteError](err); ok && e.Changed {
		err = errors.Join(stream.ErrRanges, err)
	}
	return n, err
}

// Size implements [stream.RangeReader].
func (a *rangedArchive) Size() int64 { return a.file.Size() }

// Range implements [stream.RangeReader].
func (a *rangedArchive) Range(from, to int64) {
	a.u.archiveBytes.Store(from)
	a.file.Range(from, to)
}

// Rewind implements [stream.RangeReader].
func (a *rangedArchive) Rewind() (size int64, err error) {
	a.u.archiveBytes.Store(0)
	if err := a.file.Rewind(); err != nil {
		return 0, err
	}
	return a.file.Size(), a.u.allow(a.file.Size())
}

// observed is what the log says of the download; nil if there is none. No query is in it.
func (d *download) observed() *observe.Download {
	if d == nil {
		return nil
	}
	o := &observe.Download{URL: fetch.Shown(d.url)}
	if d.content != nil {
		o.Bytes, o.Requests, o.Resumes = d.content.Fetched(), d.content.Requests(), d.content.Resumes()
		for _, redirect := range d.content.Redirects() {
			o.Redirects = append(o.Redirects, fetch.Shown(redirect))
		}
	}
	return o
}

// redirects returns the URLs that redirects led to, for the client that has sent the first.
func (d *download) redirects() []string {
	urls := []string{}
	if d != nil && d.content != nil {
		for _, redirect := range d.content.Redirects() {
			urls = append(urls, redirect.String())
		}
	}
	return urls
}

// linkSent returns the URL as the client sent it; nil if it sent none.
func (d *download) linkSent() *string {
	if d == nil {
		return nil
	}
	return &d.link
}

// host returns the host that the archive is fetched from; empty if it is not fetched.
func (d *download) host() string {
	if d == nil {
		return ""
	}
	return d.url.Host
}

// size returns the size of the archive in bytes; 0 if it is not known.
func (d *download) size() int64 {
	if d == nil || d.content == nil {
		return 0
	}
	return d.content.Size()
}

// fetched returns how many bytes have arrived.
func (d *download) fetched() int64 {
	if d == nil || d.content == nil {
		return 0
	}
	return d.content.Fetched()
}

// memory returns the memory that the URLs take in the answer, in bytes.
func (d *download) memory() (n int64) {
	if d == nil {
		return 0
	}
	for _, redirect := range d.redirects() {
		n += 2 * int64(len(redirect)) // parsed, too
	}
	return n + 2*int64(len(d.link))
}
