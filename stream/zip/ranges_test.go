package zip_test

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"testing"

	"spillway/stream"
	"spillway/stream/budget"
	"spillway/stream/zip"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

// reading is what a reading has come to.
type reading struct {
	contents map[string][]byte
	skipped  []string
	ignored  []string
	unread   int
	bytes    int64
	err      error
}

func (r *reading) text() string {
	if r.err == nil {
		return "accepted"
	}
	return fmt.Sprintf("%T %v", r.err, r.err)
}

// forwardSays reports whether an archive that is read forward gets that verdict. If several entries
// are damaged, workers find one or the other first.
func forwardSays(t *testing.T, m *budget.Budget, data []byte, limits *stream.Rules, verdict string) bool {
	t.Helper()
	for range 100 {
		if r := readForward(t, m, data, limits); r.text() == verdict {
			return true
		}
	}
	return false
}

// readForward reads an archive forward, and readRanged in ranges. The store has the entries that
// stored names.
func readForward(t *testing.T, m *budget.Budget, data []byte, limits *stream.Rules) reading {
	t.Helper()
	s, report, err := ziptest.Reading{Data: data, Budget: m, Rules: limits}.Do(t)
	return result(t, s, report, err)
}

func readRanged(t *testing.T, m *budget.Budget, source *ziptest.Ranged, limits *stream.Rules, stored func(name string) bool) reading {
	t.Helper()
	s := ziptest.NewStore(t, m)
	s.FindEntry = func(e stream.Entry) (stream.Found, error) {
		if stored(e.Name) {
			return stream.Present, nil
		}
		return stream.Absent, nil
	}
	s, report, err := ziptest.Reading{Source: source, Budget: m, Rules: limits, Store: s}.Do(t)
	return result(t, s, report, err)
}

func result(t *testing.T, s *ziptest.Store, report *stream.Report, err error) reading {
	t.Helper()
	r := reading{skipped: s.Skipped(), ignored: stream.IgnoredNames(report.Ignored), unread: report.Unread, bytes: report.Bytes, err: err}
	if err == nil {
		r.contents = ziptest.Contents(t, s)
	} else if kept := s.Kept(); len(kept) > 0 || len(r.skipped) > 0 {
		t.Errorf("refused with %v, but %d objects are kept, %q skipped", err, len(kept), r.skipped)
	}
	return r
}

func nothing(string) bool { return false }

// some returns a third of all names.
func some(which uint32) func(name string) bool {
	return func(name string) bool {
		h := fnv.New32a()
		h.Write([]byte(name))
		return h.Sum32()%3 == which
	}
}

// checkRanged reads an archive in ranges, while the store has nothing of it, and a part of it. What
// is read must be judged as if the archive were read forward.
func checkRanged(t *testing.T, m *budget.Budget, data []byte, limits *stream.Rules) {
	t.Helper()
	forward := readForward(t, m, data, limits)
	for _, tail := range []int{zip.TailSize, 100} {
		tail = min(tail, len(data))
		checkUnstored(t, m, &ziptest.Ranged{Data: data, Tail: tail}, limits, &forward)
		for which := range uint32(3) {
			checkPartly(t, m, &ziptest.Ranged{Data: data, Tail: tail}, limits, &forward, some(which))
		}
		checkPartly(t, m, &ziptest.Ranged{Data: data, Tail: tail}, limits, &forward, func(string) bool { return true })
	}
}

// checkUnstored reads an archive in ranges of which nothing is stored.
func checkUnstored(t *testing.T, m *budget.Budget, source *ziptest.Ranged, limits *stream.Rules, forward *reading) {
	t.Helper()
	ranged := readRanged(t, m, source, limits, nothing)
	if ranged.text() != forward.text() && !forwardSays(t, m, source.Data, limits, ranged.text()) {
		t.Errorf("nothing is stored: in ranges %s\nforward %s", ranged.text(), forward.text())
		return
	}
	if forward.err != nil || ranged.err != nil {
		return
	}
	ziptest.CheckSame(t, ranged.contents, forward.contents)
	if !slices.Equal(ranged.ignored, forward.ignored) || ranged.unread > 0 || len(ranged.skipped) > 0 || ranged.bytes != forward.bytes {
		t.Errorf("nothing is stored: %+v, want %+v", ranged, forward)
	}
}

// checkPartly reads an archive in ranges of which a part is stored.
func checkPartly(t *testing.T, m *budget.Budget, source *ziptest.Ranged, limits *stream.Rules, forward *reading, stored func(string) bool) {
	t.Helper()
	ranged := readRanged(t, m, source, limits, stored)
	switch {
	case forward.err != nil && ranged.err != nil:
		// The first fault may be in what was not read.
		if ranged.unread == 0 && ranged.text() != forward.text() && !forwardSays(t, m, source.Data, limits, ranged.text()) {
			t.Errorf("partly stored: in ranges %s\nforward %s", ranged.text(), forward.text())
		}
	case forward.err != nil:
		if ranged.unread == 0 {
			t.Errorf("everything was read, and it was accepted: forward %s", forward.text())
		}
	case ranged.err != nil:
		t.Errorf("partly stored: in ranges %s, forward accepted", ranged.text())
	default:
		want := maps.Clone(forward.contents)
		for _, name := range ranged.skipped {
			delete(want, name)
			if !stored(name) {
				t.Errorf("%q was skipped", name)
			}
		}
		ziptest.CheckSame(t, ranged.contents, want)
		if !slices.Equal(ranged.ignored, forward.ignored) || ranged.bytes != forward.bytes {
			t.Errorf("partly stored: %+v, want %+v", ranged, forward)
		}
		if !source.Rewound() {
			for name := range ranged.contents {
				if stored(name) {
					t.Errorf("%q was read", name)
				}
			}
		}
	}
}

// TestRangesAgree reads the archive of every rule, those of all writers, and archives that cannot be
// read forward, in ranges.
func TestRangesAgree(t *testing.T) {
	m := budgettest.New(t)
	accepted, inRanges := 0, 0
	for _, r := range allRules() {
		t.Run(r.name, func(t *testing.T) {
			checkRanged(t, m, r.archive, r.limits)
			if r.err == nil {
				source := &ziptest.Ranged{Data: r.archive}
				readRanged(t, m, source, r.limits, nothing)
				if accepted++; !source.Rewound() {
					inRanges++
				}
			}
		})
	}
	// The others have a prefix, a gap, or entries that are not listed.
	if inRanges < accepted*2/3 {
		t.Errorf("%d of %d archives were read in ranges", inRanges, accepted)
	}
	for _, w := range archive.Writers {
		t.Run(w.Name, func(t *testing.T) { checkRanged(t, m, w.Write(archive.Samples(1)...), nil) })
	}
	t.Run("mixed", func(t *testing.T) { checkRanged(t, m, mixed().archive, nil) })
}
