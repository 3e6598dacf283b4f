package stream

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// longestID, longestFile and longestGenerator bound the fields of a [Symbol] that
	// [Symbols] keeps, in bytes. Longer ones are left out. Real ones are at most 40, some
	// 100 and some 40 bytes long.
	longestID        = 64
	longestFile      = 255
	longestGenerator = 100

	// symbolFields is how many fields are kept, and longestSymbol the memory of the longest,
	// with what separates them.
	symbolFields  = 5
	longestSymbol = 2*longestID + 2*longestFile + longestGenerator + symbolFields - 1

	// resultMemory is the memory that an entry takes in addition to [EntryMemory] while
	// Symbols are kept: its reference here, and the size of its body in the store.
	resultMemory = 8 + 8
)

// Symbols keep what the symbol files of an archive state, by the number of their objects.
// The zero value is empty. It may be used concurrently. Nil keeps nothing.
type Symbols struct {
	unused atomic.Int64 // bytes that were reserved for symbols and turned out not to be needed

	mu   sync.Mutex // guards the fields below
	refs Table[symbolRef]
	text names
}

// symbolRef is where the fields of a symbol file are in the text.
type symbolRef struct {
	at     uint32
	length uint16 // 0: there are none
}

// reserve counts the memory that the next object may need here, with a Symbol of so many
// bytes. What earlier ones have not needed is given back.
func (s *Symbols) reserve(p *Pipeline, bytes int64) error {
	if s == nil {
		return nil
	}
	return p.share.Grow(p.ctx, resultMemory+bytes-s.unused.Swap(0))
}

// keep returns an object that passes everything on to obj, the next one of the archive, and
// keeps its Symbol.
func (s *Symbols) keep(obj Object) Object {
	if s == nil {
		return obj
	}
	return symbolObject{obj, s, s.add()}
}

// skip passes over the next object, whose entry is not read.
func (s *Symbols) skip() {
	if s != nil {
		s.add()
	}
}

// add adds an object without a Symbol, and returns its number.
func (s *Symbols) add() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refs.Add(symbolRef{})
	return s.refs.Len() - 1
}

// set keeps the Symbol of the object with that number.
func (s *Symbols) set(number int, symbol Symbol) {
	text := symbol.text()
	s.unused.Add(longestSymbol - int64(len(text)))
	if text == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.refs.At(number) = symbolRef{s.text.add(text), uint16(len(text))}
}

// At returns what the object with that number states. OS and Arch are not kept.
func (s *Symbols) At(number int) (symbol Symbol) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ref := s.refs.At(number); ref.length > 0 {
		f := strings.SplitN(s.text.at(ref.at, ref.length), "\n", symbolFields)
		symbol = Symbol{DebugFile: f[0], DebugID: f[1], CodeFile: f[2], CodeID: f[3], Generator: f[4]}
	}
	return symbol
}

// text returns the fields that are kept, in lines; empty if there are none.
func (s Symbol) text() string {
	bounded := func(field string, limit int) string {
		if len(field) > limit {
			return ""
		}
		return field
	}
	text := strings.Join([]string{
		bounded(s.DebugFile, longestFile), bounded(s.DebugID, longestID),
		bounded(s.CodeFile, longestFile), bounded(s.CodeID, longestID), bounded(s.Generator, longestGenerator),
	}, "\n")
	if len(text) == symbolFields-1 {
		return ""
	}
	return text
}

// symbolObject is an object whose Symbol is kept.
type symbolObject struct {
	Object
	symbols *Symbols
	number  int
}

// Commit implements [Object].
func (o symbolObject) Commit(ctx context.Context, rest Body, facts Facts) error {
	o.symbols.set(o.number, facts.Symbol)
	return o.Object.Commit(ctx, rest, facts)
}
