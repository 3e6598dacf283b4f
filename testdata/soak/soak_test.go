package main

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"spillway/testdata/s3fault"
)

// TestGrowthIsSeen: the soak is worth nothing if it cannot fail.
func TestGrowthIsSeen(t *testing.T) {
	for name, c := range map[string]struct {
		at   func(minute int64) sample
		says string // what is wrong; empty: nothing
	}{
		"flat":                {func(int64) sample { return sample{resident: 100 << 20, goroutines: 100} }, ""},
		"noise":               {func(m int64) sample { return sample{resident: 100<<20 + m%7<<20, goroutines: 100 + m%7} }, ""},
		"a peak":              {func(m int64) sample { return sample{resident: 100<<20 + m/30<<30, goroutines: 100} }, ""},
		"memory":              {func(m int64) sample { return sample{resident: 100<<20 + m<<20, goroutines: 100} }, "resident memory grew"},
		"goroutines":          {func(m int64) sample { return sample{resident: 100 << 20, goroutines: 100 + 2*m} }, "goroutines grew"},
		"little of very much": {func(m int64) sample { return sample{resident: 1<<30 + m<<20, goroutines: 1000 + 2*m} }, ""},
	} {
		w := &watch{}
		for second := range int64(30 * 60) {
			w.samples = append(w.samples, c.at(second/60))
		}
		if wrong := strings.Join(w.wrong(), ", "); (wrong == "") != (c.says == "") || !strings.Contains(wrong, c.says) {
			t.Errorf("%s: %q, want %q", name, wrong, c.says)
		}
		w.samples = w.samples[:steadyAfter/time.Second-1]
		if wrong := w.wrong(); len(wrong) > 0 {
			t.Errorf("%s, in the first minutes: %q", name, wrong)
		}
	}
	if len((&watch{}).wrong()) == 0 {
		t.Error("nothing was looked at, and nothing is wrong")
	}
}

// TestWhatIsTooMuch: at the bound, and one above.
func TestWhatIsTooMuch(t *testing.T) {
	bounds := watch{
		samples: make([]sample, 60), memory: 64 << 20, peak: 64<<20 + overhead,
		before: rest{heap: 5 << 20, goroutines: 20}, after: rest{heap: 5<<20 + heapKept + 48<<20, goroutines: 20 + goroutines},
	}
	for says, more := range map[string]func(*watch){
		"":            func(*watch) {},
		"resident":    func(w *watch) { w.peak++ },
		"of heap":     func(w *watch) { w.after.heap++ },
		"goroutines ": func(w *watch) { w.after.goroutines++ },
	} {
		w := bounds
		more(&w)
		if wrong := strings.Join(w.wrong(), ", "); (wrong == "") != (says == "") || !strings.Contains(wrong, says) {
			t.Errorf("%q, want %q", wrong, says)
		}
	}
}

// TestFaultsByChance: as many as should be, in ways that can be.
func TestFaultsByChance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFaults(1)
		count := func() (all, throttled int) {
			for range 100_000 {
				if fault := f.choose("HeadObject v1/a"); fault != nil {
					all++
					if !fault.Possible() {
						t.Fatalf("%v", fault)
					}
					if fault.Kind == s3fault.SlowDown {
						throttled++
					}
				}
			}
			return all, throttled
		}
		if all, throttled := count(); all < 4700 || all > 5300 || throttled > 0 {
			t.Errorf("%d of 100,000 fail, %d are throttled", all, throttled)
		}
		time.Sleep(spellEvery - spell/2)
		if _, throttled := count(); throttled < 29_000 || throttled > 31_000 {
			t.Errorf("%d of 100,000 are throttled in a spell", throttled)
		}
	})
}

// TestParcels: they are archives as long as they say, whose files have names of
// their own or those of their shape.
func TestParcels(t *testing.T) {
	shapes, err := loadShapes(t.Context(), options{shapes: map[string]int{"small": 1}, cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	small := shapes[0]
	for _, p := range []*parcel{{shape: small, id: 7}, {shape: small, id: 8, again: true, before: []byte("#!/bin/sh\n")}} {
		var out bytes.Buffer
		if err := p.write(&out); err != nil {
			t.Fatal(err)
		}
		if int64(out.Len()) != p.length() || !bytes.HasPrefix(out.Bytes(), p.before) {
			t.Errorf("%d bytes, want %d", out.Len(), p.length())
		}
		z, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			t.Fatal(err)
		}
		own := 0
		for i, f := range z.File {
			r, err := f.Open()
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if err != nil || f.Name != p.name(i) {
				t.Errorf("%q, want %q: %v", f.Name, p.name(i), err)
			}
			if p.own(i) {
				own++
			}
			if p.own(i) != (f.Name != small.common(i)) {
				t.Errorf("%q is its own: %t", f.Name, p.own(i))
			}
		}
		if want := len(small.files); p.again && own != want*3/4 || !p.again && own != want {
			t.Errorf("%d of %d names are its own", own, want)
		}
	}
}

// TestParcelsDiffer: some are cut off, some are slow, some have to be held, some do
// not say how long they are.
func TestParcelsDiffer(t *testing.T) {
	l := &load{shapes: []*shape{{kind: "a", weight: 3, size: 1000}, {kind: "b", weight: 1, size: 1 << 30}}}
	r := rand.New(rand.NewPCG(1, 1))
	counts := map[string]int{}
	for id := range 1000 {
		p := l.pack(r, id)
		for what, is := range map[string]bool{
			p.kind: true, "cut off": p.cutAt > 0, "slow": p.rate > 0, "held": p.before != nil, "chunked": p.chunked, "again": p.again,
		} {
			if is {
				counts[what]++
			}
		}
	}
	for what, want := range map[string]int{"a": 750, "b": 250, "cut off": 100, "slow": 200, "held": 75, "chunked": 333, "again": 667} {
		if n := counts[what]; n < want*7/10 || n > want*13/10 {
			t.Errorf("%d of 1000 are %s, want some %d", n, what, want)
		}
	}
}

func TestPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		began := time.Now()
		w := &paced{w: &out, rate: 100, began: began, left: 250}
		for range 2 {
			if _, err := w.Write(make([]byte, 100)); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("200 bytes took %v", took)
		}
		if _, err := w.Write(make([]byte, 100)); !errors.Is(err, errGone) || out.Len() != 200 {
			t.Errorf("%d bytes, %v", out.Len(), err)
		}
	})
}
