package s3sink_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"spillway/s3sink"
	"spillway/stream"
	"spillway/testdata/s3server"
)

// TestContract runs the contract tests over every kind of store, once a probe has found
// out what it takes.
func TestContract(t *testing.T) {
	stores := map[string]func(*testing.T) s3server.Client{"embedded": embedded}
	for _, k := range s3server.Kinds() {
		stores[k.Name] = func(t *testing.T) s3server.Client { return k.Start(t).Client }
	}
	stores[s3server.Versitygw.Name] = real
	for _, name := range slices.Sorted(maps.Keys(stores)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := stores[name](t)
			for _, test := range contract {
				t.Run(test.name, func(t *testing.T) {
					r := newRig(t, store, nil)
					r.forgetsCacheControl = name == "embedded"
					if test.name != "probe" { // which begins with the first one
						if err := r.sink.Probe(t.Context()); err != nil {
							t.Fatal(err)
						}
						r.wire.Forget()
					}
					test.run(t, r)
				})
			}
		})
	}
}

var contract = []struct {
	name string
	run  func(*testing.T, *rig)
}{
	{"headers and metadata", testStored},
	{"sizes around the part", testSizes},
	{"requests are counted", testRequests},
	{"second upload is skipped", testSecondUpload},
	{"objects of Tecken", testTecken},
	{"nothing visible before Publish", testInvisible},
	{"abort leaves nothing", testAbort},
	{"drop leaves nothing", testDrop},
	{"try symbols", testTry},
	{"same name twice", testTwice},
	{"staged out for others", testStageOut},
	{"probe", testProbe},
	{"check", testCheck},
	{"bodies on disk", testOnDisk},
	{"receipts", testReceipts},
	{"sweep", testSweep},
}

func testStored(t *testing.T, r *rig) {
	part := r.budget.PartSize()
	all := []string{"original_crc32", "original_md5_hash", "original_size"}
	files := []struct {
		file
		metadata []string // keys
	}{
		{file{name: "held.pdb/1/held.sym", form: stream.Gzip, data: data(1000, 1)}, all},
		{file{name: "held.pdb/1/held.pd_", form: stream.AsIs, data: data(1000, 2)}, all},
		{file{name: "held.pdb/1/unstated.sym", form: stream.Gzip, data: data(1000, 3), unstated: true}, all},
		{file{name: "held.pdb/1/empty.pd_", form: stream.AsIs}, all},
		{file{name: "held.pdb/1/empty.sym", form: stream.Gzip}, all},
		{file{name: "leased.pdb/1/leased.sym", form: stream.Gzip, data: data(1000, 4), leased: true}, all},
		{file{name: "leased.pdb/1/leased.pd_", form: stream.AsIs, data: data(1000, 5), leased: true, unstated: true}, all},
		{file{name: "leased.pdb/1/empty.pd_", form: stream.AsIs, leased: true}, all},
		{file{name: "big.pdb/1/big.sym", form: stream.Gzip, data: data(part+1, 6)}, []string{"original_crc32", "original_size"}},
		{file{name: "big.pdb/1/big.pd_", form: stream.AsIs, data: data(part+1, 7)}, []string{"original_crc32", "original_size"}},
		{file{name: "big.pdb/1/unstated.sym", form: stream.Gzip, data: data(part+1, 8), unstated: true}, nil},
		{file{name: "odd name ~+(1)/é/ü&=?.sym", form: stream.Gzip, data: data(10, 9)}, all},
	}
	var archive []file
	var names []string
	var sent int64
	for _, f := range files {
		archive = append(archive, f.file)
		names = append(names, f.name)
		sent += int64(len(f.body()))
	}
	batch, err := r.upload(t, archive...)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		o := r.wantStored(t, f.file)
		facts := f.facts()
		want := map[string]string{}
		for _, key := range f.metadata {
			want[key] = map[string]string{
				"original_size":     fmt.Sprint(facts.Size),
				"original_crc32":    fmt.Sprintf("%08x", facts.CRC32),
				"original_md5_hash": hex.EncodeToString(facts.MD5[:]),
			}[key]
		}
		// The object may be found absent before its MD5 is known, which it then goes without.
		if _, has := o.Metadata["original_md5_hash"]; !has && f.leased && !f.unstated {
			delete(want, "original_md5_hash")
		}
		if !maps.Equal(o.Metadata, want) {
			t.Errorf("%s: metadata %v, want %v", f.name, o.Metadata, want)
		}
	}
	if !slices.Equal(batch.Uploaded(), names) || len(batch.Skipped()) > 0 || batch.Sent() != sent {
		t.Errorf("uploaded %q, skipped %q, sent %d; want all in order, none, %d", batch.Uploaded(), batch.Skipped(), batch.Sent(), sent)
	}
	r.wantFinished(t)
	r.idle(t)
}

