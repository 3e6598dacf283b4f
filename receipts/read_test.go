package receipts

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// memoryBucket is a [Bucket] in memory.
type memoryBucket struct {
	objects map[string][]byte

	fail   string       // the name of an object whose reads fail
	listed atomic.Int64 // objects
	atOnce atomic.Int64 // reads
	most   atomic.Int64 // reads at once
	mu     sync.Mutex
	read   []string // names
}

var errBucket = errors.New("the bucket is down")

func (b *memoryBucket) List(_ context.Context, after string) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		for _, name := range slices.Sorted(maps.Keys(b.objects)) {
			if name <= after {
				continue
			}
			b.listed.Add(1)
			if !yield(Listed{name, int64(len(b.objects[name]))}, nil) {
				return
			}
		}
	}
}

func (b *memoryBucket) Read(_ context.Context, name string, off, n int64) ([]byte, error) {
	for now := b.atOnce.Add(1); ; {
		most := b.most.Load()
		if now <= most || b.most.CompareAndSwap(most, now) {
			break
		}
	}
	defer b.atOnce.Add(-1)
	b.mu.Lock()
	b.read = append(b.read, name)
	b.mu.Unlock()
	body, ok := b.objects[name]
	switch {
	case name == b.fail:
		return nil, errBucket
	case !ok:
		return nil, fs.ErrNotExist
	}
	return body[off:min(off+n, int64(len(body)))], nil
}

// write writes the receipt of an upload, and returns its name.
func (b *memoryBucket) write(t *testing.T, h Head, files Files) string {
	t.Helper()
	if b.objects == nil {
		b.objects = map[string][]byte{}
	}
	objects := Objects(h, files, 9)
	for _, o := range objects {
		b.objects[o.Name] = readAll(t, o)
	}
	return objects[len(objects)-1].Name
}

// ask prints what a query selects, as JSON lines.
func ask(t *testing.T, q Query, buckets ...Bucket) (lines []string, stats Stats) {
	t.Helper()
	var out bytes.Buffer
	stats, err := Print(t.Context(), buckets, q, false, &out, func(e *MalformedError) { t.Error(e) })
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(strings.Lines(out.String())), stats
}

// printed is what a printed receipt says, in short: its ID and the keys of its files.
func printed(t *testing.T, line string) string {
	t.Helper()
	var r struct {
		Head
		Files []File
	}
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	keys := []string{}
	for _, f := range r.Files {
		keys = append(keys, f.Key)
	}
	return fmt.Sprintf("%d: %s", r.ID, strings.Join(keys, " "))
}

