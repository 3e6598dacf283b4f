// Package terminal makes text safe to print in a terminal.
package terminal

import (
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Escape escapes everything in s that a terminal could act on: control characters,
// characters that change the direction of text, and invalid UTF-8.
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

// lineTimeout bounds the write of a line. Standard error may be a pipe that nobody
// reads; the process must exit all the same.
const lineTimeout = time.Second

// WriteLine writes text to stderr as one line that is safe to print in a terminal. It
// gives up after a second.
func WriteLine(stderr io.Writer, text string) {
	line := Escape(strings.Join(strings.Fields(text), " ")) + "\n"
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = io.WriteString(stderr, line) // an error has nowhere to go
	}()
	select {
	case <-written:
	case <-time.After(lineTimeout):
	}
}