func testSizes(t *testing.T, r *rig) {
	part := r.budget.PartSize()
	for _, size := range []int{0, 1, part - 1, part, part + 1, 2*part - 1, 2 * part, 2*part + 1} {
		for _, leased := range []bool{false, true} {
			f := file{name: fmt.Sprintf("size/%d/%v", size, leased), form: stream.AsIs, data: data(size, 1), leased: leased}
			if _, err := r.upload(t, f); err != nil {
				t.Fatal(err)
			}
			r.wantStored(t, f)
		}
	}
	r.wantFinished(t)
	r.idle(t)
}

func testRequests(t *testing.T, r *rig) {
	part := r.budget.PartSize()
	const n = 20
	var many []file
	for i := range n {
		many = append(many, file{name: fmt.Sprintf("a/1/%d", i), form: stream.AsIs, data: data(100+i, byte(i))})
	}
	big := file{name: "big/1/big", form: stream.AsIs, data: data(2*part+1, 1)}
	even := file{name: "even/1/even", form: stream.AsIs, data: data(2*part, 1)}
	small := file{name: "small/1/small", form: stream.AsIs, data: data(10, 1), leased: true}
	unstated := file{name: "unstated/1/unstated", form: stream.AsIs, data: data(part+1, 1), unstated: true}
	multipart := func(heads, parts int) map[string]int {
		m := map[string]int{"HeadObject": heads + r.looks(1), "CreateMultipartUpload": 1, "UploadPart": parts, "CompleteMultipartUpload": 1}
		maps.DeleteFunc(m, func(_ string, n int) bool { return n == 0 })
		return m
	}
	for _, test := range []struct {
		name        string
		files       []file
		first, then map[string]int // requests
	}{
		{"held", many, map[string]int{"HeadObject": n, "PutObject": n}, map[string]int{"HeadObject": n}},
		{"parts", []file{big}, multipart(1, 3), map[string]int{"HeadObject": 1}},
		{"whole parts", []file{even}, multipart(1, 2), map[string]int{"HeadObject": 1}},
		{"one part", []file{small}, multipart(1, 1), map[string]int{"HeadObject": 1}},
		{
			"on disk",
			[]file{{name: "disk/1/small", form: stream.AsIs, data: data(part, 1), onDisk: io.EOF}},
			map[string]int{"HeadObject": 1, "PutObject": 1},
			map[string]int{"HeadObject": 1},
		},
		{"on disk, in parts", []file{{name: "disk/1/large", form: stream.AsIs, data: data(2*part+1, 1), onDisk: io.EOF}}, multipart(1, 3), map[string]int{"HeadObject": 1}},
		{"parts of unstated size", []file{unstated}, multipart(0, 2), multipart(0, 2)},
	} {
		for i, want := range []map[string]int{test.first, test.then} {
			r.wire.Forget()
			if _, err := r.upload(t, test.files...); err != nil {
				t.Fatal(err)
			}
			if got := r.wire.Attempts(); !maps.Equal(got, want) {
				t.Errorf("%s, upload %d: requests %v, want %v", test.name, i+1, got, want)
			}
		}
	}
}

