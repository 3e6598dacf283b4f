package serve

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/nightly"
	"spillway/testdata/remote"
)

// TestCutOff closes the connection at many places of an upload, and of the download of an
// archive, of which nothing is left. An
// upload whose archive is whole, and whose form lacks its end, is cut off as well.
func TestCutOff(t *testing.T) {
	t.Parallel()
	svc := startService(t, overrides{}, "--download-any")
	var files []archive.File
	for i := range uint64(5) {
		files = append(files, archive.File{Name: archive.SymbolsName(i), Data: archive.Noise(i, 40_000)})
	}
	zip := archive.PythonZipfile(files...)
	for at := 0; at < len(zip); at += nightly.Pick(5001, 1000) {
		svc.cutOffDownload(t, zip, at)
	}
	body, contentType := client.Form(zip)
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
	svc := startService(t, overrides{}, "--download-any")
	zip := archive.Build(
		archive.Entry{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 100_000), Method: archive.Deflate},
		archive.Entry{Name: archive.SymbolsName(2), Data: archive.Noise(2, 100<<20)},
	)
	svc.cutOffDownload(t, zip, len(zip)/2)
	body, contentType := client.Form(zip)
	svc.sendBroken(t, contentType, len(body), bytes.NewReader(body[:len(body)/2]))
	svc.wantNothing(t, "cut off in the middle")
}

// cutOffDownload uploads an archive by URL, whose download breaks off at a byte and cannot be
// resumed.
func (svc *testService) cutOffDownload(t *testing.T, zip []byte, at int) {
	t.Helper()
	what := fmt.Sprintf("download cut off at byte %d", at)
	if a := svc.uploadFrom(t, &remote.File{Content: zip, Breaks: []int{at}, NoRanges: true}); a.Status != http.StatusServiceUnavailable {
		t.Errorf("%s: %+v", what, a)
	}
	svc.wantNothing(t, what)
}
