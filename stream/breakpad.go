package stream

import (
	"bytes"
	"strings"
)

// symbolHead is how many bytes at the start of a symbol file are parsed.
const symbolHead = 4 << 10

// Symbol is what the first records of a breakpad symbol file state (breakpad, "Symbol
// File Format": MODULE and INFO). Missing fields are empty.
type Symbol struct {
	OS, Arch, DebugID, DebugFile string // MODULE
	CodeID, CodeFile             string // INFO CODE_ID
	Generator                    string // INFO GENERATOR
}

// parseSymbol parses the MODULE record at the start of a symbol file and the INFO
// records after it. A last line without a newline counts only if head is the complete
// file.
func parseSymbol(head []byte, complete bool) (s Symbol) {
	for first := true; len(head) > 0; first = false {
		line, rest, ended := bytes.Cut(head, []byte("\n"))
		if !ended && !complete {
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
