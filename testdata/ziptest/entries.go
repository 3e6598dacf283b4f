package ziptest

import (
	"encoding/binary"

	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
)

const (
	blockBytes = 65535   // of content in a stored block of deflate (RFC 1951, section 3.2.4)
	blockFrame = 1 + 2*2 // bytes around it
)

// StoredBlocks returns a deflate stream of n bytes, all in stored blocks, and its content.
func StoredBlocks(n int) (content, raw []byte) {
	blocks := max(1, (n+blockFrame+blockBytes-1)/(blockFrame+blockBytes))
	content = archive.Noise(7, n-blocks*blockFrame)
	left := content
	for i := range blocks {
		size := min(len(left), blockBytes)
		final := byte(0)
		if i == blocks-1 {
			final = 1
		}
		raw = append(raw, final)
		raw = binary.LittleEndian.AppendUint16(raw, uint16(size))
		raw = binary.LittleEndian.AppendUint16(raw, ^uint16(size))
		raw = append(raw, left[:size]...)
		left = left[size:]
	}
	return content, raw
}

// BigEntries returns entries of two parts and a rest, one for each way in which parts are
// filled.
func BigEntries() []archive.Entry {
	content, raw := StoredBlocks(2*budgettest.Part + budgettest.Part/2)
	return []archive.Entry{
		{Name: "framed.sym", Data: content, Raw: raw, Method: archive.Deflate},
		{Name: "compressed.sym", Data: content},
		{Name: "stored.dll", Data: content},
		{Name: "inflated.dll", Data: content, Raw: raw, Method: archive.Deflate},
		{Name: "descriptor.sym", Data: content, Raw: raw, Method: archive.Deflate, Descriptor: archive.Signed32},
	}
}
