package receipts

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"strings"
	"sync"

	"spillway/internal/answer"
)

// An Object is something to write into the bucket.
type Object struct {
	Name        string // the key, without --receipts-prefix
	ContentType string
	Body        io.ReaderAt
	Size        int64 // of the body, in bytes
}

// Objects returns what to write for a stored upload, in this order. The last one is the
// receipt. Its text is made while it is read, so that it needs no memory. prefix is the
// length of --receipts-prefix.
func Objects(h Head, files Files, prefix int) []Object {
	count := 0
	terms(h.User, files, func(string) { count++ })
	length, longest := filterLength(count), longestIndexInName(prefix)
	index := newFilter(min(length, longestIndex))
	terms(h.User, files, index.add)

	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	in := folder(h.CompletedAt.Time, h.ID, binary.BigEndian.Uint32(random[:]))
	body := newBody(h, files)
	receipt := Object{Name: in + besideName, ContentType: "application/json", Body: body, Size: body.size}
	if length <= longest {
		receipt.Name = in + indexInName(index)
		return []Object{receipt}
	}
	return []Object{{in + besideIndex, "text/plain", strings.NewReader(string(index)), int64(len(index))}, receipt}
}

// body is the text of a receipt. It has one line.
type body struct {
	head  []byte // up to the first file
	files Files
	size  int64

	mu    sync.Mutex // guards the fields below
	json  *answer.Encoder
	at    int64  // where text begins
	text  []byte // the part of the body that was made last; nil at the end
	file  []byte // its memory, if it is a file
	next  int    // number of the file after it
	ended bool   // all files have been made
}

func newBody(h Head, files Files) *body {
	b := &body{files: files, json: answer.NewEncoder()}
	head := b.json.Text(h)
	b.head = append(append(b.head, head[:len(head)-1]...), `,"files":[`...)
	b.rewind()
	for b.text != nil {
		b.size += int64(len(b.text))
		b.advance()
	}
	return b
}

// rewind goes to the body's start.
func (b *body) rewind() { b.at, b.text, b.next, b.ended = 0, b.head, 0, false }

// advance goes to the next part of the body: a file, or what follows them.
func (b *body) advance() {
	first := b.at == 0
	b.at += int64(len(b.text))
	for b.next < b.files.Len() {
		f, ok := b.files.At(b.next)
		b.next++
		if !ok {
			continue
		}
		b.file = b.file[:0]
		if !first {
			b.file = append(b.file, ',')
		}
		b.file = append(b.file, b.json.Text(f)...)
		b.text = b.file
		return
	}
	b.text = nil
	if !b.ended {
		b.ended, b.text = true, []byte("]}\n")
	}
}

// ReadAt implements [io.ReaderAt]. It is made for reading from the start to the end.
func (b *body) ReadAt(p []byte, off int64) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if off < b.at {
		b.rewind()
	}
	for n < len(p) {
		skip := off + int64(n) - b.at
		switch {
		case b.text == nil:
			return n, io.EOF
		case skip >= int64(len(b.text)):
			b.advance()
		default:
			n += copy(p[n:], b.text[skip:])
		}
	}
	return n, nil
}
