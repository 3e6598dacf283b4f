package stream

import (
	"context"
	"io"
	"sync/atomic"

	"spillway/internal/guard"
	"spillway/stream/budget"
)

// Rules are the limits on an archive, and what becomes of its files.
type Rules struct {
	// Form returns how the file of that name is stored. Read returns its error
	// unchanged.
	Form            func(name string) (Form, error)
	MaxEntries      int
	MaxUncompressed int64 // uncompressed bytes of all entries together

	// Size is the most bytes that the archive can have, or 0 if that is not known.
	// If it is known, an archive that has to be spilled waits for all of its disk
	// space.
	Size int64

	// Progress, if not nil, shows how far the archive has been read.
	Progress *Progress

	// Symbols, if not nil, keeps what symbol files state, in memory of the upload's share.
	Symbols *Symbols
}

// A Pipeline verifies the entries of one archive, fills their bodies, stages
// them and commits them. It knows no archive format. The reader of a format
// tells it where each entry begins and ends, and gets nothing back but errors.
// It calls the methods from one goroutine:
//
//	Begin              for every entry
//	Sized              if the compressed size is stated, or
//	Decode and Commit  if the compressed stream tells where it ends
//	Skip               if the store has the entry, so that it need not be read
//	Drop               if the archive turns out not to list the entry
//
// The compressed bytes of an entry come from a [Window] over the archive. If the
// archive is compressed as a unit, the window is over the decompressed archive,
// and its entries are [Stored]. The reader then has to limit the compression ratio.
//
// Unless noted otherwise, the fields belong to the reader's goroutine.
type Pipeline struct {
	ctx     context.Context
	end     func(cause error) // ends ctx
	archive *client
	window  *Window // nil until Window is called
	share   *budget.Share
	sink    Sink
	rules   Rules

	expansion expansion // shared with the workers

	entries Table[entryRef] // by number
	names   names           // of entries
	table   int64           // bytes of share that these take
	created int             // objects
	passed  atomic.Int64    // bytes of the archive that were skipped
	lookups *Lookups        // nil if there are none

	own      *verifier     // of long entries, and of those that the reader's goroutine decodes
	ownInUse chan struct{} // has a value meanwhile
	turn     *budget.Turn  // of the reader's goroutine
	workers  workers
}

// entryRef is what a pipeline keeps of an entry.
type entryRef struct {
	name    uint32 // its position in the names
	object  int32  // 1 more than the object's number in the sink; 0 if there is none
	length  uint16 // of the name, in bytes
	dropped bool
}

// EntryMemory is the memory of an entry beside its name, in bytes, until its upload
// is answered. It includes what the pipeline keeps, what the reader keeps to compare
// with the archive's directory, and what the store keeps.
const EntryMemory = 120

// Read has read, the reader of a format, take the archive in r through a pipeline to
// sink. read reads the archive to its end. It must not use the pipeline after it
// has returned.
//
// If Read returns nil, all entries have been committed, except those that were
// dropped. After an error, all have been dropped. The report is never nil. If several
// entries are at fault, Read returns the error of the first.
//
// Errors are [ErrCutOff], [*FormatError], [*ChecksumError], [*LimitError],
// [*budget.QuotaError], [*budget.NoRoomError], [*budget.DiskError], [*SourceError],
// [*guard.PanicError], the errors of read, rules.Form and sink, and the cause of ctx.
// On an error, Read calls end, which must cancel ctx with that cause. It does so as
// soon as a worker fails: calls of r that wait for the client have to return then.
//
// Table memory stays reserved until share is closed, because sink and the report keep some
// of it.
func Read(ctx context.Context, end func(cause error), r io.Reader, share *budget.Share, sink Sink, rules Rules, read func(p *Pipeline) error) (*Report, error) {
	p := newPipeline(ctx, end, r, share, sink, rules)
	defer p.close()
	err := p.run(read)
	p.drop(err != nil)
	p.rules.Progress.end(p.archive.n.Load(), &p.expansion)
	report := p.rules.Progress.Report()
	return &report, err
}

func newPipeline(ctx context.Context, end func(cause error), r io.Reader, share *budget.Share, sink Sink, rules Rules) *Pipeline {
	if rules.Progress == nil {
		rules.Progress = new(Progress)
	}
	turn := share.NewTurn(ctx)
	archive := &client{ctx: ctx, r: r, share: share, turn: turn}
	p := &Pipeline{
		ctx: ctx, end: end, archive: archive, share: share, sink: sink, rules: rules,
		own: verifiers.Get().(*verifier), ownInUse: make(chan struct{}, 1), turn: turn,
	}
	p.expansion = expansion{limit: rules.MaxUncompressed, received: func() int64 { return archive.n.Load() - p.passed.Load() }}
	p.own.concurrent = true
	p.workers.init(share.Account(), end)
	return p
}

