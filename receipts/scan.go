package receipts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// field is a field of a JSON object. Fields that this version does not know stay as they
// are.
type field struct {
	name  string
	value json.RawMessage
}

// scan prints a receipt. It reports false if q does not select it, or no file in it. The
// error is a [*MalformedError], or that of the bucket or of p.
func scan(text io.Reader, q *Query, p printer) (printed bool, err error) {
	in := json.NewDecoder(text)
	head, err := readHead(in)
	if err != nil {
		return false, malformed(err)
	}
	about, err := parseHead(head)
	switch {
	case err != nil:
		return false, malformed(err)
	case q.User != "" && !strings.EqualFold(about.User, q.User):
		return false, nil
	case !q.ofFiles():
		printed = true
		err = p.begin(head, about)
	}
	for err == nil && in.More() {
		var raw json.RawMessage
		var f File
		if err = in.Decode(&raw); err == nil {
			err = json.Unmarshal(raw, &f)
		}
		if err != nil {
			return printed, malformed(err)
		}
		if !q.selects(&f) {
			continue
		}
		if !printed {
			printed = true
			err = p.begin(head, about)
		}
		if err == nil {
			err = p.file(raw, &f)
		}
	}
	if err != nil {
		return printed, err
	}
	for _, end := range []json.Delim{']', '}'} {
		if err := expect(in, end); err != nil {
			return printed, malformed(err)
		}
	}
	if printed {
		err = p.end()
	}
	return printed, err
}

// malformed returns the error of reading a receipt: that of the bucket, or a
// [*MalformedError].
func malformed(err error) error {
	if failed, ok := errors.AsType[*readError](err); ok {
		return failed.err
	}
	return &MalformedError{Err: err}
}

// selects reports whether q selects a file of a receipt. The ID in a key counts, too.
func (q *Query) selects(f *File) bool {
	has := func(id, of, inKey string) bool {
		return id == "" || strings.EqualFold(id, of) || strings.EqualFold(id, inKey)
	}
	inKey := id(f.Key)
	return (q.Key == "" || f.Key == q.Key) && has(q.CodeID, value(f.CodeID), inKey) && has(q.DebugID, value(f.DebugID), inKey)
}

var errNoFiles = errors.New("it is a JSON object without files")

// readHead reads the fields of a receipt up to its files, which are the last.
func readHead(in *json.Decoder) (head []field, err error) {
	if err := expect(in, json.Delim('{')); err != nil {
		return nil, err
	}
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return nil, err
		}
		if key == "files" {
			return head, expect(in, json.Delim('['))
		}
		f := field{name: fmt.Sprint(key)}
		if err := in.Decode(&f.value); err != nil {
			return nil, err
		}
		head = append(head, f)
	}
	return nil, errNoFiles
}

// expect reads a delimiter.
func expect(in *json.Decoder, want json.Delim) error {
	got, err := in.Token()
	if err == nil && got != want {
		err = errNoFiles
	}
	return err
}

// parseHead returns the fields of a receipt's head that this version knows.
func parseHead(head []field) (h *Head, err error) {
	if err := json.Unmarshal(append(joinFields(head), '}'), &h); err != nil {
		return h, err
	}
	if h.Schema != Schema {
		return h, fmt.Errorf("it has version %d of the schema, and this program knows version %d: use a newer one", h.Schema, Schema)
	}
	return h, nil
}

// joinFields returns a JSON object of fields, without its end.
func joinFields(fields []field) []byte {
	text := []byte{'{'}
	for i, f := range fields {
		if i > 0 {
			text = append(text, ',')
		}
		name, _ := json.Marshal(f.name) // a string can always be marshaled
		text = append(append(append(text, name...), ':'), f.value...)
	}
	return text
}
