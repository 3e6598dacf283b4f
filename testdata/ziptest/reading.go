package ziptest

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"spillway/stream"
	"spillway/stream/budget"
	"spillway/stream/zip"
	"spillway/testdata/budgettest"
)

// Reading is one call of [Read]. All fields but Data have defaults.
type Reading struct {
	Data   []byte
	Source io.Reader // instead of Data
	Ctx    context.Context
	Budget *budget.Budget
	Rules  *stream.Rules
	Store  *Store
	Shared bool // other uploads use Budget too
}

// Ordinary are rules that accept any name.
var Ordinary = stream.Rules{Form: FormByName, MaxEntries: 1000, MaxUncompressed: 1 << 30}

// FormByName returns the forms as a symbol server has them.
func FormByName(name string) (stream.Form, error) {
	switch {
	case strings.HasSuffix(name, ".sym"):
		return stream.Gzip, nil
	case strings.HasSuffix(name, "-symbols.txt"):
		return stream.Ignore, nil
	}
	return stream.AsIs, nil
}

// Do reads the archive. It checks that the objects have ended, that nothing of the budget is
// in use, and that there is a report.
func (r Reading) Do(t testing.TB) (*Store, *stream.Report, error) {
	t.Helper()
	if r.Source == nil {
		r.Source = bytes.NewReader(r.Data)
	}
	if r.Budget == nil {
		r.Budget = budgettest.New(t)
	}
	if r.Rules == nil {
		r.Rules = &Ordinary
	}
	if r.Store == nil {
		r.Store = NewStore(t, r.Budget)
	}
	if r.Ctx == nil {
		r.Ctx = t.Context()
	}
	ctx, share := budgettest.Admit(t, r.Ctx, r.Budget)
	report, err := Read(ctx, r.Source, share, r.Store, *r.Rules)
	r.Store.Close()
	if report == nil {
		t.Fatal("no report")
	}
	share.Close() // panics if anything was not given back
	if u := r.Budget.Usage(); !r.Shared && u != (budget.Usage{Total: u.Total}) {
		t.Errorf("the budget is still in use after the reading: %+v", u)
	}
	return r.Store, report, err
}

// An Interrupter is a reader whose Read can be interrupted.
type Interrupter interface {
	io.Reader
	Interrupt()
}

// Read calls [zip.Read] with a context that an error cancels. If r is an [Interrupter], it is
// interrupted when that context ends.
func Read(ctx context.Context, r io.Reader, share *budget.Share, sink stream.Sink, rules stream.Rules) (*stream.Report, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if i, ok := r.(Interrupter); ok {
		defer context.AfterFunc(ctx, i.Interrupt)()
	}
	return zip.Read(ctx, end, r, share, sink, rules)
}
