package receipts

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"slices"
	"sync"
	"time"
)

// A Bucket has receipts. Names are keys without --receipts-prefix.
type Bucket interface {
	// List yields the objects whose names are after that one, in the order of their names.
	// It ends after an error.
	List(ctx context.Context, after string) iter.Seq2[Listed, error]

	// Read returns up to n bytes of an object at an offset. The error wraps
	// [fs.ErrNotExist] if there is no such object.
	Read(ctx context.Context, name string, off, n int64) ([]byte, error)
}

// Listed is an object in a list.
type Listed struct {
	Name string
	Size int64 // bytes
}

// A Query selects receipts, and files in them. The zero value of a field selects all.
type Query struct {
	Since, Until time.Time // of completion: from Since on, and before Until

	User    string
	Key     string
	CodeID  string
	DebugID string
}

// ofFiles reports whether q selects files in a receipt.
func (q *Query) ofFiles() bool { return q.Key != "" || q.CodeID != "" || q.DebugID != "" }

// terms are what a receipt's index has if q selects the receipt.
func (q *Query) terms() (all []string) {
	if q.User != "" {
		all = append(all, userTerm(q.User))
	}
	for _, id := range []string{id(q.Key), q.CodeID, q.DebugID} {
		if id != "" {
			all = append(all, idTerm(id))
		}
	}
	return all
}

// after is a name that comes before those of all receipts that q selects by their time.
func (q *Query) after() string {
	if q.Since.IsZero() {
		return ""
	}
	return ceilSecond(q.Since).UTC().Format(folderFormat)
}

// covers reports whether q selects receipts of that time, which is to the second.
func (q *Query) covers(at time.Time) bool {
	return !at.Before(ceilSecond(q.Since)) && (q.Until.IsZero() || at.Before(q.Until))
}

func ceilSecond(t time.Time) time.Time { return t.Add(time.Second - 1).Truncate(time.Second) }

// A candidate is a receipt that a query may select.
type candidate struct {
	bucket Bucket
	name   name
	size   int64 // bytes

	// set once read is closed
	read     chan struct{}
	excluded bool   // by the index beside it, or because it is gone
	text     []byte // unless it is longer than a piece
	err      error
}

// list yields the receipts in all buckets that q selects by their time and by the index
// in their names, in the order of their names.
func list(ctx context.Context, buckets []Bucket, q *Query, stats *Stats) iter.Seq2[*candidate, error] {
	return func(yield func(*candidate, error) bool) {
		var (
			terms = q.terms()
			lists []func() (*candidate, error, bool)
			heads []*candidate
		)
		for _, b := range buckets {
			next, stop := iter.Pull2(listOne(ctx, b, q, stats))
			defer stop()
			lists, heads = append(lists, next), append(heads, nil)
		}
		for {
			for i := range lists {
				if heads[i] != nil || lists[i] == nil {
					continue
				}
				c, err, ok := lists[i]()
				switch {
				case err != nil:
					yield(nil, err)
					return
				case ok:
					heads[i] = c
				default:
					lists[i] = nil
				}
			}
			first := -1
			for i, c := range heads {
				if c != nil && (first < 0 || cmp.Less(c.name.text, heads[first].name.text)) {
					first = i
				}
			}
			if first < 0 {
				return
			}
			c := heads[first]
			heads[first] = nil
			if c.name.index != nil && slices.ContainsFunc(terms, func(t string) bool { return !c.name.index.mayHave(t) }) {
				continue
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// listOne yields the receipts in one bucket that q selects by their time.
func listOne(ctx context.Context, b Bucket, q *Query, stats *Stats) iter.Seq2[*candidate, error] {
	return func(yield func(*candidate, error) bool) {
		for o, err := range b.List(ctx, q.after()) {
			if err != nil {
				yield(nil, err)
				return
			}
			n, ok := parseName(o.Name)
			switch {
			case !ok:
				continue
			case !q.Until.IsZero() && !n.at.Before(q.Until):
				return // later ones follow
			case !q.covers(n.at):
				continue // a store that does not know where to start
			}
			stats.Listed++
			if !yield(&candidate{bucket: b, name: n, size: o.Size, read: make(chan struct{})}, nil) {
				return
			}
		}
	}
}

const (
	// atOnce is how many receipts are read at the same time, or have been read before their
	// turn.
	atOnce = 8

	// pieceSize bounds how much of a receipt is in memory, in bytes. Longer ones are read in
	// pieces at their turn.
	pieceSize = 1 << 20
)

// fetch reads the index beside c, if q asks for it, and then c itself, unless it is too
// long.
func (c *candidate) fetch(ctx context.Context, q *Query) {
	defer close(c.read)
	if terms := q.terms(); c.name.beside && len(terms) > 0 {
		index, err := c.bucket.Read(ctx, c.name.besideIndex(), 0, longestIndex)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.err = err
			return
		}
		if f := filter(index); len(f) > 0 && slices.ContainsFunc(terms, func(t string) bool { return !f.mayHave(t) }) {
			c.excluded = true
			return
		}
	}
	if c.size == 0 || c.size > pieceSize {
		return
	}
	c.text, c.err = c.bucket.Read(ctx, c.name.text, 0, c.size)
	if errors.Is(c.err, fs.ErrNotExist) {
		c.excluded, c.err = true, nil // a lifecycle rule was faster
	}
}

// pieces reads an object in pieces.
type pieces struct {
	ctx    context.Context // it lives within one call, and io.Reader takes no context
	c      *candidate
	at     int64
	unread []byte
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.unread) == 0 {
		if p.at >= p.c.size {
			return 0, io.EOF
		}
		text, err := p.c.bucket.Read(p.ctx, p.c.name.text, p.at, min(pieceSize, p.c.size-p.at))
		if err == nil && len(text) == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, &readError{err}
		}
		p.unread, p.at = text, p.at+int64(len(text))
	}
	n := copy(b, p.unread)
	p.unread = p.unread[n:]
	return n, nil
}

// readError is an error of a bucket.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

// fetched yields the receipts of list in their order. It reads some ahead. The error is
// that of a bucket, and the last.
func fetched(ctx context.Context, buckets []Bucket, q *Query, stats *Stats) iter.Seq2[*candidate, error] {
	return func(yield func(*candidate, error) bool) {
		var running sync.WaitGroup
		defer running.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		queue := make(chan *candidate, atOnce-2) // one more waits to get in, and one is out
		running.Go(func() {
			defer close(queue)
			for c, err := range list(ctx, buckets, q, stats) {
				if err != nil {
					c = &candidate{err: err, read: make(chan struct{})}
					close(c.read)
				} else {
					running.Go(func() { c.fetch(ctx, q) })
				}
				select {
				case queue <- c:
				case <-ctx.Done():
					return
				}
			}
		})
		for c := range queue {
			<-c.read
			if !yield(c, c.err) || c.err != nil {
				return
			}
		}
	}
}