func testSecondUpload(t *testing.T, r *rig) {
	part := r.budget.PartSize()
	files := []file{
		{name: "a/1/held", form: stream.AsIs, data: data(100, 1)},
		{name: "a/1/held.sym", form: stream.Gzip, data: data(100, 2)},
		{name: "a/1/empty", form: stream.AsIs},
		{name: "a/1/leased.sym", form: stream.Gzip, data: data(100, 3), leased: true},
		{name: "a/1/big", form: stream.AsIs, data: data(3*part, 4)},
		{name: "a/1/big.sym", form: stream.Gzip, data: data(2*part+1, 5)},
	}
	if _, err := r.upload(t, files...); err != nil {
		t.Fatal(err)
	}
	r.wire.Forget()
	batch, err := r.upload(t, files...)
	if err != nil {
		t.Fatal(err)
	}
	if got := batch.Skipped(); len(got) != len(files) || len(batch.Uploaded()) > 0 || batch.Sent() != 0 {
		t.Errorf("skipped %q, uploaded %q, sent %d", got, batch.Uploaded(), batch.Sent())
	}
	if n := r.wire.Sent(); n > 0 {
		t.Errorf("sent %d bytes of bodies", n)
	}
	if got, want := r.wire.Attempts(), map[string]int{"HeadObject": len(files)}; !maps.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}

	// One byte is enough, at any size.
	for i := range files {
		if len(files[i].data) > 0 {
			files[i].data = slices.Clone(files[i].data)
			files[i].data[len(files[i].data)/2] ^= 1
		}
	}
	batch, err = r.upload(t, files...)
	if err != nil {
		t.Fatal(err)
	}
	if got := batch.Skipped(); !slices.Equal(got, []string{"a/1/empty"}) {
		t.Errorf("skipped %q of changed files", got)
	}
	for _, f := range files {
		r.wantStored(t, f)
	}
	r.idle(t)
}

// testTecken compares entries with stored objects that have Tecken's metadata.
func testTecken(t *testing.T, r *rig) {
	part := r.budget.PartSize()
	for _, size := range []int{1000, part + 1000} {
		same := file{name: fmt.Sprintf("t/%d/same.sym", size), form: stream.Gzip, data: data(size, 1)}
		other := file{name: fmt.Sprintf("t/%d/other.sym", size), form: stream.Gzip, data: data(size, 2)}
		longer := file{name: fmt.Sprintf("t/%d/longer.sym", size), form: stream.Gzip, data: data(size, 3)}
		plain := file{name: fmt.Sprintf("t/%d/plain.pd_", size), form: stream.AsIs, data: data(size, 4)}
		for _, f := range []file{same, other, longer, plain} {
			facts := f.facts()
			if f.name == other.name {
				facts.MD5[0] ^= 1
			}
			if f.name == longer.name {
				facts.Size++
			}
			o := s3server.Object{Body: []byte("compressed by Tecken"), ContentEncoding: "gzip", ContentType: "text/plain"}
			o.Metadata = map[string]string{
				"original_size":     fmt.Sprint(facts.Size),
				"original_md5_hash": hex.EncodeToString(facts.MD5[:]),
			}
			if f.form == stream.AsIs {
				o = s3server.Object{Body: f.data}
			}
			r.Put(t, r.bucket, "v1/"+f.name, o)
		}
		r.wire.Forget()
		batch, err := r.upload(t, same, other, longer, plain)
		if err != nil {
			t.Fatal(err)
		}
		if got := batch.Skipped(); !slices.Equal(got, []string{same.name}) {
			t.Errorf("skipped %q, want %q", got, same.name)
		}
		if got, _ := r.Object(t, r.bucket, "v1/"+same.name); string(got.Body) != "compressed by Tecken" {
			t.Errorf("%s was written again", same.name)
		}
		if got := r.wire.Attempts(); got["HeadObject"] != 4+r.looks(got["CompleteMultipartUpload"]) || size > part && got["AbortMultipartUpload"] != 1 {
			t.Errorf("requests %v", got)
		}
		for _, f := range []file{other, longer, plain} {
			r.wantStored(t, f)
		}
	}

	// With SkipBySize, the length alone decides if there is no hash.
	bySize := newRig(t, r.Client, func(cfg *s3sink.Config) { cfg.SkipBySize = true })
	for _, size := range []int{1000, part + 1000} {
		plain := file{name: fmt.Sprintf("p/%d/plain.pd_", size), form: stream.AsIs, data: data(size, 1)}
		bySize.Put(t, bySize.bucket, "v1/"+plain.name, s3server.Object{Body: data(size, 2)})
		bySize.wire.Forget()
		batch, err := bySize.upload(t, plain)
		if err != nil {
			t.Fatal(err)
		}
		if got := batch.Skipped(); !slices.Equal(got, []string{plain.name}) || bySize.wire.Sent() > 0 {
			t.Errorf("by size: skipped %q, sent %d bytes", got, bySize.wire.Sent())
		}
		shorter := plain
		shorter.data = shorter.data[1:]
		if batch, err = bySize.upload(t, shorter); err != nil {
			t.Fatal(err)
		}
		if got := batch.Skipped(); len(got) > 0 {
			t.Errorf("by size: skipped %q of another length", got)
		}
	}
	r.wantFinished(t)
	r.idle(t)
}
