// Package zip reads zip archives while they arrive. It tells a
// [stream.Pipeline] where each entry begins and ends.
//
// An archive is read forward by its local headers, which are an early copy of
// the central directory. At the end every entry is matched with its central
// directory header, and what disagrees is refused. An archive that cannot be read
// forward is held from there on, and read by its central directory.
package zip

import (
	"bytes"
	"context"
	"errors"
	"io"

	"spillway/stream"
	"spillway/stream/budget"
)

// ErrNotZip says that the bytes are no zip archive at all, or one that was cut
// off before its end.
var ErrNotZip = errors.New("zip: not a zip archive, or cut off")

// maxPrefix is how far into an archive its first header may stand, in bytes.
const maxPrefix = 64 << 10

// reader reads one archive.
type reader struct {
	p     *stream.Pipeline
	in    *stream.Window
	rules stream.Rules

	entries stream.Table[record] // by the pipeline's numbers

	// Entries with local headers that were read forward come first, by offset. The
	// later ones are in the order of the directory, where the archive is held.
	forward int

	prefix int64 // bytes before the one that the directory's offsets count from
}

// Read reads a zip archive from r, verifies every entry and hands it to sink,
// see [stream.Read]. When Read returns nil, r has ended, all entries that the
// central directory lists have been committed, and all others dropped; of entries
// of one name and size, the last one listed is kept.
//
// Read refuses an entry as soon as its local header or its bytes prove wrong. Its
// errors are those of [stream.Read], but [ErrNotZip] instead of [stream.ErrCutOff], and
// [*stream.DuplicateError] and [*stream.SpillError].
func Read(ctx context.Context, end func(cause error), r io.Reader, share *budget.Share, sink stream.Sink, rules stream.Rules) (*stream.Report, error) {
	return stream.Read(ctx, end, r, share, sink, rules, func(p *stream.Pipeline) error {
		z := &reader{p: p, in: p.Window(p.Source()), rules: rules}
		err := z.read()
		if errors.Is(err, stream.ErrCutOff) {
			return ErrNotZip
		}
		return err
	})
}

// read reads the archive, forward as far as possible.
func (z *reader) read() error {
	for {
		b, err := z.in.Peek(4)
		if err != nil {
			return err
		}
		if len(b) < 4 {
			return ErrNotZip
		}
		switch le.Uint32(b) {
		case sigLocal:
			switch reason, err := z.entry(); {
			case err != nil:
				return err
			case reason != "":
				return z.held(reason)
			}
		case sigCentral, sigEnd64, sigEnd:
			return z.directory()
		default:
			if z.in.Offset() == 0 {
				return z.prefixed()
			}
			return z.held("there are bytes between its entries")
		}
	}
}

// prefixed reads an archive that does not begin with a header, if it is one.
func (z *reader) prefixed() error {
	b, err := z.in.Peek(maxPrefix + 4)
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte("PK\x03\x04")) && !bytes.Contains(b, endMagic) {
		return ErrNotZip
	}
	return z.held("there are bytes before its first entry")
}
