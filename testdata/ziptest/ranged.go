package ziptest

import (
	"bytes"
	"io"
	"sync"

	"spillway/stream"
)

// Ranged is an archive of which any range can be read. It implements [stream.RangeReader].
type Ranged struct {
	Data []byte
	Tail int // bytes at the end that take no request

	// Fault, if set, is called before the n-th request, counted from 1, for the bytes from one
	// offset up to another. Its error is that of the Read, after the first after bytes.
	Fault func(n int, from, to int64) (after int, err error)

	// New, if set, is the archive that Rewind finds.
	New []byte

	mu       sync.Mutex
	requests []Span
	fetched  int64
	rewound  bool
	at, end  int64
	asked    bool // a request for what is left has been sent
	left     int  // bytes until err, if that is set
	err      error
}

// Span is a range of an archive.
type Span struct{ From, To int64 }

// Requests returns the ranges that were asked for.
func (r *Ranged) Requests() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Span(nil), r.requests...)
}

// Fetched returns how many bytes were read that are not in the tail.
func (r *Ranged) Fetched() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fetched
}

// Rewound reports whether the archive was read from its start after all.
func (r *Ranged) Rewound() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rewound
}

// Size implements [stream.RangeReader].
func (r *Ranged) Size() int64 { return int64(len(r.Data)) }

// Range implements [stream.RangeReader].
func (r *Ranged) Range(from, to int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.end, r.asked, r.err = from, to, false, nil
}

// Rewind implements [stream.RangeReader].
func (r *Ranged) Rewind() (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.New != nil {
		r.Data = r.New
	}
	r.rewound, r.Tail, r.asked, r.err = true, len(r.Data), true, nil
	r.at, r.end = 0, int64(len(r.Data))
	return r.end, nil
}

// Read implements [io.Reader].
func (r *Ranged) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == r.end {
		return 0, io.EOF
	}
	end := r.end
	if tail := int64(len(r.Data) - r.Tail); r.at < tail {
		end = min(end, tail)
		if !r.asked {
			r.asked = true
			r.requests = append(r.requests, Span{r.at, end})
			if r.Fault != nil {
				r.left, r.err = r.Fault(len(r.requests), r.at, end)
			}
		}
		if r.err != nil {
			if r.left == 0 {
				return 0, r.err
			}
			end = min(end, r.at+int64(r.left))
		}
		defer func(was int64) {
			r.fetched += r.at - was
			r.left -= int(r.at - was)
		}(r.at)
	}
	n, err := bytes.NewReader(r.Data[r.at:end]).Read(p)
	r.at += int64(n)
	return n, err
}

var _ stream.RangeReader = (*Ranged)(nil)
