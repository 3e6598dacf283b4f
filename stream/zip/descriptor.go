package zip

import (
	"fmt"

	"spillway/stream"
)

// descriptorLayout is a layout of a data descriptor (APPNOTE 4.3.9).
type descriptorLayout struct {
	signed bool
	wide   bool // 64-bit sizes, which nothing in the local header may announce
}

var descriptorLayouts = []descriptorLayout{{true, false}, {true, true}, {false, false}, {false, true}}

// maxDescriptor is the length of the longest descriptor and of the next signature.
const maxDescriptor = 24 + 4

// descriptor is a data descriptor.
type descriptor struct {
	crc                  uint32
	compressedSize, size uint64
}

// parse parses a descriptor of this layout at the start of b. n is its length.
func (l descriptorLayout) parse(b []byte) (d descriptor, n int, ok bool) {
	if l.signed {
		if len(b) < 4 || le.Uint32(b) != sigDescriptor {
			return d, 0, false
		}
		n = 4
	}
	need := 12
	if l.wide {
		need = 20
	}
	if len(b) < n+need {
		return d, 0, false
	}
	d.crc = le.Uint32(b[n:])
	if l.wide {
		d.compressedSize, d.size = le.Uint64(b[n+4:]), le.Uint64(b[n+12:])
	} else {
		d.compressedSize, d.size = uint64(le.Uint32(b[n+4:])), uint64(le.Uint32(b[n+8:]))
	}
	return d, n + need, true
}

// headerFollows reports whether b starts with a header or record that may follow an
// entry.
func headerFollows(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	switch le.Uint32(b) {
	case sigLocal, sigCentral, sigEnd64, sigEnd:
		return true
	}
	return false
}

// findDescriptor finds the descriptor at the start of b that states e's sizes and CRC-32,
// and returns its length. Only one layout may fit.
func (e *entry) findDescriptor(b []byte) (length int, err error) {
	fits, wrongCRC := 0, false
	for _, l := range descriptorLayouts {
		d, n, ok := l.parse(b)
		if !ok || !headerFollows(b[n:]) || d.compressedSize != uint64(e.CompressedSize) || d.size != uint64(e.Size) {
			continue
		}
		if d.crc != e.CRC32 {
			wrongCRC = true
			continue
		}
		fits++
		length = n
	}
	switch {
	case fits == 1:
		return length, nil
	case fits == 0 && wrongCRC:
		return 0, &stream.ChecksumError{Entry: e.Name}
	case fits == 0:
		return 0, e.bad(noDescriptor)
	}
	return 0, e.bad("its data descriptor is ambiguous")
}

// statesSizes reports whether e, a local header, states both sizes that were counted,
// although a descriptor is announced. Programs that update an archive in place (rubyzip,
// Mono, .NET Framework) set them and drop the descriptor.
func (e *entry) statesSizes(counted *entry) bool {
	return e.CompressedSize != 0 && e.CompressedSize == counted.CompressedSize && e.Size == counted.Size
}

// checkNoDescriptor refuses an entry that a header or record follows at once, in b, unless
// its local header states its CRC-32, and no reader can find a descriptor there.
func (e *entry) checkNoDescriptor(local *entry, b []byte) error {
	switch {
	case e.matchesDescriptor(b):
		return e.bad("what follows it is a data descriptor and the next header at once")
	case local.CRC32 == e.CRC32:
		return nil
	case local.CRC32 == 0:
		return e.bad(noDescriptor)
	}
	return &stream.ChecksumError{Entry: e.Name}
}

// checkHints refuses an entry whose local header states other values than were counted,
// although a descriptor is announced and its values count: readers of a pipe go by
// the local header. Each value must be 0 or true. Info-ZIP is the exception: to a pipe
// it states nothing but the size that the file had when it opened it, and the file may
// have changed since.
func (e *entry) checkHints(hint *entry) error {
	switch {
	case hint.CRC32 != 0 && hint.CRC32 != e.CRC32:
		return e.badHint("CRC-32", int64(hint.CRC32), int64(e.CRC32))
	case hint.CompressedSize != 0 && hint.CompressedSize != e.CompressedSize:
		return e.badHint("compressed size", hint.CompressedSize, e.CompressedSize)
	case hint.Size != 0 && hint.Size != e.Size && (hint.CRC32 != 0 || hint.CompressedSize != 0):
		return e.badHint("uncompressed size", hint.Size, e.Size)
	}
	return nil
}

func (e *entry) badHint(what string, stated, counted int64) error {
	return e.bad(fmt.Sprintf("its local header states the %s %d, but it is %d", what, stated, counted))
}

const noDescriptor = "no data descriptor that matches its bytes follows them"

// matchesDescriptor reports whether b starts with a descriptor that states e's sizes and
// CRC-32, whatever follows.
func (e *entry) matchesDescriptor(b []byte) bool {
	for _, l := range descriptorLayouts {
		if _, ok := e.matches(l, b); ok {
			return true
		}
	}
	return false
}

// matches reports whether b starts with a descriptor of that layout that states e's sizes
// and CRC-32, and how long it is.
func (e *entry) matches(l descriptorLayout, b []byte) (length int, ok bool) {
	d, length, ok := l.parse(b)
	return length, ok && d == descriptor{e.CRC32, uint64(e.CompressedSize), uint64(e.Size)}
}
