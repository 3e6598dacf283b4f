package archive

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
)

// Symbols returns size bytes of breakpad symbol text: MODULE, INFO, FILE, FUNC
// with line records, PUBLIC and STACK CFI, in that order. Megabytes of it compress like
// the symbols of a browser, 4.4 to 4.6 times at zlib's level 6. The same seed
// and size make the same bytes. The last line may be cut off.
func Symbols(seed uint64, size int) []byte {
	text := make([]byte, size)
	if _, err := io.ReadFull(SymbolsReader(seed, int64(size)), text); err != nil {
		panic(err) // the reader yields exactly size bytes
	}
	return text
}

// SymbolsReader yields what [Symbols] returns, in constant memory.
func SymbolsReader(seed uint64, size int64) io.Reader {
	return io.LimitReader(&symbolWriter{
		rand:  rand.New(rand.NewPCG(seed, 'S')),
		seed:  seed,
		size:  size,
		files: int(min(2+size/4096, 3000)),
	}, size)
}

// SymbolsName is the name of the archive entry that holds the text that
// [Symbols] makes of seed: module, debug identifier and file.
func SymbolsName(seed uint64) string {
	return fmt.Sprintf("%s/%s/%s.sym", moduleName(seed), debugID(seed), moduleName(seed))
}

func moduleName(seed uint64) string {
	return fmt.Sprintf("lib%s%d.so", words[seed%uint64(len(words))], seed)
}

func debugID(seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 'D'))
	return fmt.Sprintf("%016X%016X0", r.Uint64(), r.Uint64())
}

// Noise returns size bytes that do not compress.
func Noise(seed uint64, size int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	noise := make([]byte, size)
	if _, err := rand.NewChaCha8(key).Read(noise); err != nil {
		panic(err) // it never fails
	}
	return noise
}

var words = []string{
	"async", "atom", "binding", "browser", "cache", "canvas", "channel", "clip", "codec", "compositor",
	"content", "context", "cookie", "cursor", "decoder", "document", "element", "encoder", "event", "filter",
	"font", "frame", "glyph", "handle", "history", "image", "index", "input", "layer", "layout",
	"listener", "loader", "manager", "media", "memory", "message", "module", "network", "node", "object",
	"observer", "origin", "painter", "parser", "plugin", "policy", "process", "profile", "promise", "proxy",
	"queue", "range", "request", "script", "selector", "service", "session", "shader", "socket", "storage",
	"stream", "string", "style", "surface", "table", "target", "thread", "timer", "token", "tracker",
	"transport", "tree", "value", "vector", "video", "view", "widget", "window", "worker", "xpcom",
}

// symbolWriter makes symbol text chunk by chunk.
type symbolWriter struct {
	rand  *rand.Rand
	seed  uint64
	size  int64
	files int // how many FILE lines there are

	made    int64  // bytes made so far
	buffer  []byte // the last chunk
	chunk   []byte // its unread bytes
	address uint64
	started bool
	class   []byte // of the next function names
	file    int    // of the next functions
	named   int    // FILE lines written
}

// Read implements io.Reader. It never fails and never ends.
func (w *symbolWriter) Read(p []byte) (int, error) {
	for len(w.chunk) == 0 {
		w.buffer = w.next(w.buffer[:0])
		w.chunk = w.buffer
		w.made += int64(len(w.chunk))
	}
	n := copy(p, w.chunk)
	w.chunk = w.chunk[n:]
	return n, nil
}

