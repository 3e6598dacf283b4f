// Package receipts writes down what each stored upload brought, and finds it again.
//
// A receipt is one JSON object in the bucket of its upload. docs/receipts.md and
// docs/receipt.schema.json describe it. Its key begins with the date, and has an index
// of what the upload is looked up by: a list of keys tells which receipts need not be
// read.
package receipts

import (
	"strings"
	"time"
)

// Schema is the version of the format. It grows when a field changes its meaning or
// goes away; new fields do not change it.
const Schema = 1

// A Head is what a receipt says of the upload. Pointers are nil where there is
// nothing to say.
type Head struct {
	Schema int `json:"schema"`

	ID        int64   `json:"id"` // as in the answer and the log
	RequestID *string `json:"request_id"`

	User          string  `json:"user"` // email address
	UserID        int     `json:"user_id"`
	Token         string  `json:"token"`          // first digits of the token's SHA-256
	ClientAddress *string `json:"client_address"` // IP address
	UserAgent     *string `json:"user_agent"`

	ReceivedAt  Time `json:"received_at"`  // when the request came
	CompletedAt Time `json:"completed_at"` // when all files were stored

	Filename     string   `json:"filename"`      // of the archive
	Size         int64    `json:"size"`          // of the archive, in bytes
	DownloadURL  *string  `json:"download_url"`  // without its query
	RedirectURLs []string `json:"redirect_urls"` // without their queries

	TrySymbols bool   `json:"try_symbols"`
	Bucket     string `json:"bucket"`
	Prefix     string `json:"prefix"` // of the files' keys in the bucket

	// How many files there are in each state.
	Stored  int `json:"stored"`
	Skipped int `json:"skipped"`
	Ignored int `json:"ignored"`
}

// State is what became of a file.
type State string

const (
	Stored  State = "stored"  // written to the bucket
	Skipped State = "skipped" // there already
	Ignored State = "ignored" // not stored by rule
)

// A File is what a receipt says of a file of the archive.
type File struct {
	Key        string  `json:"key"` // without the prefix
	State      State   `json:"state"`
	Replaced   bool    `json:"replaced"`    // another object had the key
	Unread     bool    `json:"unread"`      // skipped without being read: size and crc32 are what the archive states
	Size       int64   `json:"size"`        // uncompressed, in bytes
	Gzip       bool    `json:"gzip"`        // stored as gzip
	StoredSize *int64  `json:"stored_size"` // of the object, in bytes; nil: not stored
	CRC32      string  `json:"crc32"`       // 8 hexadecimal digits
	MD5        *string `json:"md5"`         // 32 hexadecimal digits; nil: not computed

	// What a symbol file states of itself; nil: nothing, or it is no symbol file.
	DebugFile *string `json:"debug_file"`
	DebugID   *string `json:"debug_id"` // in upper case
	CodeFile  *string `json:"code_file"`
	CodeID    *string `json:"code_id"` // in upper case
	Generator *string `json:"generator"`
}

// Files are the files of a receipt. They do not change.
type Files interface {
	// Len is a number that no file's number reaches.
	Len() int

	// At returns the file with that number. It reports false if there is none.
	At(number int) (File, bool)
}

// Time is a time in JSON: in UTC, with microseconds.
type Time struct{ time.Time }

const timeFormat = "2006-01-02T15:04:05.000000Z"

// MarshalJSON implements [json.Marshaler].
func (t Time) MarshalJSON() ([]byte, error) {
	return t.UTC().AppendFormat(nil, `"`+timeFormat+`"`), nil
}

// id returns the second component of a symbol key, which is the debug ID or the code ID of
// its module, in upper case. The ID of any other key is the key itself.
func id(key string) string {
	_, rest, _ := strings.Cut(key, "/")
	if id, file, ok := strings.Cut(rest, "/"); ok && !strings.Contains(file, "/") {
		return strings.ToUpper(id)
	}
	return key
}