// TestFilters asks for each thing that receipts are looked up by.
func TestFilters(t *testing.T) {
	one, other := modules{1, 2}, modules{2, 1}
	sym := func(m modules, n int) string { return fmt.Sprintf("lib%d.pdb/%s/lib%d.sym", n, m.debugID(n), n) }
	dll := func(m modules, n int) string {
		return fmt.Sprintf("lib%d.dll/%s/lib%d.dl_", n, strings.ToLower(m.codeID(n)), n)
	}
	allOne := "1: " + strings.Join([]string{sym(one, 0), dll(one, 0), sym(one, 1), dll(one, 1)}, " ")
	allOther := "2: " + strings.Join([]string{sym(other, 0), dll(other, 0)}, " ")
	allTry := "3: " + strings.Join([]string{sym(one, 0), dll(one, 0), sym(one, 1), dll(one, 1)}, " ")

	regular, try := &memoryBucket{}, &memoryBucket{}
	regular.write(t, headOf("a@example.com", 1, noon), one)
	try.write(t, headOf("b@example.com", 3, noon.Add(time.Hour)), one)
	regular.write(t, headOf("b@example.com", 2, noon.Add(48*time.Hour)), other)
	regular.objects[".spillway-probe-receipt"] = nil

	for _, test := range []struct {
		name string
		q    Query
		want []string
		read int
	}{
		{"everything", Query{}, []string{allOne, allTry, allOther}, 3},
		{"since", Query{Since: noon.Add(time.Second)}, []string{allTry, allOther}, 2},
		{"since the second", Query{Since: noon.Truncate(time.Second)}, []string{allOne, allTry, allOther}, 3},
		{"until", Query{Until: noon.Add(time.Hour).Truncate(time.Second)}, []string{allOne}, 1},
		{"since and until", Query{Since: noon.Add(time.Minute), Until: noon.Add(2 * time.Hour)}, []string{allTry}, 1},
		{"a time without uploads", Query{Since: noon.Add(2 * time.Hour), Until: noon.Add(3 * time.Hour)}, nil, 0},
		{"in another zone", Query{Since: noon.Add(time.Minute).In(time.FixedZone("", 5*3600)), Until: noon.Add(2 * time.Hour)}, []string{allTry}, 1},
		{"user", Query{User: "b@example.com"}, []string{allTry, allOther}, 2},
		{"user in capitals", Query{User: "B@EXAMPLE.com"}, []string{allTry, allOther}, 2},
		{"user nobody knows", Query{User: "c@example.com"}, nil, 0},
		{"key", Query{Key: sym(other, 0)}, []string{"2: " + sym(other, 0)}, 1},
		{"key in both buckets", Query{Key: dll(one, 1)}, []string{"1: " + dll(one, 1), "3: " + dll(one, 1)}, 2},
		{"another file of a module", Query{Key: "x/" + one.debugID(0) + "/y"}, nil, 2},
		{"key that no upload has", Query{Key: "x/ABC/y"}, nil, 0},
		{"key that is no symbol key", Query{Key: "build-symbols.txt"}, nil, 0},
		{"debug ID", Query{DebugID: one.debugID(1)}, []string{"1: " + sym(one, 1), "3: " + sym(one, 1)}, 2},
		{"debug ID in lower case", Query{DebugID: strings.ToLower(other.debugID(0))}, []string{"2: " + sym(other, 0)}, 1},
		{"code ID, in the key, too", Query{CodeID: other.codeID(0)}, []string{"2: " + sym(other, 0) + " " + dll(other, 0)}, 1},
		{"code ID and user", Query{CodeID: one.codeID(0), User: "a@example.com"}, []string{"1: " + sym(one, 0) + " " + dll(one, 0)}, 1},
		{"code ID and key", Query{CodeID: one.codeID(0), Key: sym(one, 0), Until: noon.Add(time.Minute)}, []string{"1: " + sym(one, 0)}, 1},
		{"code ID and another module's debug ID", Query{CodeID: one.codeID(0), DebugID: one.debugID(1)}, nil, 2},
		{"code ID that no upload has", Query{CodeID: "FEEDFACE"}, nil, 0},
	} {
		lines, stats := ask(t, test.q, regular, try)
		var got []string
		for _, line := range lines {
			got = append(got, printed(t, line))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if stats.Read != test.read || stats.Printed != len(test.want) {
			t.Errorf("%s: %+v, want %d read and %d printed", test.name, stats, test.read, len(test.want))
		}
	}
}

// TestThousand looks a code ID up among 1,000 uploads.
func TestThousand(t *testing.T) {
	b := &memoryBucket{}
	for i := range 1000 {
		b.write(t, headOf(fmt.Sprintf("u%d@example.com", i%7), int64(i), noon.Add(time.Duration(i)*time.Minute)), modules{i, 5})
	}
	lines, stats := ask(t, Query{CodeID: modules{seed: 321}.codeID(3)}, b)
	if len(lines) != 1 || stats.Listed != 1000 || stats.Read >= 10 || len(b.read) != stats.Read {
		t.Errorf("%d lines, %+v, %d reads", len(lines), stats, len(b.read))
	}
	b.listed.Store(0)
	from := noon.Add(500 * time.Minute)
	lines, stats = ask(t, Query{Since: from, Until: from.Add(10 * time.Minute)}, b)
	if len(lines) != 9 && len(lines) != 10 || stats.Read != len(lines) || b.listed.Load() > 12 {
		t.Errorf("%d lines, %+v, %d listed", len(lines), stats, b.listed.Load())
	}
	if most := b.most.Load(); most > atOnce {
		t.Errorf("%d reads at once", most)
	}
}

// TestLarge looks up receipts that are read in pieces, and whose index is beside them.
func TestLarge(t *testing.T) {
	const count = 4_000 // modules
	b := &memoryBucket{}
	one, other := modules{1, count}, modules{2, count}
	first := b.write(t, headOf("a@example.com", 1, noon), one)
	second := b.write(t, headOf("b@example.com", 2, noon.Add(time.Hour)), other)
	lines, stats := ask(t, Query{DebugID: other.debugID(count - 1)}, b)
	if len(lines) != 1 || !strings.HasPrefix(printed(t, lines[0]), "2: ") || stats.Read != 1 || slices.Contains(b.read, first) {
		t.Errorf("%d lines, %+v, read %q", len(lines), stats, b.read)
	}
	if n := len(b.objects[second]); n < 2*pieceSize || len(b.read) != 2+(n+pieceSize-1)/pieceSize {
		t.Errorf("a receipt of %d bytes in %d reads", n, len(b.read))
	}

	b.read = nil
	if lines, _ := ask(t, Query{User: "a@example.com"}, b); len(lines) != 1 || lines[0] != string(b.objects[first]) {
		t.Errorf("%d lines, or not as the receipt is", len(lines))
	}
	// Without its index, a receipt is read.
	delete(b.objects, strings.TrimSuffix(first, besideName)+besideIndex)
	if lines, stats := ask(t, Query{DebugID: "FEEDFACE"}, b); len(lines) != 0 || stats.Read != 1 {
		t.Errorf("%d lines, %+v", len(lines), stats)
	}
}

func TestCSV(t *testing.T) {
	b := &memoryBucket{}
	b.write(t, headOf("a,\"b\"@example.com", 1, noon), modules{1, 2})
	b.write(t, headOf("b@example.com", 2, noon.Add(time.Hour)), modules{2, 1})
	var out bytes.Buffer
	if _, err := Print(t.Context(), []Bucket{b}, Query{}, true, &out, func(e *MalformedError) { t.Error(e) }); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := func(name string) int { return slices.Index(rows[0], name) }
	if len(rows) != 1+4+2 || rows[1][column("user")] != "a,\"b\"@example.com" || rows[6][column("id")] != "2" || rows[1][column("stored_size")] != "300" {
		t.Errorf("%q", rows)
	}
	for _, field := range slices.Concat(fieldsOf(t, Head{}), fieldsOf(t, File{})) {
		if counts := slices.Contains([]string{"schema", "stored", "skipped", "ignored"}, field); !counts && column(field) < 0 {
			t.Errorf("no column for %s", field)
		}
	}
}

// fieldsOf returns the names of the JSON fields of v.
func fieldsOf(t *testing.T, v any) []string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(mustMarshal(v)), &fields); err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(fields))
}

