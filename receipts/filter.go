package receipts

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
)

// A filter is a Bloom filter: a set of terms that may seem to have terms that were never
// added, about one in a thousand, and never misses one that was.
//
// A receipt's terms are the user, the IDs of its keys, and the debug IDs and code IDs of
// its symbol files.
type filter []byte // of digits, each with 6 bits

const (
	// digitBits is the number of bits in a digit.
	digitBits = 6

	// hashes is how many bits a term sets. With bitsPerTerm bits for each term, a filter
	// has one wrong term in a thousand.
	hashes      = 10
	bitsPerTerm = 14.4
)

// digits are those of URL-safe base64.
const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// filterLength returns how many digits a filter of that many terms has.
func filterLength(terms int) int { return max(8, int(float64(terms)*bitsPerTerm)/digitBits+1) }

// newFilter returns an empty filter of that many digits.
func newFilter(length int) filter { return filter(strings.Repeat(digits[:1], length)) }

// bits calls f with the bits of a term, until f returns false.
func (f filter) bits(term string, visit func(digit, bit int) bool) {
	sum := sha256.Sum256([]byte(term))
	at, step := binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])|1
	size := uint64(len(f)) * digitBits
	for range hashes {
		n := int(at % size)
		if !visit(n/digitBits, n%digitBits) {
			return
		}
		at += step
	}
}

// add adds a term.
func (f filter) add(term string) {
	f.bits(term, func(digit, bit int) bool {
		f[digit] = digits[strings.IndexByte(digits, f[digit])|1<<bit]
		return true
	})
}

// mayHave reports whether the filter has a term, or seems to. A text that is no filter
// seems to have every term.
func (f filter) mayHave(term string) bool {
	may := true
	f.bits(term, func(digit, bit int) bool {
		value := strings.IndexByte(digits, f[digit])
		may = value < 0 || value>>bit&1 == 1
		return may
	})
	return may
}

// Terms, by what is looked up.
func userTerm(email string) string { return "user " + strings.ToLower(email) }
func idTerm(id string) string      { return "id " + strings.ToUpper(id) }

// terms calls visit with the terms of a receipt. Files of one module follow each other in
// most archives: their common terms come once.
func terms(user string, files Files, visit func(term string)) {
	visit(userTerm(user))
	var last [3]string
	for i := range files.Len() {
		f, ok := files.At(i)
		if !ok {
			continue
		}
		ids := [3]string{id(f.Key), value(f.DebugID), value(f.CodeID)}
		for n, id := range ids {
			if id != "" && !slices.Contains(ids[:n], id) && !slices.Contains(last[:], id) {
				visit(idTerm(id))
			}
		}
		last = ids
	}
}

// value returns what p points to; empty if that is nothing.
func value(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
