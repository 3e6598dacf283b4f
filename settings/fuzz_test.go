package settings

import (
	"io"
	"strings"
	"testing"
)

// FuzzSettings checks that any command line is refused with a line that names a flag,
// or makes valid settings.
func FuzzSettings(f *testing.F) {
	for _, args := range []string{
		"--dev", "--dev --memory=64MiB --max-uploads=3", "serve --s3-bucket=b --tokens-file=t --spill-quota=0", "--dev --room-wait=-1s",
		"--dev --sweep-age=9999999h --upload-timeout=1ns", "--dev --memory=1e3MiB", "token list", "version", "--help", "--dev --listen=[::1]:0",
		"--dev --s3-part-size=0x10MiB", "--dev --gzip-extensions=,.sym,", "--dev --max-token-bytes=3GiB --drain-delay=1h",
	} {
		f.Add(args)
	}
	f.Fuzz(func(t *testing.T, args string) {
		s, command, err := Parse(strings.Fields(args), func(string) string { return "" }, io.Discard)
		if err != nil || command != "serve" {
			return
		}
		if err := s.Serve.Complete(); err != nil {
			if !strings.Contains(err.Error(), "--") {
				t.Errorf("%q: %v: the error names no flag", args, err)
			}
			return
		}
		serve := &s.Serve
		if serve.Memory < 30*mebibyte || serve.MaxUploads < 1 || serve.MaxEntries < 1 || serve.S3Concurrency < 1 || serve.MaxUploadSize < 1 ||
			serve.IdleTimeout <= 0 || serve.RoomWait <= 0 || serve.UploadTimeout <= 0 || serve.DrainDelay < 0 || serve.MaxTokenUploads < 0 || serve.SpillQuota < 0 {
			t.Errorf("%q is accepted as %+v", args, serve)
		}
	})
}

// FuzzSize checks that an accepted size is not negative and formats as a valid size.
func FuzzSize(f *testing.F) {
	for _, text := range []string{"64MiB", "0", "1", "-1", "9223372036854775807", "8EiB", "1.5GiB", " 1 KiB", "lots"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var size, again ByteSize
		if size.UnmarshalText([]byte(text)) != nil {
			return
		}
		if size < 0 {
			t.Fatalf("%q: got %d", text, size)
		}
		if err := again.UnmarshalText([]byte(size.String())); err != nil {
			t.Fatalf("%q formats as %q: %v", text, size, err)
		}
	})
}
