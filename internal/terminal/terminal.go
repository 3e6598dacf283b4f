// Package terminal writes text for people who read it in a terminal.
package terminal

import (
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Escape returns s with everything escaped that could act on a terminal:
// control characters, those that change the direction of text, and bytes that are
// not UTF-8.
func Escape(s string) string {
	var out strings.Builder
	for s != "" {
		r, n := utf8.DecodeRuneInString(s)
		if strconv.IsPrint(r) && (r != utf8.RuneError || n > 1) {
			out.WriteString(s[:n])
		} else {
			escape := strconv.Quote(s[:n])
			out.WriteString(escape[1 : len(escape)-1])
		}
		s = s[n:]
	}
	return out.String()
}

// lineTimeout is how long a line may take. Standard error may be a pipe that nobody
// reads, which must not keep the process from ending.
const lineTimeout = time.Second

// WriteLine writes text to stderr as one line that is harmless in a terminal. It
// gives up after a second.
func WriteLine(stderr io.Writer, text string) {
	line := Escape(strings.Join(strings.Fields(text), " ")) + "\n"
	written := make(chan struct{})
	go func() {
		defer close(written)
		// There is nobody to tell that it failed.
		_, _ = io.WriteString(stderr, line)
	}()
	select {
	case <-written:
	case <-time.After(lineTimeout):
	}
}
