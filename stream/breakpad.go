package stream

import (
	"bytes"
	"strings"
)

// symbolHead is how many bytes at the start of a symbol file are looked at.
const symbolHead = 4 << 10

// Symbol is what the first lines of a breakpad symbol file say of it (breakpad,
// "Symbol File Format": MODULE and INFO records). Fields that it does not state
// are empty.
type Symbol struct {
	OS, Arch, DebugID, DebugFile string // MODULE
	CodeID, CodeFile             string // INFO CODE_ID
	Generator                    string // INFO GENERATOR
}

// parseSymbol reads the MODULE record that a symbol file starts with and the
// INFO records behind it. A last line without its end counts only if whole says
// that head is the whole file.
func parseSymbol(head []byte, whole bool) (s Symbol) {
	for first := true; len(head) > 0; first = false {
		line, rest, ended := bytes.Cut(head, []byte("\n"))
		if !ended && !whole {
			return s
		}
		head = rest
		kind, text, _ := strings.Cut(strings.TrimSuffix(string(line), "\r"), " ")
		switch {
		case first && kind == "MODULE":
			f := append(strings.SplitN(text, " ", 4), "", "", "")
			s.OS, s.Arch, s.DebugID, s.DebugFile = f[0], f[1], f[2], f[3]
		case !first && kind == "INFO":
			switch what, value, _ := strings.Cut(text, " "); what {
			case "CODE_ID":
				s.CodeID, s.CodeFile, _ = strings.Cut(value, " ")
			case "GENERATOR":
				s.Generator = value
			}
		default:
			return s
		}
	}
	return s
}
