package health

import (
	"cmp"
	"slices"
	"strings"
)

// A Kind is what an archive has of one kind of file.
type Kind struct {
	Name  string `json:"name"` // the extension in lower case, without its dot
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"` // expanded
}

// A Shape is what has become known of an upload's archive. It says nothing of
// who sent it.
type Shape struct {
	Filename string `json:"filename"`
	Try      bool   `json:"try"` // for try symbols

	ArchiveBytes  int64  `json:"archive_bytes"` // read so far
	ExpandedBytes int64  `json:"expanded_bytes"`
	Entries       int    `json:"entries"`
	Kinds         []Kind `json:"kinds"`
	Biggest       string `json:"biggest"` // the entry of most expanded bytes
	BiggestBytes  int64  `json:"biggest_bytes"`
	At            string `json:"at"` // the entry last begun

	Uploaded  int   `json:"uploaded"`   // entries that were put into the store, and are visible
	Skipped   int   `json:"skipped"`    // entries that were there already
	Ignored   int   `json:"ignored"`    // entries that are not wanted
	SentBytes int64 `json:"sent_bytes"` // of the bodies of those that were uploaded

	// PeakMemoryBytes and SpilledBytes are the most that the upload had at
	// once in memory beside its fixed room, and on the disk.
	PeakMemoryBytes int64 `json:"peak_memory_bytes"`
	SpilledBytes    int64 `json:"spilled_bytes"`
}

const (
	// longestText and mostKinds bound what is remembered of what clients choose.
	longestText = 300
	mostKinds   = 12
)

// bounded returns s without what goes on and on: the rest of long names, and
// the kinds of files beyond the largest, which become one.
func (s Shape) bounded() Shape {
	s.Filename, s.Biggest, s.At = clip(s.Filename), clip(s.Biggest), clip(s.At)
	s.Kinds = slices.Clone(s.Kinds)
	slices.SortFunc(s.Kinds, func(a, b Kind) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Name, b.Name)) })
	if len(s.Kinds) > mostKinds {
		rest := Kind{Name: other}
		for _, k := range s.Kinds[mostKinds-1:] {
			rest.Files += k.Files
			rest.Bytes += k.Bytes
		}
		s.Kinds = append(s.Kinds[:mostKinds-1], rest)
	}
	for i := range s.Kinds {
		s.Kinds[i].Name = clip(s.Kinds[i].Name)
	}
	return s
}

// clip cuts a text in its middle, for the ends of names tell most, and makes it
// valid UTF-8.
func clip(text string) string {
	if len(text) > longestText {
		text = text[:longestText/2] + "…" + text[len(text)-longestText/2:]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
