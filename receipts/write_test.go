package receipts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"spillway/testdata/nightly"
)

// text returns a pointer to text.
func text(format string, args ...any) *string { return new(fmt.Sprintf(format, args...)) }

// modules are the files of so many modules, each with a symbol file and a binary. seed
// tells the modules of one upload from those of another. The number of a gap has no file.
type modules struct{ seed, count int }

func (m modules) Len() int { return 3 * m.count }

func (m modules) At(number int) (File, bool) {
	n := number / 3
	f := File{
		Key: fmt.Sprintf("lib%d.pdb/%s/lib%d.sym", n, m.debugID(n), n), State: Stored, Size: 1000, Gzip: true, StoredSize: new(int64(300)), CRC32: "0123abcd",
		DebugFile: text("lib%d.pdb", n), DebugID: new(m.debugID(n)), CodeFile: text("lib%d.dll", n), CodeID: new(m.codeID(n)), Generator: text("dump_syms 2.3.4"),
	}
	switch number % 3 {
	case 1:
		f = File{Key: fmt.Sprintf("lib%d.dll/%s/lib%d.dl_", n, strings.ToLower(m.codeID(n)), n), State: Skipped, Size: 5000, CRC32: "00000000"}
	case 2:
		return File{}, false
	}
	return f, true
}

func (m modules) debugID(n int) string { return fmt.Sprintf("%08X%024X1", m.seed, n) }
func (m modules) codeID(n int) string  { return fmt.Sprintf("%X%06XC0DE", 0x10+m.seed, n) }

var noon = time.Date(2026, 11, 26, 12, 0, 0, 123456789, time.UTC)

// headOf returns the head of a receipt.
func headOf(user string, id int64, at time.Time) Head {
	return Head{
		Schema: Schema, ID: id, User: user, Token: "1a2b3c4d", ClientAddress: text("192.0.2.1"), UserAgent: text("upload-symbols \u202e 1.0"),
		ReceivedAt: Time{at.Add(-time.Minute)}, CompletedAt: Time{at}, Filename: "symbols.zip", Size: 70398,
		RedirectURLs: []string{}, Bucket: "symbols", Prefix: "v1/",
	}
}

func readAll(t *testing.T, o Object) []byte {
	t.Helper()
	got, err := io.ReadAll(io.NewSectionReader(o.Body, 0, o.Size+1))
	if err != nil || int64(len(got)) != o.Size {
		t.Fatalf("%d bytes, and %d are stated: %v", len(got), o.Size, err)
	}
	return got
}

// compileSchema returns the documented schema.
func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile("../docs/receipt.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestReceipt(t *testing.T) {
	schema := compileSchema(t)
	for _, files := range []Files{modules{1, 0}, modules{1, 1}, modules{1, 70}, modules{1, 1000}} {
		objects := Objects(headOf("a@example.com", 7, noon), files, len("receipts/"))
		got := readAll(t, objects[len(objects)-1])
		if n := bytes.Count(got, []byte("\n")); n != 1 || bytes.Contains(got, []byte("\u202e")) {
			t.Errorf("%d lines: %s", n, got)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(got))
		if err == nil {
			err = schema.Validate(value)
		}
		if err != nil {
			t.Errorf("%d files: %v", files.Len(), err)
		}
		var r struct {
			Head
			Files []File
		}
		if err := json.Unmarshal(got, &r); err != nil {
			t.Fatal(err)
		}
		want := 0
		for i := range files.Len() {
			if f, ok := files.At(i); ok {
				if got, _ := json.Marshal(r.Files[want]); string(got) != mustMarshal(f) {
					t.Fatalf("file %d: %s, want %s", i, got, mustMarshal(f))
				}
				want++
			}
		}
		if len(r.Files) != want || r.CompletedAt.Format(time.RFC3339Nano) != "2026-11-26T12:00:00.123456Z" {
			t.Errorf("%d files, want %d; completed at %v", len(r.Files), want, r.CompletedAt)
		}
	}
}

