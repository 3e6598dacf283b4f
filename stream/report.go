package stream

import (
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
)

// Report is what an archive was found to be, as far as it was read.
type Report struct {
	Bytes       int64    // read of the archive
	Entries     int      // files begun, without directories
	Expanded    int64    // bytes of all entries, uncompressed
	Ignored     []string // names of the entries that were verified and not stored, in directory order
	Biggest     string   // the entry of the most uncompressed bytes
	BiggestSize int64
	At          string // the entry last begun

	// Kinds are the files by the extension of their names, in lower case:
	// "sym", or OtherKind for the ones that have none, or an odd one, and for
	// those of any more than maxKinds.
	Kinds map[string]Kind
}

// Kind is what there is of one kind of file.
type Kind struct {
	Files int
	Bytes int64 // uncompressed
}

// OtherKind is the kind of the files that have no kind of their own.
const OtherKind = "other"

const (
	maxKinds     = 16
	maxExtension = 8 // bytes
)

// Progress is the report on an archive while it is being read, for any goroutine
// to look at.
type Progress struct {
	mu     sync.Mutex
	report Report
}

// Report returns what is known by now. Bytes and Expanded are counted at the end.
func (p *Progress) Report() Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.report
	r.Ignored = slices.Clip(r.Ignored) // only appended to
	r.Kinds = maps.Clone(r.Kinds)
	return r
}

// end completes the report, which may outlive the table that the names are in.
func (p *Progress) end(read, uncompressed int64) {
	p.note(func(r *Report) {
		r.Bytes, r.Expanded = read, uncompressed
		r.Biggest, r.At = strings.Clone(r.Biggest), strings.Clone(r.At)
		r.Ignored = CopyNames(r.Ignored)
	})
}

// note changes the report.
func (p *Progress) note(change func(r *Report)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.report)
}

// at takes note of the entry that is begun.
func (p *Progress) at(name string) { p.note(func(r *Report) { r.At = name }) }

// count takes note of a file's size.
func (p *Progress) count(h *Header, size int64) {
	if !h.Directory {
		p.note(func(r *Report) { r.count(h.Name, size) })
	}
}

func (r *Report) count(name string, size int64) {
	if size > r.BiggestSize {
		r.Biggest, r.BiggestSize = name, size
	}
	if r.Kinds == nil {
		r.Kinds = make(map[string]Kind)
	}
	kind := kindOf(name)
	k, known := r.Kinds[kind]
	if !known && len(r.Kinds) >= maxKinds {
		kind = OtherKind
		k = r.Kinds[kind]
	}
	k.Files++
	k.Bytes += size
	r.Kinds[kind] = k
}

// kindOf is the extension of a name, if it is one that people use.
func kindOf(name string) string {
	extension := strings.ToLower(strings.TrimPrefix(path.Ext(path.Base(name)), "."))
	odd := func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }
	if extension == "" || len(extension) > maxExtension || strings.ContainsFunc(extension, odd) {
		return OtherKind
	}
	return extension
}