// Objects that are no receipts do not keep others from being printed. Fields of newer
// versions stay.
func TestMalformed(t *testing.T) {
	b := &memoryBucket{}
	name := b.write(t, headOf("a@example.com", 1, noon), modules{1, 1})
	good := string(b.objects[name])
	for i, damaged := range []string{
		"", "{", "[]", "{}", "null", `{"schema":1}`, good[:len(good)/2], good[:len(good)-2],
		strings.Replace(good, `"schema":1`, `"schema":2`, 1), strings.Replace(good, `"id":1`, `"id":"1"`, 1), strings.Replace(good, `"size":1000`, `"size":"1000"`, 1),
	} {
		b.objects[fmt.Sprintf("2026/11/26/0000%02d-1-2/receipt.json", i)] = []byte(damaged)
	}
	newer := strings.Replace(strings.Replace(good, `"schema":1`, `"schema":1,"new":{"a":"<\u0007>"}`, 1), `"key":`, `"newer":[1],"key":`, 1)
	b.objects["2026/11/27/000000-1-2/receipt.json"] = []byte(newer)

	var out bytes.Buffer
	malformed := 0
	stats, err := Print(t.Context(), []Bucket{b}, Query{}, false, &out, func(*MalformedError) { malformed++ })
	lines := slices.Collect(strings.Lines(out.String()))
	if err != nil || malformed != 11 || stats.Read != 13 || stats.Printed != 2 {
		t.Errorf("%d malformed, %+v: %v", malformed, stats, err)
	}
	if !slices.Equal(lines, []string{good, newer}) {
		t.Errorf("%q", lines)
	}

	// A long receipt is printed while it is read.
	var long bytes.Buffer
	b = &memoryBucket{}
	name = b.write(t, headOf("a@example.com", 1, noon), modules{1, 8_000})
	b.objects[name] = b.objects[name][:len(b.objects[name])-2]
	b.write(t, headOf("a@example.com", 2, noon.Add(time.Hour)), modules{1, 1})
	stats, err = Print(t.Context(), []Bucket{b}, Query{}, false, &long, func(*MalformedError) { malformed++ })
	lines = slices.Collect(strings.Lines(long.String()))
	if err != nil || malformed != 12 || stats.Printed != 1 || len(lines) != 2 || json.Valid([]byte(lines[0])) || !json.Valid([]byte(lines[1])) {
		t.Errorf("%d malformed, %+v, %d lines: %v", malformed, stats, len(lines), err)
	}
}

