package ziptest

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"spillway/stream"
	"spillway/stream/zip"
)

// Reading is one call of [Read] and what it takes. The zero value of each
// field but Data stands for an ordinary one.
type Reading struct {
	Data   []byte
	Source io.Reader // instead of Data
	Ctx    context.Context
	Memory *stream.Memory
	Rules  *stream.Rules
	Store  *Store
	Shared bool // Memory is used by others as well
}

// Ordinary takes any name.
var Ordinary = stream.Rules{Form: FormByName, MaxEntries: 1000, MaxExpanded: 1 << 30}

// FormByName tells the forms apart as a symbol server does.
func FormByName(name string) (stream.Form, error) {
	switch {
	case strings.HasSuffix(name, ".sym"):
		return stream.Gzip, nil
	case strings.HasSuffix(name, "-symbols.txt"):
		return stream.Ignore, nil
	}
	return stream.AsIs, nil
}

// NewMemory is a budget of four uploads with parts of 5 MiB, the smallest.
func NewMemory(t testing.TB) *stream.Memory {
	t.Helper()
	m, err := stream.NewMemory(64<<20, 5<<20, 4, time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Do reads the archive and checks what holds for every reading, whatever its
// outcome: the objects have ended, the budget is whole, there is a report.
func (r Reading) Do(t testing.TB) (*Store, *stream.Report, error) {
	t.Helper()
	if r.Source == nil {
		r.Source = bytes.NewReader(r.Data)
	}
	if r.Memory == nil {
		r.Memory = NewMemory(t)
	}
	if r.Rules == nil {
		r.Rules = &Ordinary
	}
	if r.Store == nil {
		r.Store = NewStore(t, r.Memory)
	}
	if r.Ctx == nil {
		r.Ctx = t.Context()
	}
	ctx, share, err := r.Memory.Admit(r.Ctx)
	if err != nil {
		t.Fatal(err)
	}
	report, err := Read(ctx, r.Source, share, r.Store, *r.Rules)
	r.Store.Close()
	if report == nil {
		t.Fatal("no report")
	}
	share.Close() // panics if anything of it is still out
	if u := r.Memory.Usage(); !r.Shared && u != (stream.Usage{Total: u.Total}) {
		t.Errorf("the budget after the reading: %+v", u)
	}
	return r.Store, report, err
}

// An Interrupter is a source whose Read can be made to return.
type Interrupter interface {
	io.Reader
	Interrupt()
}

// Read calls [zip.Read] under a context that its failure ends. A source that is an
// [Interrupter] is interrupted when that context ends.
func Read(ctx context.Context, r io.Reader, share *stream.Share, sink stream.Sink, rules stream.Rules) (*stream.Report, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if i, ok := r.(Interrupter); ok {
		defer context.AfterFunc(ctx, i.Interrupt)()
	}
	return zip.Read(ctx, end, r, share, sink, rules)
}
