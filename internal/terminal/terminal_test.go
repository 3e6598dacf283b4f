package terminal

import (
	"io"
	"testing"
)

// The last line of a program that fails does not keep it from ending.
func TestLineThatNobodyReads(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	WriteLine(w, "a complaint")
	if err := r.Close(); err != nil { // ends the write that hangs
		t.Error(err)
	}
}