// A receipt that a lifecycle rule deletes in between is passed over. A bucket that fails
// ends the output.
func TestFailingBucket(t *testing.T) {
	b := &memoryBucket{}
	var names []string
	for i := range 20 {
		names = append(names, b.write(t, headOf("a@example.com", int64(i), noon.Add(time.Duration(i)*time.Minute)), modules{i, 1}))
	}
	gone := &goneBucket{memoryBucket: b, name: names[3]}
	if lines, stats := ask(t, Query{}, gone); len(lines) != 19 || stats.Read != 19 || stats.Listed != 20 {
		t.Errorf("%d lines, %+v", len(lines), stats)
	}
	b.fail = names[7]
	var out bytes.Buffer
	stats, err := Print(t.Context(), []Bucket{b}, Query{}, false, &out, func(e *MalformedError) { t.Error(e) })
	if !errors.Is(err, errBucket) || stats.Printed != 7 || strings.Count(out.String(), "\n") != 7 {
		t.Errorf("%+v, %d lines: %v", stats, strings.Count(out.String(), "\n"), err)
	}
}

// goneBucket lists an object that is gone.
type goneBucket struct {
	*memoryBucket
	name string
}

func (b *goneBucket) Read(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if name == b.name {
		return nil, fmt.Errorf("wrapped: %w", fs.ErrNotExist)
	}
	return b.memoryBucket.Read(ctx, name, off, n)
}

// A writer that fails, such as a closed pipe, ends the output.
func TestFailingOutput(t *testing.T) {
	b := &memoryBucket{}
	for i := range 20 {
		b.write(t, headOf("a@example.com", int64(i), noon.Add(time.Duration(i)*time.Minute)), modules{i, 1})
	}
	for _, asCSV := range []bool{false, true} {
		_, err := Print(t.Context(), []Bucket{b}, Query{}, asCSV, closedPipe{}, func(e *MalformedError) { t.Error(e) })
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("CSV %v: %v", asCSV, err)
		}
	}
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, fs.ErrClosed }
