// Package zip reads zip archives while they arrive. It tells a
// [stream.Pipeline] where each entry begins and ends.
//
// An archive is read forward by its local headers, which are an early copy of
// the central directory. At the end, each entry is compared with its central
// directory header. The archive is refused if they disagree. If an archive cannot
// be read forward, the rest of it is spilled and read by its central directory.
//
// If any range of the archive can be read, its central directory is read first, and of
// its entries those that the store does not have. See [reader.readRanges].
package zip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"spillway/stream"
	"spillway/stream/budget"
)

// ErrNotZip says that the bytes are not a zip archive, or that the archive is cut off. The
// error is a [*NotZipError].
var ErrNotZip = errors.New("zip: not a zip archive, or cut off")

// A NotZipError is an [ErrNotZip] with its details.
type NotZipError struct {
	CutOff bool   // the archive begins as a zip archive
	Offset int64  // bytes that there are, if it is cut off; else where no header or record was found
	Entry  string // raw name of the entry within which it is cut off; empty if it is not within one
}

func (e *NotZipError) Error() string {
	switch {
	case !e.CutOff:
		return fmt.Sprintf("zip: not a zip archive: no header at byte %d", e.Offset)
	case e.Entry != "":
		return fmt.Sprintf("zip: cut off at byte %d, within entry %q", e.Offset, e.Entry)
	}
	return fmt.Sprintf("zip: cut off at byte %d", e.Offset)
}

// Is reports whether target is [ErrNotZip].
func (e *NotZipError) Is(target error) bool { return target == ErrNotZip }

// maxPrefix is the most bytes before the first local header.
const maxPrefix = 64 << 10

// reader reads one archive.
type reader struct {
	p     *stream.Pipeline
	in    *stream.Window
	rules stream.Rules

	entries stream.Table[record] // by the pipeline's numbers

	// forward is how many entries were read forward. They come first, by offset.
	// The entries of a spilled archive follow in the order of the directory.
	forward int

	prefix int64 // what the archive's own offsets are off by, in bytes

	current string // the entry that is being read; empty between entries
}

// Read reads a zip archive from r, verifies every entry and passes it to sink, see
// [stream.Read]. If Read returns nil, r has ended, all entries that the central
// directory lists have been committed, and all others dropped. Of several entries of
// the same name and size, it keeps the last one listed.
//
// If r is a [stream.RangeReader], entries that sink has found are passed over. What
// Read says of the others, and of the archive, is what it would say if it read the
// archive forward.
//
// Read refuses an entry as soon as its local header or its bytes prove wrong. Beside
// the errors of [stream.Read], it returns [*stream.DuplicateError],
// [*stream.SpillError], and [*NotZipError] instead of [stream.ErrCutOff].
func Read(ctx context.Context, end func(cause error), r io.Reader, share *budget.Share, sink stream.Sink, rules stream.Rules) (*stream.Report, error) {
	return stream.Read(ctx, end, r, share, sink, rules, func(p *stream.Pipeline) error {
		if in := p.RangeWindow(); in != nil {
			z := &reader{p: p, in: in, rules: rules}
			err := z.readRanges()
			if err == nil {
				return nil
			}
			if rules.Size, err = p.Restart(err); err != nil {
				return err
			}
		}
		z := &reader{p: p, in: p.Window(p.Source()), rules: rules}
		err := z.read()
		if errors.Is(err, stream.ErrCutOff) {
			return z.cutOff()
		}
		return err
	})
}

// cutOff returns the error for an archive whose end is missing.
func (z *reader) cutOff() error {
	return &NotZipError{CutOff: true, Offset: z.in.End(), Entry: strings.Clone(z.current)}
}

// read reads the archive, forward as far as possible.
func (z *reader) read() error {
	for {
		b, err := z.in.Peek(4)
		if err != nil {
			return err
		}
		if len(b) < 4 {
			if z.in.Offset() == 0 {
				return &NotZipError{}
			}
			return z.cutOff()
		}
		switch le.Uint32(b) {
		case sigLocal:
			switch reason, err := z.nextEntry(); {
			case err != nil:
				return err
			case reason != "":
				return z.spill(reason)
			}
		case sigCentral, sigEnd64, sigEnd:
			return z.directory()
		default:
			if z.in.Offset() == 0 {
				return z.prefixed()
			}
			return z.spill("there are bytes between its entries")
		}
	}
}

// prefixed reads an archive that does not begin with a local header.
func (z *reader) prefixed() error {
	b, err := z.in.Peek(maxPrefix + 4)
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte("PK\x03\x04")) && !bytes.Contains(b, endMagic) {
		return &NotZipError{}
	}
	return z.spill("there are bytes before its first entry")
}
