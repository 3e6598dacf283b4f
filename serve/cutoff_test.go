package serve

import (
	"bytes"
	"fmt"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/nightly"
)

// TestCutOff closes the connection at many places of an upload, of which nothing is left. An
// upload whose archive is whole, and whose form lacks its end, is cut off as well.
func TestCutOff(t *testing.T) {
	t.Parallel()
	svc := startService(t, overrides{})
	var files []archive.File
	for i := range uint64(5) {
		files = append(files, archive.File{Name: archive.SymbolsName(i), Data: archive.Noise(i, 40_000)})
	}
	body, contentType := client.Form(archive.PythonZipfile(files...))
	for at := 0; at < len(body); at += nightly.Pick(5001, 1000) {
		svc.sendBroken(t, contentType, len(body), bytes.NewReader(body[:at]))
		svc.wantNothing(t, fmt.Sprintf("cut off at byte %d", at))
	}
	for missing := 1; missing <= 6; missing++ {
		cut := len(body) - missing
		svc.sendBroken(t, contentType, len(body), bytes.NewReader(body[:cut]))
		svc.wantNothing(t, fmt.Sprintf("cut off %d bytes before the end", missing))
	}
	// The request is complete, except for the closing boundary of its form. The line break
	// after the boundary is not part of it.
	for missing := 3; missing <= 60; missing++ {
		cut := body[:len(body)-missing]
		svc.sendBroken(t, contentType, len(cut), bytes.NewReader(cut))
		svc.wantNothing(t, fmt.Sprintf("without the last %d bytes of the form", missing))
	}
}

// TestCutOffWithinParts closes the connection in the middle of an entry of many parts, when
// some of them are staged.
func TestCutOffWithinParts(t *testing.T) {
	t.Parallel()
	svc := startService(t, overrides{})
	body, contentType := client.Form(archive.Build(
		archive.Entry{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 100_000), Method: archive.Deflate},
		archive.Entry{Name: archive.SymbolsName(2), Data: archive.Noise(2, 100<<20)},
	))
	svc.sendBroken(t, contentType, len(body), bytes.NewReader(body[:len(body)/2]))
	svc.wantNothing(t, "cut off in the middle")
}
