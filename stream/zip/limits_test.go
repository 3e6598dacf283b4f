package zip_test

import (
	"fmt"
	"strings"
	"testing"

	"spillway/stream"
	"spillway/testdata/archive"
	"spillway/testdata/ziptest"
)

// TestDirectoryLength has central directories of about the greatest length.
func TestDirectoryLength(t *testing.T) {
	const limit, longest = 32 * mib, 1<<16 - 1
	for over := range 3 {
		size := limit + over - 1
		t.Run(fmt.Sprintf("%d bytes", size), func(t *testing.T) {
			var entries []archive.Entry
			for left := size; left > 0; {
				e := archive.Entry{Name: fmt.Sprintf("%06d.dll", len(entries))}
				header := 46 + len(e.Name)
				comment := min(left-header, longest)
				if after := left - header - comment; after > 0 && after < header {
					comment -= header // leave enough for another header
				}
				e.Comment = strings.Repeat("c", comment)
				left -= header + comment
				entries = append(entries, e)
			}
			_, _, err := ziptest.Reading{Data: archive.Build(entries...), Rules: unlimited}.Do(t)
			var want error
			if size > limit {
				want = &stream.LimitError{What: stream.DirectoryBound, Limit: limit}
			}
			ziptest.CheckError(t, err, want)
		})
	}
}
