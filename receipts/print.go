package receipts

import (
	"bufio"
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
// It passes over objects that are no receipts, and calls malformed for each. Any other
// error ends it: of a bucket, or of out.
func Print(ctx context.Context, buckets []Bucket, q Query, asCSV bool, out io.Writer, malformed func(*MalformedError)) (stats Stats, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := bufio.NewWriter(out)
	var p printer = &jsonPrinter{w: w}
	if asCSV {
		if p, err = newCSVPrinter(w); err != nil {
			return stats, err
		}
	}
	for c, err := range fetched(ctx, buckets, &q, &stats) {
		if err != nil {
			return stats, errors.Join(err, w.Flush())
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
		if bad, ok := errors.AsType[*MalformedError](err); ok {
			bad.Name = c.name.text
			malformed(bad)
			err = nil
		}
		if err = errors.Join(err, w.Flush()); err != nil {
			return stats, err
		}
		if printed {
			stats.Printed++
		}
	}
	return stats, w.Flush()
}
