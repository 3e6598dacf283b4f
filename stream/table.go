package stream

import "strings"

// blockRecords is how many records a block of a table has. Together with the allocator's
// header of blocks with pointers, they fit into a power of two.
const blockRecords = 127

// A Table is a growing list of records that never move.
type Table[T any] struct {
	blocks [][]T // of blockRecords each
	length int
}

// Add appends r.
func (t *Table[T]) Add(r T) *T {
	if t.length == len(t.blocks)*blockRecords {
		t.blocks = append(t.blocks, make([]T, blockRecords))
	}
	t.length++
	last := t.At(t.length - 1)
	*last = r
	return last
}

// At returns the record with index i.
func (t *Table[T]) At(i int) *T { return &t.blocks[i/blockRecords][i%blockRecords] }

// Len returns the number of records.
func (t *Table[T]) Len() int { return t.length }

// nameBlock is the size of a block of names, in bytes. No name is longer.
const nameBlock = 16 << 10

// names keeps names in blocks, so that a name takes no more memory than its bytes.
type names struct {
	blocks []string // their contents
	last   strings.Builder
}

// add keeps a copy of name, which has at most nameBlock bytes, and returns its position.
func (n *names) add(name string) (at uint32) {
	if len(n.blocks) == 0 || n.last.Len()+len(name) > nameBlock {
		n.last = strings.Builder{}
		n.last.Grow(nameBlock)
		n.blocks = append(n.blocks, "")
	}
	i, offset := len(n.blocks)-1, n.last.Len()
	n.last.WriteString(name) // never moves the bytes before
	n.blocks[i] = n.last.String()
	return uint32(i*nameBlock + offset)
}

// at returns the name of that length at that position.
func (n *names) at(at uint32, length uint16) string {
	return n.blocks[at/nameBlock][at%nameBlock:][:length]
}

// CopyNames copies names into a block of their own. The names of entries share blocks, so
// one name keeps many others in memory.
func CopyNames(shared []string) []string {
	size := 0
	for _, name := range shared {
		size += len(name)
	}
	var block strings.Builder
	block.Grow(size)
	for _, name := range shared {
		block.WriteString(name)
	}
	rest := block.String()
	copies := make([]string, len(shared))
	for i, name := range shared {
		copies[i], rest = rest[:len(name)], rest[len(name):]
	}
	return copies
}
