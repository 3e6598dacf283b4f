package stream_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"spillway/internal/guard"
	"spillway/stream"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

// defective is a reader, a sink and an object. It panics in one method.
type defective struct{ in string }

func (d defective) call(method string) {
	if d.in == method {
		panic("in " + method)
	}
}

func (d defective) Create(stream.Entry) stream.Object {
	d.call("Create")
	return d
}

func (d defective) NeedsMD5(bool) bool {
	d.call("NeedsMD5")
	return true
}

func (d defective) Part(_ context.Context, b stream.Body) (bool, error) {
	d.call("Part")
	b.Release()
	return true, nil
}

func (d defective) Commit(_ context.Context, rest stream.Body, _ stream.Facts) error {
	d.call("Commit")
	rest.Release()
	return nil
}

func (d defective) Drop(int)        {}
func (defective) Skip(stream.Entry) {}
func (defective) Find(context.Context, stream.Entry) (stream.Found, error) {
	return stream.Undecided, nil
}

func (d defective) Read([]byte) (int, error) {
	d.call("Read")
	return 0, io.EOF
}

// TestPanicsEndTheirUpload: a panic anywhere fails its upload only, and the upload gives back
// all that it had.
func TestPanicsEndTheirUpload(t *testing.T) {
	entries := map[string]archive.Entry{
		"in one piece":  {Name: "a.sym", Data: archive.Symbols(1, mib), Method: archive.Deflate},
		"in many parts": {Name: "a.dll", Data: archive.Noise(1, 3*part)},
	}
	for kind, entry := range entries {
		data := string(archive.Build(entry))
		for _, method := range []string{"Form", "Read", "Create", "Part", "NeedsMD5", "Commit"} {
			if kind == "in one piece" && method == "Part" {
				continue // there are no parts
			}
			t.Run(kind+"/"+method, func(t *testing.T) {
				d := defective{method}
				rules := ziptest.Ordinary
				rules.Form = func(name string) (stream.Form, error) {
					d.call("Form")
					return ziptest.FormByName(name)
				}
				m := budgettest.New(t)
				ctx, share := admit(t, m)
				half := strings.NewReader(data[:len(data)/2])
				var rest io.Reader = strings.NewReader(data[len(data)/2:])
				if method == "Read" {
					rest = d
				}
				_, err := ziptest.Read(ctx, io.MultiReader(half, rest), share, d, rules)
				p, ok := errors.AsType[*guard.PanicError](err)
				if !ok || p.Value != "in "+method || !strings.Contains(string(p.Stack), "defective.call") {
					t.Errorf("error %v, want a panic in %s", err, method)
				}
				share.Close() // panics if anything was not given back
				budgettest.CheckUnused(t, m)
			})
		}
	}
}
