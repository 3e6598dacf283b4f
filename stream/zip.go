package stream

import (
	"bytes"
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"
)

const (
	// maxPrefix is how far into an archive its first header may stand, in bytes.
	maxPrefix = 64 << 10

	// atOnce is how many entries of an archive may be on their way through
	// verification and the store's answers at once.
	atOnce = 64
)

// Rules is what an archive is read under.
type Rules struct {
	// Form says what becomes of the entry of that name, which does not end in
	// a slash. Its error ends the reading and is returned as it is.
	Form        func(name string) (Form, error)
	MaxEntries  int   // local headers, or rows of the central directory
	MaxExpanded int64 // bytes of all entries together, expanded
}

// Report is what an archive was found to be, as far as it was read.
type Report struct {
	Bytes       int64    // read of the archive
	Entries     int      // files begun, without directories
	Expanded    int64    // bytes of all entries, expanded
	Ignored     []string // names of the entries that were verified and not stored, in directory order
	Biggest     string   // the entry of the most expanded bytes
	BiggestSize int64
	At          string // the entry last begun
}

// zipReader reads one archive. Its fields belong to the goroutine that reads,
// but for what says otherwise.
type zipReader struct {
	ctx    context.Context
	fail   context.CancelCauseFunc
	in     *input
	share  *Share
	sink   Sink
	rules  Rules
	report *Report
	total  expansion // shared by the verifiers

	entries []*entry // by offset
	table   int64    // bytes that entries may take before the table grows
	grown   []func() // give back what the table has grown by

	own     *verifier      // of the entry that is read as it arrives
	workers errgroup.Group // entries on their way beside it
}

// An Interrupter is a reader whose Read can be made to return at once. A reader
// of archives calls Interrupt when it has nothing more to read for, because an
// entry was found to be wrong, the store failed, or its context ended.
type Interrupter interface {
	Interrupt()
}

// ReadZip reads a zip archive forward from r, verifies every entry and hands
// it to sink. When it returns nil, r has ended, all entries that the central
// directory lists have been committed, and all others dropped; of entries of
// one name and size, the last one listed is kept. After an error all have been
// dropped. The report is there in every case.
//
// An entry is refused as soon as its local header or its bytes are seen to be
// wrong; r may be an [Interrupter]. Errors are [ErrNotZip], [*FormatError], [*ChecksumError],
// [*DuplicateError], [*LimitError], [*NeedsSpillError], [*NoRoomError],
// [*SourceError], what rules.Form or sink returned, or the context's cause.
func ReadZip(ctx context.Context, r io.Reader, share *Share, sink Sink, rules Rules) (*Report, error) {
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
	z := &zipReader{
		ctx: ctx, fail: fail, in: newInput(ctx, r), share: share, sink: sink, rules: rules,
		report: &Report{}, total: expansion{limit: rules.MaxExpanded}, table: tableFloor,
		own: verifiers.Get().(*verifier),
	}
	z.workers.SetLimit(atOnce)
	defer verifiers.Put(z.own)

	kept, err := z.read()
	if z.in.src.err == nil {
		// Where the archive is at fault, what is wrong with an earlier entry is
		// said, and not what is wrong behind it.
		_ = z.workers.Wait() // the first error is the context's cause
	}
	if err != nil {
		z.fail(err)
	}
	_ = z.workers.Wait()
	if err == nil {
		err = context.Cause(ctx)
	} else if first := context.Cause(ctx); first != nil {
		err = first
	}
	for _, e := range z.entries {
		if e.obj != nil && (err != nil || !kept[e]) {
			e.obj.Drop()
		}
	}
	for _, release := range z.grown {
		release()
	}
	z.report.Bytes = z.in.offset
	z.report.Expanded = z.total.count()
	return z.report, err
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
			if err := z.entry(); err != nil {
				return nil, err
			}
		case sigRow, sigEnd64, sigEnd:
			return z.directory()
		default:
			if z.in.offset == 0 {
				return nil, z.prefix()
			}
			return nil, z.needsSpill("there are bytes between its entries")
		}
	}
}

// prefix tells an archive with something before its first header from what is
// no archive.
func (z *zipReader) prefix() error {
	b, err := z.in.peek(maxPrefix + 4)
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte("PK\x03\x04")) && !bytes.Contains(b, endMagic) {
		return ErrNotZip
	}
	return z.needsSpill("there are bytes before its first entry")
}

// needsSpill reads the archive to its end, which tells a zip that cannot be
// read forward from what is damaged beyond reading.
func (z *zipReader) needsSpill(reason string) error {
	const keep = endLen + max16
	var tail []byte
	for {
		b, err := z.in.buffered(keep)
		if errors.Is(err, ErrNotZip) {
			break
		}
		if err != nil {
			return err
		}
		tail = append(tail, b...)
		if over := len(tail) - keep; over > 0 {
			tail = append(tail[:0], tail[over:]...)
		}
		z.in.skip(len(b))
	}
	if !endsInZip(tail) {
		return ErrNotZip
	}
	return &NeedsSpillError{Reason: reason}
}
