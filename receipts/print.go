package receipts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// Stats is what a query took.
type Stats struct {
	Listed  int // receipts in the time that was asked for
	Read    int // receipts that were read, because their index does not exclude them
	Printed int
}

// A MalformedError says that an object is no receipt that this version understands.
type MalformedError struct {
	Name string // of the object
	Err  error
}

func (e *MalformedError) Error() string { return fmt.Sprintf("receipt %s: %v", e.Name, e.Err) }
func (e *MalformedError) Unwrap() error { return e.Err }

// Print writes the receipts that q selects to out, oldest first: in JSON lines, or as a
// table in CSV with a line for each file. If q selects files, the receipts have only
// these. It reads receipts that are no longer than a piece ahead of their turn.
//
// It passes over malformed receipts, and calls malformed for each. Only of one that is
// longer than a piece may a part have been printed: in JSON, its line ends early. Any other
// error ends Print: of a bucket, or of out.
func Print(ctx context.Context, buckets []Bucket, q Query, asCSV bool, out io.Writer, malformed func(*MalformedError)) (stats Stats, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &draft{out: out}
	var p printer = &jsonPrinter{w: w}
	if asCSV {
		if p, err = newCSVPrinter(w); err != nil {
			return stats, err
		}
		if err := w.flush(); err != nil {
			return stats, err
		}
	}
	for c, err := range fetched(ctx, buckets, &q, &stats) {
		if err != nil {
			return stats, err
		}
		if c.excluded {
			continue
		}
		stats.Read++
		var text io.Reader = bytes.NewReader(c.text)
		if c.size > pieceSize {
			text = &pieces{ctx: ctx, c: c}
		}
		printed, err := scan(text, &q, p)
		bad, isMalformed := errors.AsType[*MalformedError](err)
		switch {
		case isMalformed:
			bad.Name = c.name.text
			malformed(bad)
			if err := w.discard(p.cut); err != nil {
				return stats, err
			}
			continue
		case err != nil:
			return stats, errors.Join(err, w.discard(p.cut))
		}
		if err := w.flush(); err != nil {
			return stats, err
		}
		if printed {
			stats.Printed++
		}
	}
	return stats, nil
}

// draftSize is the length of a draft, in bytes: a receipt that is no longer than a piece is
// printed as a whole or not at all.
const draftSize = 2 * pieceSize

// draft is what has been printed of a receipt. What does not fit goes to out at once.
type draft struct {
	out  io.Writer
	text bytes.Buffer
	sent bool // a part of it is in out
}

// Write implements [io.Writer].
func (d *draft) Write(p []byte) (int, error) {
	if d.text.Len() > 0 && d.text.Len()+len(p) > draftSize {
		if err := d.flush(); err != nil {
			return 0, err
		}
		d.sent = true
	}
	return d.text.Write(p)
}

// flush writes all of the draft to out. The next receipt begins.
func (d *draft) flush() error {
	d.sent = false
	_, err := d.text.WriteTo(d.out)
	return err
}

// discard forgets the draft. If a part of it is in out, discard calls cut. The next receipt
// begins.
func (d *draft) discard(cut func() error) error {
	d.text.Reset()
	if !d.sent {
		return nil
	}
	return errors.Join(cut(), d.flush())
}
