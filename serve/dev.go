package serve

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net/http"

	"spillway/settings"
)

// The entries of the sample archive of --dev.
const (
	sampleSymbols = "libsample.so/7C5E3F0A91D24B6688E1A0C2D4F6B8A90/libsample.so.sym"
	sampleDebug   = "libsample.so/7C5E3F0A91D24B6688E1A0C2D4F6B8A90/libsample.so.dbg"
)

// sampleArchive returns a zip archive with the symbols of a small library.
func sampleArchive() ([]byte, error) {
	var symbols bytes.Buffer
	symbols.WriteString("MODULE Linux x86_64 7C5E3F0A91D24B6688E1A0C2D4F6B8A90 libsample.so\n" +
		"INFO CODE_ID 0A3F5E7CD291664B88E1A0C2D4F6B8A9\n" +
		"FILE 0 sample/main.c\n")
	for i := range 200 {
		at := 0x1000 + 64*i
		fmt.Fprintf(&symbols, "FUNC %x 40 0 sample_function_%d\n%x 18 %d 0\n%x 28 %d 0\n", at, i, at, 3*i+10, at+0x18, 3*i+11)
	}
	for i := range 200 {
		fmt.Fprintf(&symbols, "STACK CFI INIT %x 40 .cfa: $rsp 8 + .ra: .cfa -8 + ^\n", 0x1000+64*i)
	}

	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, file := range []struct {
		name string
		data []byte
	}{
		{sampleSymbols, symbols.Bytes()},
		{sampleDebug, []byte("debug information, stored unmodified\n")},
		{"build-symbols.txt", []byte(sampleSymbols + "\n" + sampleDebug + "\n")},
	} {
		w, err := z.Create(file.name)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(file.data); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// samplePath is the URL path of the sample archive.
const samplePath = "/sample.zip"

// newSample returns a handler that serves the sample archive.
func newSample() (http.Handler, error) {
	sample, err := sampleArchive()
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/zip")
		_, _ = w.Write(sample) // an error means that the client has gone
	}), nil
}

// printDevHelp prints shell commands that upload the sample and, from the embedded S3
// server, read a stored file back. api, admin and s3 are the addresses of the
// listeners; s3 is empty without an embedded server.
func printDevHelp(w io.Writer, s *settings.Serve, api, admin, s3 string) {
	fmt.Fprintf(w, "Upload a sample archive (the second time, its files are skipped):\n"+
		"  curl -s http://%[1]s/sample.zip | curl -s --header 'Auth-Token: dev' --form 'sample.zip=@-' http://%[1]s/upload/\n", api)
	if s.DownloadAny {
		fmt.Fprintf(w, "Upload it by its URL:\n"+
			"  curl -s --header 'Auth-Token: dev' --data-urlencode 'url=http://%[1]s/sample.zip' http://%[1]s/upload/\n", api)
	}
	if s3 != "" {
		fmt.Fprintf(w, "Read a stored file back:\n"+
			"  curl -s http://%s/%s/%s%s | gunzip\n", s3, s.S3Bucket, s.S3Prefix, sampleSymbols)
	}
	fmt.Fprintf(w, "Live page:\n  http://%s/\n", admin)
}
