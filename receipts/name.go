package receipts

import (
	"fmt"
	"strings"
	"time"
)

// The name of a receipt is its key without --receipts-prefix:
//
//	2026/11/26/190301-0228342184-5e1fa3c0/i1-Qw3…/…8A.json
//	YYYY MM DD HHMMSS ID         random   index
//
// The time is that of completion, in UTC. Two instances may have the same ID at the same
// time, so there is a random number. The index is a [filter]. It is cut into pieces:
// servers that keep objects as files take up to 255 bytes between two slashes. Where the
// index of a receipt is too long for a key, it is an object beside the receipt:
//
//	2026/11/26/190301-0228342184-5e1fa3c0/index1
//	2026/11/26/190301-0228342184-5e1fa3c0/receipt.json
const (
	folderFormat = "2006/01/02/150405"
	indexMark    = "i1-" // with the version of the filter
	extension    = ".json"
	besideIndex  = "index1"
	besideName   = "receipt" + extension

	// longestKey is the length of the longest key, in bytes (S3 User Guide, "Naming Amazon
	// S3 objects").
	longestKey = 1024

	// pieceLength is the length of a piece of the index.
	pieceLength = 200

	// longestIndex bounds the index of an upload of more files than any default allows. A
	// larger upload would only have more wrong terms.
	longestIndex = 256 << 10
)

// name is a receipt's name, taken apart.
type name struct {
	text string
	at   time.Time // of completion, to the second

	index  filter // nil: it is not in the name
	beside bool   // the index is an object beside the receipt
}

// folder returns the part of a receipt's name before its index.
func folder(at time.Time, id int64, random uint32) string {
	return fmt.Sprintf("%s-%010d-%08x/", at.UTC().Format(folderFormat), id, random)
}

// indexInName returns the rest of the name of a receipt whose index is in its name.
func indexInName(index filter) string {
	var pieces []string
	for rest := string(index); rest != ""; {
		n := min(len(rest), pieceLength)
		pieces, rest = append(pieces, rest[:n]), rest[n:]
	}
	return indexMark + strings.Join(pieces, "/") + extension
}

// longestIndexInName returns how many digits there is room for in a name, under a prefix of
// that length.
func longestIndexInName(prefix int) int {
	room := longestKey - prefix - len(folder(time.Time{}, 0, 0)) - len(indexMark) - len(extension)
	return room - room/pieceLength // slashes
}

// parseName takes the name of an object apart. It reports false if the object is no
// receipt. A receipt whose index has another version has none for us.
func parseName(text string) (n name, ok bool) {
	rest, ok := strings.CutSuffix(text, extension)
	if !ok || len(rest) <= len(folderFormat) {
		return name{}, false
	}
	at, err := time.Parse(folderFormat, rest[:len(folderFormat)])
	numbers, index, found := strings.Cut(rest[len(folderFormat):], "/")
	if err != nil || !found || !strings.HasPrefix(numbers, "-") {
		return name{}, false
	}
	n = name{text: text, at: at, beside: index+extension == besideName}
	if index, found := strings.CutPrefix(index, indexMark); found {
		n.index = filter(strings.ReplaceAll(index, "/", ""))
	}
	return n, true
}

// besideIndex returns the name of the index beside the receipt.
func (n name) besideIndex() string { return strings.TrimSuffix(n.text, besideName) + besideIndex }
