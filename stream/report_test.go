package stream_test

import (
	"fmt"
	"maps"
	"testing"

	"spillway/stream"
	"spillway/testdata/archive"
	"spillway/testdata/ziptest"
)

func TestKinds(t *testing.T) {
	file := func(name string, size int, change ...func(*archive.Entry)) archive.Entry {
		e := archive.Entry{Name: name, Data: make([]byte, size), Method: archive.Deflate}
		for _, f := range change {
			f(&e)
		}
		return e
	}
	withDescriptor := func(e *archive.Entry) { e.Descriptor = archive.Signed32 }
	entries := []archive.Entry{
		file("a/1/a.sym", 10), file("a/1/b.SYM", 5), file("a/1/c.dbg.gz", 3), file("a/1/d.pd_", 2, withDescriptor),
		file("a/1/none", 1), file("a/1/odd.a-b", 1), file("a/1/long.extension", 1), file("build-symbols.txt", 7), file("a.dir/", 0),
	}
	want := map[string]stream.Kind{
		"sym": {Files: 2, Bytes: 15}, "gz": {Files: 1, Bytes: 3}, "pd_": {Files: 1, Bytes: 2}, "txt": {Files: 1, Bytes: 7},
		stream.OtherKind: {Files: 3, Bytes: 3},
	}
	for _, spilled := range []bool{false, true} {
		a := archive.Archive{Entries: entries}
		if spilled {
			a.Prefix = []byte("#!")
		}
		_, report, err := ziptest.Reading{Data: a.Bytes()}.Do(t)
		if err != nil || !maps.Equal(report.Kinds, want) || report.Biggest != "a/1/a.sym" {
			t.Errorf("spilled %t: %+v, error %v", spilled, report, err)
		}
	}

	// The number of kinds is bounded.
	var many []archive.Entry
	for i := range 100 {
		many = append(many, file(fmt.Sprintf("a/1/a.x%d", i), 1))
	}
	_, report, err := ziptest.Reading{Data: archive.Build(many...)}.Do(t)
	files := 0
	for _, k := range report.Kinds {
		files += k.Files
	}
	if err != nil || len(report.Kinds) > 17 || files != 100 {
		t.Errorf("%d kinds of %d files, error %v", len(report.Kinds), files, err)
	}
}
