package stream

import (
	"spillway/stream/budget"
	"spillway/stream/inflate"
)

const (
	// floorSize is the memory of each upload from admission to its end, in bytes: the
	// window, the buffers of the form, a verifier, and the beginning of the entry table.
	floorSize = 1 << 20

	// formSize is for the buffers of what the archive is read from, in bytes.
	formSize = 96 << 10

	// verifierSize is the memory of a verifier, in bytes: its inflater, the buffers of
	// other decoders, and a file's head.
	verifierSize = inflate.Memory + 2*readSize + packedSize + symbolHead

	// typicalName is the length of an entry's name that the ticket is made for, in
	// bytes. An upload with longer ones has room for fewer entries.
	typicalName = 80
)

// Needs is the memory that an upload of at most that many entries needs.
func Needs(entries int) budget.Needs {
	table := int64(floorSize - windowSize - formSize - verifierSize)
	return budget.Needs{
		Floor:    floorSize,
		Table:    table,
		Ticket:   max(0, int64(entries)*(EntryMemory+typicalName)-table) + max(zstdTool.Memory, bzip2Tool.Memory) + deflaterTool.Memory,
		Verifier: verifierSize,
	}
}
