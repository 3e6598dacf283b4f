package zip

import (
	"errors"

	"spillway/stream"
)

// TailSize is how many bytes at its end tell most about an archive of which ranges can be read:
// the end record with the longest comment, and as many zeros after it as bsdtar writes. The
// directory of a few hundred entries fits as well.
const TailSize = 76 << 10

// The reader waits for the store until it knows of the first waitedFor files, and of the next
// minRange bytes, what of them is missing. After that, it reads what is known to be missing
// while the store is asked for the rest. Most archives have no more files.
const (
	waitedFor = 128
	minRange  = 8 << 20
)

// errReadForward says that an archive is not as writers make it: only reading it forward tells
// whether it is accepted.
var errReadForward = errors.New("zip: to be read forward")

// readRanges reads an archive of which any range can be read: first its end records and its
// central directory, then those of its entries that the store does not have.
//
// It accepts what reading forward would accept, as far as it reads. The directory must keep all
// rules, and its entries must fill the archive from its first byte, one after the other. Each
// entry is read as [reader.read] reads it, and must agree with its central directory header and
// end where the next one begins. Whatever is different is an error, and the caller reads the
// archive forward. So nothing is refused here but what a worker finds: bytes that are not what
// both headers state.
//
// What cannot be seen of entries that are not read: their local headers, data descriptors and
// bytes. Nothing is stored of them.
func (z *reader) readRanges() error {
	start, err := z.findDirectory()
	if err != nil {
		return err
	}
	if z.prefix != 0 {
		return errReadForward
	}
	z.in.SeekTo(start)
	z.in.Expect(z.in.End() - start)
	if err := z.directory(); err != nil {
		return err
	}
	r := &rangeReading{reader: z, numbers: z.byOffset(), directory: start}
	if err := r.checkPlaces(); err != nil {
		return err
	}
	r.lookUp()
	if err := r.read(); err != nil {
		return err
	}
	z.in.SeekTo(z.in.End())
	return nil
}

// rangeReading reads the entries of an archive that the store does not have.
type rangeReading struct {
	*reader
	numbers   []int32 // of the entries, by offset
	directory int64   // its offset, where the last entry ends

	lookups *stream.Lookups // of files; nil if there are none
	decides []int32         // for each of numbers, the lookup that decides whether it is read

	rowsOnly bool // an entry was met that cannot be read forward
}

// offset returns the offset of the i-th entry, or of what follows the last one.
func (r *rangeReading) offset(i int) int64 {
	if i == len(r.numbers) {
		return r.directory
	}
	return r.entries.At(int(r.numbers[i])).offset
}

func (r *rangeReading) entry(i int) entry { return r.kept(int(r.numbers[i])) }

// checkPlaces checks that the entries may lie one after the other, from the archive's first byte
// to its directory, and what each central directory header states.
func (r *rangeReading) checkPlaces() error {
	const mostExtra, mostDescriptor = max16, maxDescriptor - 4
	if len(r.numbers) == 0 || r.offset(0) != 0 {
		return errReadForward
	}
	size := int64(0)
	for i := range r.numbers {
		e := r.entry(i)
		if err := e.check(); err != nil {
			return err
		}
		if size += e.Size; size > r.rules.MaxUncompressed {
			return errReadForward
		}
		left := r.offset(i+1) - e.Offset - localLen - int64(len(e.Name)) - e.CompressedSize
		if left < 0 || left > mostExtra+mostDescriptor || e.method == methodStored && e.CompressedSize != e.Size {
			return errReadForward
		}
	}
	return nil
}

// lookUp begins to look the files up in the store. What is not stored, folders and ignored files,
// goes with the file after it, or else before it.
func (r *rangeReading) lookUp() {
	var files []int32
	r.decides = make([]int32, len(r.numbers))
	for i, number := range r.numbers {
		r.decides[i] = int32(len(files))
		if e := r.entry(i); !e.Directory && e.Form != stream.Ignore {
			files = append(files, number)
		}
	}
	if len(files) == 0 {
		return
	}
	for i := len(r.decides) - 1; int(r.decides[i]) == len(files); i-- {
		r.decides[i]--
	}
	r.lookups = r.p.LookUp(len(files), func(i int) stream.Header {
		e := r.kept(int(files[i]))
		return e.Header
	})
}

// found returns what the store knows of the i-th entry, or of the file that it goes with.
func (r *rangeReading) found(i int) (stream.Found, error) {
	if r.lookups == nil {
		return stream.Absent, nil
	}
	return r.lookups.Wait(int(r.decides[i]))
}

// worthWaiting reports whether the reader waits until the store knows the i-th entry, although
// there is enough to read until then.
func (r *rangeReading) worthWaiting(i int) bool {
	return r.lookups == nil || r.decides[i] < waitedFor || r.lookups.Known(int(r.decides[i]))
}

// read reads the entries that the store does not have, in as few ranges as is sensible.
func (r *rangeReading) read() error {
	for i := 0; i < len(r.numbers); {
		first, last, err := r.nextRange(i)
		if err != nil {
			return err
		}
		r.in.SeekTo(r.offset(first))
		r.in.Expect(r.offset(last) + 4 - r.offset(first)) // with the next signature
		for ; i < last; i++ {
			found, err := r.found(i)
			if err != nil {
				return err
			}
			e, end := r.entry(i), r.offset(i+1)
			if found == stream.Present {
				r.in.SeekTo(max(r.in.Offset(), end))
				err = r.p.Skip(&e.Header, end-e.Offset)
			} else {
				e.Found = found
				err = r.readEntry(&e, end)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// nextRange returns the entries from the i-th on that are read as one range, without last. If none
// is left to be read, both are the number of entries.
func (r *rangeReading) nextRange(i int) (first, last int, err error) {
	for first = i; ; first++ {
		if first == len(r.numbers) {
			return first, first, nil
		}
		if found, err := r.found(first); err != nil {
			return 0, 0, err
		} else if found != stream.Present {
			break
		}
	}
	last = first + 1
	for next := last; next < len(r.numbers) && r.offset(next)-r.offset(last) <= stream.RangeCost; next++ {
		if r.offset(last)-r.offset(first) >= minRange && !r.worthWaiting(next) {
			break
		}
		if found, err := r.found(next); err != nil {
			return 0, 0, err
		} else if found != stream.Present {
			last = next + 1
		}
	}
	return first, last, nil
}

// readEntry reads the entry whose central directory header is listed. It must end at end.
func (r *rangeReading) readEntry(listed *entry, end int64) error {
	local, n, err := r.headerOf(listed)
	if err != nil {
		return err
	}
	if !r.rowsOnly && local.sizeUnknown() {
		empty, err := r.isEmpty(&local, n)
		if err != nil {
			return err
		}
		r.rowsOnly = !empty
	}
	if r.rowsOnly {
		// Reading forward would go on by the rows from here, too.
		if err := r.spilledEntry(listed, end); err != nil {
			return err
		}
		return r.checkAfter(listed, r.directory)
	}
	local.Name, local.Number, local.Form, local.Found = listed.Name, listed.Number, listed.Form, listed.Found
	r.in.Discard(n)
	if err := r.content(&local); err != nil {
		return err
	}
	if err := local.compare(listed); err != nil {
		return err
	}
	next, err := r.in.PeekAll(4)
	if err != nil {
		return err
	}
	if r.in.Offset() != end || end < r.directory && le.Uint32(next) != sigLocal {
		return errReadForward
	}
	return nil
}
