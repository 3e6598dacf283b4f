package stream

import (
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
)

// Report describes an archive, as far as it has been read.
type Report struct {
	Bytes        int64         // of the archive
	Entries      int           // begun, without directories
	Unread       int           // of the entries, those that were skipped without being read
	Uncompressed int64         // uncompressed bytes of all entries
	Hashed       int64         // uncompressed bytes whose MD5 was computed
	IgnoredCount int           // verified and not stored
	Ignored      []IgnoredFile // these, in the directory's order; see [Progress.TakeIgnored]
	Biggest      string        // the entry with the most uncompressed bytes
	BiggestSize  int64         // of that entry, uncompressed
	At           string        // the current entry, or the last

	// Kinds counts the files by the extension of their names, in lower case, such as
	// "sym". Files with an unusual extension or none are OtherKind, and so are files
	// of further kinds once there are maxKinds.
	Kinds map[string]Kind
}

// IgnoredFile is an entry that is verified and not stored.
type IgnoredFile struct {
	Name  string
	Size  int64 // uncompressed, in bytes
	CRC32 uint32
}

// IgnoredNames returns the names of files.
func IgnoredNames(files []IgnoredFile) []string {
	all := make([]string, len(files))
	for i := range files {
		all[i] = files[i].Name
	}
	return all
}

// Kind counts the files of one kind.
type Kind struct {
	Files int
	Bytes int64 // uncompressed
}

// OtherKind is the kind of files without a kind of their own.
const OtherKind = "other"

const (
	maxKinds     = 16
	maxExtension = 8 // bytes
)

// Progress is the report on an archive that is being read. It may be used concurrently.
type Progress struct {
	mu     sync.Mutex
	report Report
}

// Report returns the report so far. Bytes, Uncompressed and Hashed are set at the end.
func (p *Progress) Report() Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.report
	r.Ignored = slices.Clip(r.Ignored) // only appended to
	r.Kinds = maps.Clone(r.Kinds)
	return r
}

// TakeIgnored returns the report's Ignored, and removes them from it. Their names are in
// the entry table: whoever keeps them after the share has been closed copies them first.
func (p *Progress) TakeIgnored() []IgnoredFile {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.report.Ignored
	p.report.Ignored = nil
	return taken
}

// end completes the report. It copies the names that stay there.
func (p *Progress) end(read int64, x *expansion) {
	p.note(func(r *Report) {
		r.Bytes, r.Uncompressed, r.Hashed = read, x.total(), x.hashed.Load()
		r.Biggest, r.At = strings.Clone(r.Biggest), strings.Clone(r.At)
	})
}

// note changes the report under the lock.
func (p *Progress) note(change func(r *Report)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.report)
}

// at reports the current entry.
func (p *Progress) at(name string) { p.note(func(r *Report) { r.At = name }) }

// count adds a file and its size.
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
	k, seen := r.Kinds[kind]
	if !seen && len(r.Kinds) >= maxKinds {
		kind = OtherKind
		k = r.Kinds[kind]
	}
	k.Files++
	k.Bytes += size
	r.Kinds[kind] = k
}

// kindOf returns the extension of a name, or OtherKind if it is unusual.
func kindOf(name string) string {
	extension := strings.ToLower(strings.TrimPrefix(path.Ext(path.Base(name)), "."))
	unusual := func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }
	if extension == "" || len(extension) > maxExtension || strings.ContainsFunc(extension, unusual) {
		return OtherKind
	}
	return extension
}