// next appends some lines of the current section. Functions take 70 % of the text, public
// symbols 5 %, and call frame information the rest.
func (w *symbolWriter) next(b []byte) []byte {
	switch {
	case !w.started:
		w.started = true
		b = fmt.Appendf(b, "MODULE Linux x86_64 %s %s\n", debugID(w.seed), moduleName(w.seed))
		b = fmt.Appendf(b, "INFO CODE_ID %016X%016X%08X\n", w.rand.Uint64(), w.rand.Uint64(), w.rand.Uint32())
		return append(b, "INFO GENERATOR mozilla/dump_syms 2.3.7\n"...)
	case w.named < w.files:
		b = fmt.Appendf(b, "FILE %d git:github.com/mozilla-firefox/firefox:%s/%s/%s%s.cpp:07e27bfce5acf193bdb89c7ba2aa73451a3e43b4\n",
			w.named, w.word(), w.word(), w.title(), w.title())
		w.named++
		return b
	case w.made < w.size*70/100:
		return w.function(b)
	case w.made < w.size*75/100:
		w.address += 16
		b = append(b, "PUBLIC "...)
		b = strconv.AppendUint(b, w.address, 16)
		b = append(b, " 0 "...)
		b = w.name(b)
		return append(b, '\n')
	default:
		return w.frames(b)
	}
}

func (w *symbolWriter) word() string { return words[w.rand.IntN(len(words))] }

func (w *symbolWriter) title() string {
	word := w.word()
	return string(word[0]-'a'+'A') + word[1:]
}

// name appends the demangled name of a C++ function.
func (w *symbolWriter) name(b []byte) []byte {
	if w.class == nil || w.rand.IntN(8) == 0 {
		w.class = fmt.Appendf(w.class[:0], "mozilla::%s::%s%s::", w.word(), w.title(), w.title())
	}
	b = append(b, w.class...)
	b = append(b, w.title()...)
	b = append(b, w.title()...)
	return append(b, "(nsTArray<RefPtr<Element>> const&, unsigned int)"...)
}

// function appends a FUNC record with its line records.
func (w *symbolWriter) function(b []byte) []byte {
	lines := 1 + w.rand.IntN(32)
	if w.rand.IntN(8) == 0 {
		w.file = w.rand.IntN(w.files)
	}
	file := w.file
	line := 1 + w.rand.IntN(1500)
	start := (w.address + 15) &^ 15
	w.address = start

	records := make([]byte, 0, 1024)
	for range lines {
		size := uint64(1 + min(w.rand.IntN(20), w.rand.IntN(20)))
		switch w.rand.IntN(12) {
		case 0: // inlined from elsewhere
			records = w.line(records, size, 1+w.rand.IntN(1500), w.rand.IntN(w.files))
		default:
			line = max(1, line+w.rand.IntN(5)-1)
			records = w.line(records, size, line, file)
		}
	}
	b = append(b, "FUNC "...)
	b = strconv.AppendUint(b, start, 16)
	b = append(b, ' ')
	b = strconv.AppendUint(b, w.address-start, 16)
	b = append(b, " 0 "...)
	b = w.name(b)
	b = append(b, '\n')
	return append(b, records...)
}

// line appends one line record and moves the address past it.
func (w *symbolWriter) line(b []byte, size uint64, line, file int) []byte {
	b = strconv.AppendUint(b, w.address, 16)
	b = append(b, ' ')
	b = strconv.AppendUint(b, size, 16)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(line), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(file), 10)
	w.address += size
	return append(b, '\n')
}

// frames appends the call frame information of one function.
func (w *symbolWriter) frames(b []byte) []byte {
	size := uint64(16 + w.rand.IntN(600))
	b = append(b, "STACK CFI INIT "...)
	b = strconv.AppendUint(b, w.address, 16)
	b = append(b, ' ')
	b = strconv.AppendUint(b, size, 16)
	b = append(b, " .cfa: $rsp 8 + .ra: .cfa -8 + ^\n"...)
	at := w.address
	for i := range w.rand.IntN(6) {
		at += uint64(1 + w.rand.IntN(4))
		b = append(b, "STACK CFI "...)
		b = strconv.AppendUint(b, at, 16)
		b = append(b, " .cfa: $rsp "...)
		b = strconv.AppendInt(b, int64(16+8*i), 10)
		b = append(b, " +\n"...)
	}
	w.address += size
	return b
}