func (p *Pipeline) close() {
	if p.window != nil {
		p.window.close()
	}
	verifiers.Put(p.own)
}

// takeOwn waits until the verifier own is free. The caller calls giveOwn.
func (p *Pipeline) takeOwn() error {
	select {
	case p.ownInUse <- struct{}{}:
		return nil
	default:
	}
	defer p.workers.waiting()()
	select {
	case p.ownInUse <- struct{}{}:
		return nil
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

func (p *Pipeline) giveOwn() { <-p.ownInUse }

// run runs read and waits for the workers.
func (p *Pipeline) run(read func(p *Pipeline) error) error {
	err := guard.Do(func() error { return read(p) })
	p.share.AllArrived()
	p.lookups.stop()
	if p.archive.err == nil {
		// An earlier entry may be at fault as well: its error goes first.
		p.workers.wait()
	}
	if err != nil {
		p.end(err)
	}
	p.workers.wait()
	if first := context.Cause(p.ctx); first != nil {
		return first
	}
	return err
}

// drop drops the objects of dropped entries, or all objects.
func (p *Pipeline) drop(all bool) {
	for i := range p.entries.Len() {
		if e := p.entries.At(i); e.object > 0 && (all || e.dropped) {
			p.sink.Drop(int(e.object) - 1)
		}
	}
}

// Source returns the archive, as it arrives.
func (p *Pipeline) Source() io.Reader { return p.archive }

// Window returns a window over r, which is [Pipeline.Source] or reads from it. It is
// called once, and once more after [Pipeline.Restart]. The pipeline closes the window.
func (p *Pipeline) Window(r io.Reader) *Window {
	var buf []byte
	if p.window != nil {
		buf = p.window.buf
	} else {
		buf = make([]byte, windowSize)
	}
	p.window = &Window{ctx: p.ctx, r: r, share: p.share, turn: p.turn, buf: buf}
	return p.window
}

// Begin adds an entry to the table, with a copy of its name, and sets h.Number, h.Name
// and h.Form. It checks the limit on entries. It is the first call for every entry.
func (p *Pipeline) Begin(h *Header) error {
	if p.entries.Len() >= p.rules.MaxEntries {
		return &LimitError{What: EntriesBound, Limit: int64(p.rules.MaxEntries)}
	}
	size := int64(EntryMemory + len(h.Name))
	if err := p.share.Grow(p.ctx, size); err != nil {
		return err
	}
	p.table += size
	h.Number = p.entries.Len()
	p.entries.Add(entryRef{name: p.names.add(h.Name), length: uint16(len(h.Name))})
	h.Name = p.Name(h.Number)
	if h.Directory {
		return nil
	}
	p.rules.Progress.note(func(r *Report) { r.Entries++ })
	var err error
	if h.Form, err = p.rules.Form(h.Name); err != nil {
		p.At(h.Name)
	}
	return err
}

// Drop marks the entry with that number as not listed. Its object is dropped at the end.
func (p *Pipeline) Drop(number int) {
	p.entries.At(number).dropped = true
}

// Name returns the name of the entry with that number.
func (p *Pipeline) Name(number int) string {
	e := p.entries.At(number)
	return p.names.at(e.name, e.length)
}

// At reports that the reader has reached the entry of that name.
func (p *Pipeline) At(name string) { p.rules.Progress.at(name) }

// Ignored reports that the entry of h is verified and not stored.
func (p *Pipeline) Ignored(h *Header) {
	p.rules.Progress.note(func(r *Report) {
		r.IgnoredCount++
		r.Ignored = append(r.Ignored, IgnoredFile{h.Name, h.Size, h.CRC32})
	})
}

// create creates the object of an entry. It returns nil if the entry is not stored.
func (p *Pipeline) create(h *Header) (Object, error) {
	if h.Form == Ignore {
		return nil, nil
	}
	if err := p.rules.Symbols.reserve(p, longestSymbol); err != nil {
		return nil, err
	}
	e := Entry{Name: h.Name, Form: h.Form, Found: h.Found}
	if h.SizeStated && h.CRCStated {
		e.Stated, e.Size, e.CRC32 = true, h.Size, h.CRC32
	}
	obj := p.rules.Symbols.keep(p.sink.Create(e))
	p.number(h)
	return obj, nil
}

// number notes that the entry has the next object.
func (p *Pipeline) number(h *Header) {
	p.created++
	p.entries.At(h.Number).object = int32(p.created)
}
