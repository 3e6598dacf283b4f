package s3sink

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestBody(t *testing.T) {
	content := []byte("the bytes of a part, of which there are some")
	if err := iotest.TestReader(newRequestBody(bytes.NewReader(content), 0, int64(len(content))), content); err != nil {
		t.Error(err)
	}
}

func TestBodyCut(t *testing.T) {
	b := newRequestBody(strings.NewReader("part"), 0, 4)
	p := make([]byte, 2)
	if _, err := io.ReadFull(b, p); err != nil {
		t.Fatal(err)
	}
	_ = b.cut(nil)
	if n, err := b.Read(p); n != 0 || !errors.Is(err, errCut) {
		t.Errorf("Read after the cut: %d, %v", n, err)
	}
	if n, err := b.ReadAt(p, 0); n != 0 || !errors.Is(err, errCut) {
		t.Errorf("ReadAt after the cut: %d, %v", n, err)
	}
	if _, err := b.Seek(0, io.SeekStart); err == nil {
		t.Error("Seek after the cut succeeds")
	}
	_ = b.cut(nil)
}

// TestBodyCutWaits checks with the race detector that nothing reads a body once cut has
// returned.
func TestBodyCutWaits(t *testing.T) {
	buffer := make([]byte, 1<<16)
	b := newRequestBody(bytes.NewReader(buffer), 0, int64(len(buffer)))
	ended := make(chan error)
	begun := make(chan struct{})
	go func() {
		p := make([]byte, len(buffer))
		for n := 0; ; n++ {
			if _, err := b.ReadAt(p, 0); err != nil {
				ended <- err
				return
			}
			if n == 0 {
				close(begun)
			}
		}
	}()
	<-begun
	_ = b.cut(nil)
	clear(buffer)
	if err := <-ended; !errors.Is(err, errCut) {
		t.Error(err)
	}
}

// TestPartSize checks that parts have the usual size unless there would be too many.
func TestPartSize(t *testing.T) {
	const usual = 8 << 20
	for _, test := range []struct{ body, want int64 }{
		{1, usual},
		{10_000 * usual, usual},
		{10_000*usual + 1, usual + 1},
		{5 << 40, 549_755_814},
	} {
		got := partSize(test.body, usual)
		if got != test.want {
			t.Errorf("parts of %d bytes for a body of %d, want %d", got, test.body, test.want)
		}
		if n := (test.body + got - 1) / got; n > 10_000 {
			t.Errorf("%d parts of a body of %d bytes", n, test.body)
		}
	}
}
