package stream

import (
	"bytes"
	"context"
	"io"
	"slices"

	"spillway/internal/guard"
)

// maxPrefix is how far into an archive its first header may stand, in bytes.
const maxPrefix = 64 << 10

// Rules is what an archive is read under.
type Rules struct {
	// Form says what becomes of the entry of that name, which does not end in
	// a slash. Its error ends the reading and is returned as it is.
	Form        func(name string) (Form, error)
	MaxEntries  int   // local headers, or rows of the central directory
	MaxExpanded int64 // bytes of all entries together, expanded

	// Size is how many bytes the archive has at the most, if that is known. An
	// archive that has to be held waits for the whole of its room then.
	Size int64

	// Progress, if not nil, is where the archive is reported on meanwhile.
	Progress *Progress
}

// zipReader reads one archive. Its fields belong to the goroutine that reads,
// but for what says otherwise.
type zipReader struct {
	ctx   context.Context
	fail  context.CancelCauseFunc
	in    *window
	share *Share
	sink  Sink
	rules Rules
	total expansion // shared by the verifiers

	entries []*entry // by offset
	table   int64    // bytes that entries may take before the table grows

	// once the archive is held
	prefix int64    // what is before the byte that offsets count from, in bytes
	later  []*entry // those that only their rows have told of, in directory order

	own     *verifier // of the entry that is read as it arrives
	turn    *turn     // likewise
	workers workers   // entries on their way beside it
}

// An Interrupter is a reader whose Read can be made to return at once. A reader
// of archives calls Interrupt when it has nothing more to read for, because an
// entry was found to be wrong, the store failed, or its context ended.
type Interrupter interface {
	Interrupt()
}

// ReadZip reads a zip archive forward from r, verifies every entry and hands
// it to sink. An archive that cannot be read forward is held from there on, and
// read by its central directory. When ReadZip returns nil, r has ended, all entries that the central
// directory lists have been committed, and all others dropped; of entries of
// one name and size, the last one listed is kept. After an error all have been
// dropped. The report is there in every case.
//
// An entry is refused as soon as its local header or its bytes are seen to be
// wrong; r may be an [Interrupter]. Errors are [ErrNotZip], [*FormatError], [*ChecksumError],
// [*DuplicateError], [*LimitError], [*SpillError], [*NoRoomError],
// [*DiskError], [*SourceError], [*guard.PanicError], what rules.Form or sink returned,
// or the context's cause.
//
// What the table of entries took of share stays reserved until that is closed,
// because sink keeps some of it.
func ReadZip(ctx context.Context, r io.Reader, share *Share, sink Sink, rules Rules) (*Report, error) {
	defer share.reads(ctx)()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if i, ok := r.(Interrupter); ok {
		interrupted := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(interrupted)
			i.Interrupt()
		})
		defer func() {
			if !stop() {
				<-interrupted
			}
		}()
	}
	if rules.Progress == nil {
		rules.Progress = new(Progress)
	}
	src := &source{ctx: ctx, r: r, pace: &share.pace, turn: share.newTurn(ctx)}
	z := &zipReader{
		ctx: ctx, fail: fail, in: newWindow(src), share: share, sink: sink, rules: rules,
		total: expansion{limit: rules.MaxExpanded, received: src.n.Load}, table: tableFloor,
		own: verifiers.Get().(*verifier), turn: src.turn,
	}
	z.own.apart = true
	z.workers.init(share.account, fail)
	defer verifiers.Put(z.own)
	defer z.in.close()

	var kept map[*entry]bool
	err := guard.Do(func() (err error) {
		kept, err = z.read()
		return err
	})
	share.pace.over()
	if src.err == nil {
		// Where the archive is at fault, what is wrong with an earlier entry is
		// said, and not what is wrong behind it.
		z.workers.wait()
	}
	if err != nil {
		z.fail(err)
	}
	z.workers.wait()
	if err == nil {
		err = context.Cause(ctx)
	} else if first := context.Cause(ctx); first != nil {
		err = first
	}
	for _, e := range slices.Concat(z.entries, z.later) {
		if e.obj != nil && (err != nil || !kept[e]) {
			e.obj.Drop()
		}
	}
	z.rules.Progress.note(func(r *Report) { r.Bytes, r.Expanded = src.n.Load(), z.total.count() })
	report := z.rules.Progress.Report()
	return &report, err
}

// read goes through the archive once and returns the entries that are kept.
func (z *zipReader) read() (map[*entry]bool, error) {
	for {
		b, err := z.in.peek(4)
		if err != nil {
			return nil, err
		}
		if len(b) < 4 {
			return nil, ErrNotZip
		}
		switch le.Uint32(b) {
		case sigLocal:
			switch reason, err := z.entry(); {
			case err != nil:
				return nil, err
			case reason != "":
				return z.held(reason)
			}
		case sigRow, sigEnd64, sigEnd:
			return z.directory()
		default:
			if z.in.offset == 0 {
				return z.prefixed()
			}
			return z.held("there are bytes between its entries")
		}
	}
}

// prefixed tells an archive with something before its first header from what
// is no archive.
func (z *zipReader) prefixed() (map[*entry]bool, error) {
	b, err := z.in.peek(maxPrefix + 4)
	if err != nil {
		return nil, err
	}
	if !bytes.Contains(b, []byte("PK\x03\x04")) && !bytes.Contains(b, endMagic) {
		return nil, ErrNotZip
	}
	return z.held("there are bytes before its first entry")
}
