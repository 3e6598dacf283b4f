package observe

import (
	"cmp"
	"slices"
	"strings"
)

// A Kind counts the files of one kind in an archive.
type Kind struct {
	Name  string `json:"name"` // extension in lower case, without its dot
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"` // expanded
}

// A Shape describes an upload's archive, as far as it is known. It says nothing about
// who sent it.
type Shape struct {
	Filename string `json:"filename"`
	Try      bool   `json:"try"`  // try symbols
	Host     string `json:"host"` // that the archive is fetched from; empty if the client sends it

	ArchiveBytes  int64  `json:"archive_bytes"` // read so far, or passed over
	FetchedBytes  int64  `json:"fetched_bytes"` // that came from Host
	ExpandedBytes int64  `json:"expanded_bytes"`
	HashedBytes   int64  `json:"md5_bytes"` // expanded bytes whose MD5 was computed
	Entries       int    `json:"entries"`
	Kinds         []Kind `json:"kinds"`
	Biggest       string `json:"biggest"` // entry with the most expanded bytes
	BiggestBytes  int64  `json:"biggest_bytes"`
	At            string `json:"at"` // entry last begun

	Uploaded  int   `json:"uploaded"`   // entries stored, and visible
	Skipped   int   `json:"skipped"`    // entries that the store had already
	Unread    int   `json:"unread"`     // entries that were not fetched, since the store had them or does not take them
	Ignored   int   `json:"ignored"`    // entries that are not stored by rule
	SentBytes int64 `json:"sent_bytes"` // bodies of the uploaded entries

	// PeakMemoryBytes and SpilledBytes are the upload's peak use of memory, beside its
	// fixed room, and of the disk.
	PeakMemoryBytes int64 `json:"peak_memory_bytes"`
	SpilledBytes    int64 `json:"spilled_bytes"`
}

// received returns the bytes that came from the client or from Host.
func (s *Shape) received() int64 {
	if s.Host != "" {
		return s.FetchedBytes
	}
	return s.ArchiveBytes
}

const (
	// longestText (in bytes) and mostKinds bound what clients choose.
	longestText = 300
	mostKinds   = 12
)

// bounded returns s with long names cut, and with all kinds but the largest merged
// into one.
func (s Shape) bounded() Shape {
	s.Filename, s.Host, s.Biggest, s.At = clip(s.Filename), clip(s.Host), clip(s.Biggest), clip(s.At)
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

// clip cuts a long text in its middle, because the ends of names say most, and makes
// it valid UTF-8.
func clip(text string) string {
	if len(text) > longestText {
		text = text[:longestText/2] + "…" + text[len(text)-longestText/2:]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
