package zip_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"spillway/stream"
	"spillway/testdata/archive"
	"spillway/testdata/ziptest"
)

const (
	mib  = 1 << 20
	part = 5 * mib // the part size of all budgets here
)

// unlimited are rules under which an archive may have any size.
var unlimited = &stream.Rules{Form: ziptest.FormByName, MaxEntries: 1 << 20, MaxUncompressed: 1 << 40}

// rule is an archive that obeys or breaks one rule of the reader.
type rule struct {
	name    string
	archive []byte

	// The archive's files in the order of its directory, if it is accepted. They include
	// ignored ones.
	files []file

	// The error, if the archive is refused. A *FormatError's Reason may be a part.
	err error

	limits *stream.Rules // nil: ziptest.Ordinary

	unreadable bool // archive/zip refuses it
}

type file struct{ name, content string }

// allRules are the rules of all parts of the format.
var allRules = sync.OnceValue(func() []rule {
	return slices.DeleteFunc(slices.Clone(everyRule()), rule.needsDisk)
})

// needsDisk reports whether r's archive is spilled and does not fit into memory.
func (r rule) needsDisk() bool {
	return len(r.archive) > 127<<10 && strings.Contains(r.name, "spilled")
}

var everyRule = sync.OnceValue(func() []rule {
	return slices.Concat(localHeaderRules(), entryEndRules(), descriptorRules(), droppedDescriptorRules(), methodRules(),
		directoryRules(), archiveEndRules(), paddingRules(), startRules(), shiftRules(), hiddenRules(), nameRules(), limitRules())
})

func TestZipRules(t *testing.T) {
	names := make(map[string]bool)
	for _, r := range allRules() {
		if names[r.name] {
			t.Errorf("two rules are named %q", r.name)
		}
		names[r.name] = true
		t.Run(r.name, func(t *testing.T) {
			s, report, err := ziptest.Reading{Data: r.archive, Rules: r.limits}.Do(t)
			r.check(t, s, report, err)
		})
	}
}

// check checks the outcome of a reading of r's archive.
func (r *rule) check(t *testing.T, s *ziptest.Store, report *stream.Report, err error) {
	t.Helper()
	if r.err != nil {
		ziptest.CheckError(t, err, r.err)
		if kept := s.Kept(); len(kept) > 0 {
			t.Errorf("an archive that is refused keeps %q", kept[0].Name)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	stored, ignored := make(map[string][]byte), []string{}
	everything := make(map[string][]byte)
	for _, f := range r.files {
		everything[f.name] = []byte(f.content)
		if form, err := ziptest.FormByName(f.name); err != nil || form == stream.Ignore {
			ignored = append(ignored, f.name)
		} else {
			stored[f.name] = []byte(f.content)
		}
	}
	ziptest.CheckSame(t, ziptest.Contents(t, s), stored)
	if !slices.Equal(stream.IgnoredNames(report.Ignored), ignored) {
		t.Errorf("ignored %q, want %q", stream.IgnoredNames(report.Ignored), ignored)
	}
	if report.Bytes != int64(len(r.archive)) {
		t.Errorf("read %d bytes of %d", report.Bytes, len(r.archive))
	}
	seen, err := ziptest.Reference(r.archive)
	if r.unreadable {
		if err == nil {
			t.Error("archive/zip reads it")
		}
		return
	}
	if err != nil {
		t.Fatalf("archive/zip: %v", err)
	}
	ziptest.CheckSame(t, everything, seen)
}

func damaged(entry, reason string) error { return &stream.FormatError{Entry: entry, Reason: reason} }

// entry is a deflated entry of a few lines.
func entry(name string) archive.Entry {
	return archive.Entry{Name: name, Data: []byte(text(name)), Method: archive.Deflate}
}

// text is the content of the entry of that name.
func text(name string) string {
	return "MODULE Linux x86_64 0A0B " + name + "\n" + strings.Repeat("FILE 0 "+name+"\n", 3)
}

// texts returns the files of entries that entry made.
func texts(names ...string) []file {
	var files []file
	for _, name := range names {
		files = append(files, file{name, text(name)})
	}
	return files
}

// with returns e after change.
func with(e archive.Entry, change func(*archive.Entry)) archive.Entry {
	change(&e)
	return e
}

// named has a name for each form, so that every path through the reader is tested.
var named = []string{"a.sym", "a.dll", "a-symbols.txt"}

func TestZipWriters(t *testing.T) {
	for _, w := range archive.Writers {
		t.Run(w.Name, func(t *testing.T) {
			samples := archive.Samples(1)
			r := rule{archive: w.Write(samples...)}
			for _, f := range samples {
				if !strings.HasSuffix(f.Name, "/") {
					r.files = append(r.files, file{f.Name, string(f.Data)})
				}
			}
			s, report, err := ziptest.Reading{Data: r.archive}.Do(t)
			r.check(t, s, report, err)
			if len(s.Kept()) == 0 {
				t.Error("nothing was stored")
			}
		})
	}
}
