package stream

import (
	"context"
	"io"

	"spillway/internal/guard"
	"spillway/stream/budget"
)

// Rules is what an archive is read under.
type Rules struct {
	// Form says what becomes of the file of that name. Its error ends the reading
	// and is returned as it is.
	Form        func(name string) (Form, error)
	MaxEntries  int
	MaxExpanded int64 // uncompressed bytes of all entries together

	// Size is how many bytes the archive has at the most, if that is known. An
	// archive that has to be held waits for the whole of its room then.
	Size int64

	// Progress, if not nil, is where the archive is reported on meanwhile.
	Progress *Progress
}

// A Pipeline verifies the entries of one archive, fills the bodies of their objects,
// and stages and commits them. It knows no archive format: a reader tells it where each
// entry begins and ends. The reader calls these methods from one goroutine, and hears
// nothing back but errors:
//
//	Begin              for every entry
//	Sized              where the size of its compressed bytes is stated, or
//	Decode and Commit  where they end with the compressed stream
//	Drop               for an entry that the archive's directory does not list
//
// The compressed bytes of an entry come from a [Window] over the archive. Where the
// archive is compressed as a whole, the window is over the decompressed archive, and
// its entries are [Stored]. Their compression ratio is then the reader's to limit.
//
// The fields belong to the goroutine that reads, unless they say otherwise.
type Pipeline struct {
	ctx     context.Context
	end     func(cause error) // ends ctx
	archive *source
	window  *Window // nil until there is one
	share   *budget.Share
	sink    Sink
	rules   Rules
	total   expansion // shared by the verifiers

	entries Table[entryRef] // by number
	names   names           // of entries
	created int             // objects

	own     *verifier    // of the entry that is decoded as it arrives
	turn    *budget.Turn // likewise
	workers workers      // entries on their way beside it
}

// entryRef is what a pipeline keeps of an entry.
type entryRef struct {
	name    uint32 // where its name is kept
	object  int32  // 1 more than its number in the sink; 0 if it has none
	length  uint16 // of the name, in bytes
	dropped bool
}

// EntryMemory is what an entry takes in memory beside its name, in bytes, until its
// upload is answered: a reference in the pipeline, what a reader keeps to compare it
// with the archive's directory, and what a store keeps of it.
const EntryMemory = 120

// Read calls read with a pipeline from r to sink. read is the reader of an archive
// format. It reads the archive to its end, and calls no method of the pipeline after
// it has returned.
//
// When Read returns a nil error, every entry has been committed or dropped. After an
// error, all have been dropped. Read always returns a report. Where several entries are
// at fault, the error is the first one's.
//
// Errors are [ErrCutOff], [*FormatError], [*ChecksumError], [*LimitError],
// [*budget.QuotaError], [*budget.NoRoomError], [*budget.DiskError], [*SourceError],
// [*guard.PanicError], what read, rules.Form or sink returned, or the cause of
// ctx's end. Where there is one, Read calls end with it, which ends ctx with that
// cause unless it has ended before. It does so at once when a worker fails. A read of
// r that waits for the client must return when ctx ends.
//
// Table memory stays reserved until share is closed, because sink keeps a part of each
// entry.
func Read(ctx context.Context, end func(cause error), r io.Reader, share *budget.Share, sink Sink, rules Rules, read func(p *Pipeline) error) (*Report, error) {
	p := newPipeline(ctx, end, r, share, sink, rules)
	defer p.close()
	err := p.run(read)
	p.drop(err != nil)
	p.rules.Progress.end(p.archive.n.Load(), p.total.count())
	report := p.rules.Progress.Report()
	return &report, err
}

func newPipeline(ctx context.Context, end func(cause error), r io.Reader, share *budget.Share, sink Sink, rules Rules) *Pipeline {
	if rules.Progress == nil {
		rules.Progress = new(Progress)
	}
	turn := share.NewTurn(ctx)
	archive := &source{ctx: ctx, r: r, share: share, turn: turn}
	p := &Pipeline{
		ctx: ctx, end: end, archive: archive, share: share, sink: sink, rules: rules,
		total: expansion{limit: rules.MaxExpanded, received: archive.n.Load},
		own:   verifiers.Get().(*verifier), turn: turn,
	}
	p.own.apart = true
	p.workers.init(share.Account(), end)
	return p
}

func (p *Pipeline) close() {
	if p.window != nil {
		p.window.close()
	}
	verifiers.Put(p.own)
}

// run runs read and waits for the workers.
func (p *Pipeline) run(read func(p *Pipeline) error) error {
	err := guard.Do(func() error { return read(p) })
	p.share.AllArrived()
	if p.archive.err == nil {
		// Where the archive is at fault, report an earlier entry's fault rather
		// than a later one's.
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

// drop drops the objects whose entries were dropped, or all objects.
func (p *Pipeline) drop(all bool) {
	for i := range p.entries.Len() {
		if e := p.entries.At(i); e.object > 0 && (all || e.dropped) {
			p.sink.Drop(int(e.object) - 1)
		}
	}
}

// Source returns the archive as it arrives.
func (p *Pipeline) Source() io.Reader { return p.archive }

// Window returns the window over r, which is [Pipeline.Source] or reads from it.
// It is called once. The window ends with the reading.
func (p *Pipeline) Window(r io.Reader) *Window {
	p.window = newWindow(p.ctx, r, p.share, p.turn)
	return p.window
}

// Begin adds an entry to the table, with a copy of its name, and finds out what becomes
// of it. It returns a [*LimitError] if there are too many entries. It is called first
// for every entry.
func (p *Pipeline) Begin(h *Header) error {
	if p.entries.Len() >= p.rules.MaxEntries {
		return &LimitError{What: EntriesBound, Limit: int64(p.rules.MaxEntries)}
	}
	if err := p.share.Grow(p.ctx, int64(EntryMemory+len(h.Name))); err != nil {
		return err
	}
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

// Drop makes Read drop the entry with that number, which has been committed or will
// be.
func (p *Pipeline) Drop(number int) {
	p.entries.At(number).dropped = true
}

// Name is the name of the entry with that number.
func (p *Pipeline) Name(number int) string {
	e := p.entries.At(number)
	return p.names.at(e.name, e.length)
}

// At reports that the reader is at the entry of that name.
func (p *Pipeline) At(name string) { p.rules.Progress.at(name) }

// Ignored reports that the entry of that name was verified and is not stored.
func (p *Pipeline) Ignored(name string) {
	p.rules.Progress.note(func(r *Report) { r.Ignored = append(r.Ignored, name) })
}

// create begins the object of an entry. It is nil if none is stored.
func (p *Pipeline) create(h *Header) Object {
	if h.Form == Ignore {
		return nil
	}
	e := Entry{Name: h.Name, Form: h.Form}
	if h.SizeStated && h.CRCStated {
		e.Stated, e.Size, e.CRC32 = true, h.Size, h.CRC32
	}
	obj := p.sink.Create(e)
	p.created++
	p.entries.At(h.Number).object = int32(p.created)
	return obj
}
