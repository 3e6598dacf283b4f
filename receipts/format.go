package receipts

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
	"strings"
)

// A printer prints receipts: for each, begin, file for each of its files, and end, or cut
// if the rest of it cannot be printed.
type printer interface {
	begin(head []field, parsed *Head) error
	file(raw json.RawMessage, parsed *File) error
	end() error
	cut() error
}

// jsonPrinter prints JSON lines. Fields that this version does not know stay as they are.
type jsonPrinter struct {
	w    io.Writer
	some bool // a file has been printed in the line
}

func (p *jsonPrinter) begin(head []field, _ *Head) error {
	text := append(joinFields(head), `,"files":[`...)
	p.some = false
	_, err := p.w.Write(text)
	return err
}

func (p *jsonPrinter) file(raw json.RawMessage, _ *File) error {
	if p.some {
		raw = append([]byte{','}, raw...)
	}
	p.some = true
	_, err := p.w.Write(raw)
	return err
}

func (p *jsonPrinter) end() error {
	_, err := io.WriteString(p.w, "]}\n")
	return err
}

func (p *jsonPrinter) cut() error {
	_, err := io.WriteString(p.w, "\n")
	return err
}

// column is a column of the table.
type column[T any] struct {
	name string
	cell func(*T) string
}

var uploadColumns = []column[Head]{
	{"id", func(h *Head) string { return strconv.FormatInt(h.ID, 10) }},
	{"request_id", func(h *Head) string { return value(h.RequestID) }},
	{"user", func(h *Head) string { return h.User }},
	{"user_id", func(h *Head) string { return strconv.Itoa(h.UserID) }},
	{"token", func(h *Head) string { return h.Token }},
	{"client_address", func(h *Head) string { return value(h.ClientAddress) }},
	{"user_agent", func(h *Head) string { return value(h.UserAgent) }},
	{"received_at", func(h *Head) string { return h.ReceivedAt.UTC().Format(timeFormat) }},
	{"completed_at", func(h *Head) string { return h.CompletedAt.UTC().Format(timeFormat) }},
	{"filename", func(h *Head) string { return h.Filename }},
	{"archive_size", func(h *Head) string { return strconv.FormatInt(h.Size, 10) }},
	{"download_url", func(h *Head) string { return value(h.DownloadURL) }},
	{"redirect_urls", func(h *Head) string { return strings.Join(h.RedirectURLs, " ") }},
	{"try_symbols", func(h *Head) string { return strconv.FormatBool(h.TrySymbols) }},
	{"bucket", func(h *Head) string { return h.Bucket }},
	{"prefix", func(h *Head) string { return h.Prefix }},
}

var fileColumns = []column[File]{
	{"key", func(f *File) string { return f.Key }},
	{"state", func(f *File) string { return string(f.State) }},
	{"replaced", func(f *File) string { return strconv.FormatBool(f.Replaced) }},
	{"unread", func(f *File) string { return strconv.FormatBool(f.Unread) }},
	{"size", func(f *File) string { return strconv.FormatInt(f.Size, 10) }},
	{"gzip", func(f *File) string { return strconv.FormatBool(f.Gzip) }},
	{"stored_size", func(f *File) string {
		if f.StoredSize == nil {
			return ""
		}
		return strconv.FormatInt(*f.StoredSize, 10)
	}},
	{"crc32", func(f *File) string { return f.CRC32 }},
	{"md5", func(f *File) string { return value(f.MD5) }},
	{"debug_file", func(f *File) string { return value(f.DebugFile) }},
	{"debug_id", func(f *File) string { return value(f.DebugID) }},
	{"code_file", func(f *File) string { return value(f.CodeFile) }},
	{"code_id", func(f *File) string { return value(f.CodeID) }},
	{"generator", func(f *File) string { return value(f.Generator) }},
}

// cells appends the cells of v to row.
func cells[T any](row []string, columns []column[T], v *T) []string {
	for _, c := range columns {
		row = append(row, c.cell(v))
	}
	return row
}

// csvPrinter prints a table (RFC 4180).
type csvPrinter struct {
	w   *csv.Writer
	row []string // begins with the cells of the upload
}

// newCSVPrinter returns a csvPrinter that has printed the names of the columns.
func newCSVPrinter(w io.Writer) (*csvPrinter, error) {
	p := &csvPrinter{w: csv.NewWriter(w)}
	var names []string
	for _, c := range uploadColumns {
		names = append(names, c.name)
	}
	for _, c := range fileColumns {
		names = append(names, c.name)
	}
	return p, p.write(names)
}

// write writes a row to the writer below.
func (p *csvPrinter) write(row []string) error {
	if err := p.w.Write(row); err != nil {
		return err
	}
	p.w.Flush()
	return p.w.Error()
}

func (p *csvPrinter) begin(_ []field, parsed *Head) error {
	p.row = cells(p.row[:0], uploadColumns, parsed)
	return nil
}

func (p *csvPrinter) file(_ json.RawMessage, parsed *File) error {
	return p.write(cells(p.row[:len(uploadColumns)], fileColumns, parsed))
}

func (p *csvPrinter) end() error { return nil }
func (p *csvPrinter) cut() error { return nil } // lines are whole
