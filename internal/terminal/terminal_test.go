package terminal

import (
	"io"
	"testing"
)

// A line that nobody reads does not keep the program from exiting.
func TestUnreadLine(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	WriteLine(w, "an error")
	if err := r.Close(); err != nil { // unblocks the write
		t.Error(err)
	}
}
