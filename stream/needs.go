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
	verifierSize = inflate.Memory + 2*readSize + inputSize + symbolHead

	// longestName is the length of the longest name that a store takes, in bytes (S3 User
	// Guide, "Naming Amazon S3 objects").
	longestName = 1024
)

// Needs is the memory that an upload of at most that many entries needs, whatever their
// names are.
func Needs(entries int) budget.Needs {
	table := int64(floorSize - windowSize - formSize - verifierSize)
	return budget.Needs{
		Floor:    floorSize,
		Table:    table,
		Ticket:   max(0, int64(entries)*(EntryMemory+longestName)-table) + max(zstdTool.Memory, bzip2Tool.Memory) + deflaterTool.Memory,
		Verifier: verifierSize,
	}
}
