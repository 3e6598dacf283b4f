package stream

import (
	"spillway/stream/budget"
	"spillway/stream/inflate"
)

const (
	// floorSize is the memory of each upload from admission to its end, in bytes: the
	// window, the buffers of the form, a verifier, and the first part of the entry table.
	floorSize = 1 << 20

	// formSize is for the buffers of the reader that the archive comes from, in bytes.
	formSize = 96 << 10

	// verifierSize is the memory of a verifier, in bytes: its inflater, the buffers of
	// other decoders, and the head of a file.
	verifierSize = inflate.Memory + 2*chunkSize + inputSize + symbolHead

	// longestName is the length of the longest name that a store takes, in bytes (S3 User
	// Guide, "Naming Amazon S3 objects").
	longestName = 1024
)

// Needs returns the memory that an upload of at most that many entries needs, however
// long their names are. symbols says that [Rules].Symbols is set.
func Needs(entries int, symbols bool) budget.Needs {
	table := int64(floorSize - windowSize - formSize - verifierSize)
	entry := int64(EntryMemory + longestName)
	if symbols {
		entry += resultMemory + longestSymbol
	}
	return budget.Needs{
		Floor:    floorSize,
		Table:    table,
		Ticket:   max(0, int64(entries)*entry-table) + max(zstdTool.Memory, bzip2Tool.Memory) + gzipTool.Memory,
		Verifier: verifierSize,
	}
}