func mustMarshal(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// TestSchemaIsStrict changes single fields of a receipt: the schema has to notice.
func TestSchemaIsStrict(t *testing.T) {
	schema := compileSchema(t)
	objects := Objects(headOf("a@example.com", 7, noon), modules{1, 1}, 9)
	receipt := string(readAll(t, objects[0]))
	for _, change := range [][2]string{
		{`"schema":1`, `"schema":2`},
		{`"token":"1a2b3c4d"`, `"token":"1a2b3c4d5e"`},
		{`"client_address":"192.0.2.1"`, `"client_address":"somewhere"`},
		{`.123456Z`, `Z`},
		{`"download_url":null`, `"download_url":"https://example.com/?secret"`},
		{`"state":"skipped"`, `"state":"lost"`},
		{`"stored_size":300`, `"stored_size":null`},
		{`"debug_id":"0`, `"debug_id":"a`},
		{`,"generator":null`, ``},
		{`"files":`, `"file":`},
	} {
		text := strings.ReplaceAll(receipt, change[0], change[1])
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil || text == receipt {
			t.Fatalf("%q: %v", change, err)
		}
		if schema.Validate(value) == nil {
			t.Errorf("valid with %s", change[1])
		}
	}
}

// A request may read the body from any place, any number of times.
func TestBodyReadsTheSame(t *testing.T) {
	objects := Objects(headOf("a@example.com", 7, noon), modules{1, 300}, 9)
	o := objects[len(objects)-1]
	want := readAll(t, o)
	if err := iotest.TestReader(io.NewSectionReader(o.Body, 0, o.Size), want); err != nil {
		t.Error(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		from, n := random.Int64N(o.Size), random.IntN(5000)
		got := make([]byte, n)
		n, err := o.Body.ReadAt(got, from)
		end := min(from+int64(len(got)), o.Size)
		if int64(n) != end-from || !bytes.Equal(got[:n], want[from:end]) || (err == io.EOF) != (n < len(got)) {
			t.Fatalf("%d bytes at %d: %d, %v", len(got), from, n, err)
		}
	}
}

func TestNames(t *testing.T) {
	for _, prefix := range []int{1, 9, 200} {
		for _, count := range []int{0, 1, 40, 100, 140, 600} {
			objects := Objects(headOf("a@example.com", 228342184, noon), modules{1, count}, prefix)
			for i, o := range objects {
				if len(o.Name)+prefix > longestKey {
					t.Errorf("a key of %d bytes", len(o.Name)+prefix)
				}
				for piece := range strings.SplitSeq(o.Name, "/") {
					if len(piece) == 0 || len(piece) > 255 {
						t.Errorf("%d bytes between slashes in %s", len(piece), o.Name)
					}
				}
				n, ok := parseName(o.Name)
				if ok != (i == len(objects)-1) {
					t.Errorf("%s: a receipt: %v", o.Name, ok)
				}
				if ok && (!n.at.Equal(noon.Truncate(time.Second)) || n.beside != (len(objects) == 2) || (n.index == nil) != n.beside) {
					t.Errorf("%s is taken apart as %+v", o.Name, n)
				}
			}
			if len(objects) == 2 {
				n, _ := parseName(objects[1].Name)
				if n.besideIndex() != objects[0].Name || path.Dir(objects[0].Name) != path.Dir(objects[1].Name) {
					t.Errorf("%s and %s", objects[0].Name, objects[1].Name)
				}
			}
			if (len(objects) == 2) != (count > 140) {
				t.Errorf("%d modules, a prefix of %d bytes: %d objects", count, prefix, len(objects))
			}
		}
	}
}

func TestOtherNames(t *testing.T) {
	for _, name := range []string{
		"", ".json", ".spillway-probe-receipt", "2026/11/26/120000-1-2.json", "2026/11/26/120000-1-2/index1", "2026/13/26/120000-1-2/receipt.json",
		"2026/11/26/1200001-2/receipt.json", "2026/11/26/receipt.json", "x2026/11/26/120000-1-2/receipt.json",
	} {
		if n, ok := parseName(name); ok {
			t.Errorf("%q is taken for a receipt: %+v", name, n)
		}
	}
	if n, ok := parseName("2026/11/26/120000-1-2/i9-AAAA.json"); !ok || n.index != nil || n.beside {
		t.Errorf("an index of another version: %v, %+v", ok, n)
	}
}

// TestIndex looks up what receipts have, which each index must show, and what they have
// not, which few may.
func TestIndex(t *testing.T) {
	uploads, strangers := nightly.Pick(40, 200), 1000
	for _, count := range []int{1, 10, 70, 180, nightly.Pick(500, 20_000)} {
		wrong := 0
		for seed := range max(2, uploads/max(1, count/100)) {
			files := modules{seed, count}
			objects := Objects(headOf("a@example.com", 1, noon), files, 9)
			n, _ := parseName(objects[len(objects)-1].Name)
			index := n.index
			if n.beside {
				index = filter(readAll(t, objects[0]))
			}
			for n := range count {
				for _, q := range []Query{{User: "A@example.COM"}, {DebugID: files.debugID(n)}, {CodeID: strings.ToLower(files.codeID(n))}, {Key: fmt.Sprintf("lib%d.dll/%s/lib%d.dl_", n, strings.ToLower(files.codeID(n)), n)}} {
					for _, term := range q.terms() {
						if !index.mayHave(term) {
							t.Fatalf("%d modules: the index lacks %q", count, term)
						}
					}
				}
			}
			for i := range strangers {
				if index.mayHave(idTerm(fmt.Sprintf("STRANGER%d", i))) {
					wrong++
				}
			}
		}
		looked := max(2, uploads/max(1, count/100)) * strangers
		t.Logf("%d modules: %.3f %% wrong", count, 100*float64(wrong)/float64(looked))
		if float64(wrong) > 0.003*float64(looked) {
			t.Errorf("%d modules: %d of %d are wrong", count, wrong, looked)
		}
	}
}

// A text that is no filter excludes nothing.
func TestDamagedIndex(t *testing.T) {
	for _, text := range []string{"%%%%%%%%", strings.Repeat("\x00", 100), "ÄÄÄÄ"} {
		if !filter(text).mayHave("x") {
			t.Errorf("%q excludes a term", text)
		}
	}
}

// TestDocumentedExample validates the example of docs/receipts.md.
func TestDocumentedExample(t *testing.T) {
	page, err := os.ReadFile("../docs/receipts.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(page), "```json\n")
	example, _, ok := strings.Cut(after, "```")
	if !ok {
		t.Fatal("docs/receipts.md has no example")
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(example))
	if err == nil {
		err = compileSchema(t).Validate(value)
	}
	if err != nil {
		t.Error(err)
	}
}
