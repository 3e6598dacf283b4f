package stream_test

import (
	"strings"
	"testing"
	"time"

	"spillway/stream"
	"spillway/testdata/archive"
)

// FuzzReadZip holds the reader against the standard library's: what it takes
// and archive/zip can read, both read alike. Whatever it is given, it leaves
// nothing behind, which every [reading] checks.
func FuzzReadZip(f *testing.F) {
	seeds := 0
	for _, r := range allRules() {
		if len(r.archive) < 64<<10 {
			f.Add(r.archive)
			seeds++
		}
	}
	for _, w := range archive.Writers {
		samples := archive.Samples(1)
		for i := range samples {
			samples[i].Data = samples[i].Data[:min(len(samples[i].Data), 500)]
		}
		f.Add(w.Write(samples...))
		seeds++
	}
	f.Add(mixed().archive)
	if rules := len(allRules()); seeds < rules*9/10 {
		f.Fatalf("%d seeds of %d rules", seeds, rules)
	}

	m, err := stream.NewMemory(64*mib, part, 4, time.Second, nil)
	if err != nil {
		f.Fatal(err)
	}
	rules := &stream.Rules{MaxEntries: 100, MaxExpanded: 4 * mib, Form: formByName}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, report, err := reading{data: data, memory: m, rules: rules}.do(t)
		if err != nil {
			if kept := s.kept(); len(kept) > 0 {
				t.Errorf("refused with %v, but keeps %q", err, kept[0].Name)
			}
			return
		}
		if report.Bytes != int64(len(data)) {
			t.Errorf("took %d bytes of %d", report.Bytes, len(data))
		}
		got := contents(t, s)
		seen, err := reference(data)
		if err != nil {
			return
		}
		for _, name := range report.Ignored {
			if _, ok := seen[name]; !ok {
				t.Errorf("ignored %q, which archive/zip does not see", name)
			}
			if !strings.HasSuffix(name, "-symbols.txt") {
				t.Errorf("ignored %q", name)
			}
			delete(seen, name)
		}
		checkSame(t, got, seen)
	})
}
