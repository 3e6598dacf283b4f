package upload

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"spillway/internal/answer"
	"spillway/internal/guard"
	"spillway/stream"
	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/tokens"
)

// named returns an archive with one entry of that name.
func named(name string) []byte {
	return archive.PythonZipfile(archive.File{Name: name, Data: []byte("x")})
}

// TestRefusals checks the answers to refused uploads, that nothing of them becomes
// visible, and that each has one event in the log.
func TestRefusals(t *testing.T) {
	expired := func(c *Config) {
		c.Tokens, _ = tokens.New(
			tokens.Token{Email: "a@b", SHA256: tokens.Digest("old"), Permissions: []string{tokens.PermissionUpload}, ExpiresAt: time.Unix(1, 0)},
			tokens.Token{Email: "a@b", SHA256: tokens.Digest("none"), ExpiresAt: time.Now().Add(time.Hour)})
	}
	const notForm = "Must be multipart form data with at least one file"
	wrongCRC := archive.PythonZipfile(archive.File{Name: "a/1/b", Data: archive.Noise(1, 100)})
	wrongCRC[60] ^= 1
	zip := formPart{"symbols.zip", "symbols.zip", symbolZip}
	for _, c := range []struct {
		name    string
		body    []byte
		header  []string
		status  int
		message string // exact, or a regular expression if it begins with ^
		change  func(*Config)
	}{
		{"no token", symbolForm(), nil, 403, "This requires an Auth-Token to authenticate the request", nil},
		{"unknown token", symbolForm(), []string{"Auth-Token: nobody"}, 403, "API Token not matched", nil},
		{"expired token", symbolForm(), []string{"Auth-Token: old"}, 403, "API Token found but expired", expired},
		{"no permission", symbolForm(), []string{"Auth-Token: none-label"}, 403, "Forbidden", expired},
		{"no file", encode(formPart{"x", "", []byte("y")}), []string{asDev}, 400, notForm, nil},
		{"an empty body", nil, []string{asDev}, 400, notForm, nil},
		{"url only", encode(formPart{"url", "", []byte("https://x/y.zip")}), []string{asDev}, 400, "Not an allowed domain ('x') to download from.", nil},
		{"unknown extension", encode(formPart{"file.rar", "x", symbolZip}), []string{asDev}, 400, `Unrecognized archive file extension ".rar"`, nil},
		{"tar", encode(formPart{"file.tar.gz", "file.tar.gz", symbolZip}), []string{asDev}, 400, `Unrecognized archive file extension ".gz"`, nil},
		{"try after", encode(zip, formPart{"try", "", []byte("1")}), []string{asDev}, 400, "The field 'try' must come before the archive", nil},
		{"a form cut off", symbolForm()[:len(symbolForm())-6], []string{asDev}, 400, "The form ends before its closing boundary", nil},
		{"a part without disposition", []byte(sep + "\r\n\r\nx" + theEnd), []string{asDev}, 400, "A part of the form has a missing or malformed Content-Disposition header", nil},
		{"a malformed form", []byte(sep + "\r\nnonsense\r\n\r\nx" + theEnd), []string{asDev}, 400, "The form is malformed", nil},
		{"a huge field", encode(formPart{"x", "", make([]byte, 1<<20-100<<10)}, formPart{"x", "", make([]byte, 200<<10)}, zip), []string{asDev}, 413, "^1048576 bytes of fields", nil},

		{"not a zip", zipForm([]byte("<html>")), []string{asDev}, 400, "File is not a zip file", nil},
		{"empty", zipForm(nil), []string{asDev}, 400, "File is not a zip file", nil},
		{"an archive cut off in a whole form", zipForm(symbolZip[:len(symbolZip)/2]), []string{asDev}, 400, "File is not a zip file", nil},
		{"checksum wrong", zipForm(wrongCRC), []string{asDev}, 400, "^(Bad CRC-32 for file 'a/1/b'|Entry 'a/1/b': .*\\.)$", nil},
		{
			"two sizes", zipForm(archive.PythonZipfile(archive.File{Name: "a/1/b", Data: make([]byte, 39)}, archive.File{Name: "a/1/b", Data: make([]byte, 24)})),
			[]string{asDev},
			400, "The zipfile buffer contains two files both called a/1/b and they have difference sizes (24 != 39)", nil,
		},
		{"snippet", zipForm(named("qcom/proprietary/x")), []string{asDev}, 400, "Content of archive file contains the snippet 'qcom/proprietary' which is not allowed", nil},
		{"own snippet", zipForm(named("secret/1/x")), []string{asDev}, 400, "Content of archive file contains the snippet 'secret' which is not allowed", func(c *Config) { c.Disallowed = []string{"secret"} }},
		{"no symbol key", zipForm(named("xpcshell.dbg/<A>/xpcshell")), []string{asDev}, 400, "Unrecognized file pattern. Should only be <module>/<hex>/<file> or <name>-symbols.txt and nothing else. (First unrecognized pattern was 'xpcshell.dbg/<A>/xpcshell')", nil},
		{"key too long", zipForm(named("a/1/" + strings.Repeat("b", 1018))), []string{asDev}, 400, "^Entry 'a/1/b+': its name is longer than the 1021 bytes", nil},
		{"not to be read forward", zipForm(append([]byte("#!/bin/sh\n"), archive.Build(archive.Entry{Name: "a/1/b", Data: archive.Noise(1, 200<<10)})...)), []string{asDev}, 413, "^cannot be read while it arrives: .*--spill-quota, which is 0", nil},

		{"an encoded request", symbolForm(), []string{asDev, "Content-Encoding: gzip"}, 415, "^The request has the Content-Encoding gzip", nil},
		{"a request whose encoding changes nothing and a file that is none", zipForm([]byte("no zip")), []string{asDev, "Content-Encoding: identity"}, 400, "File is not a zip file", nil},
		{"entries", zipForm(symbolZip), []string{asDev}, 413, "^more than the 2 entries that --max-entries allows", func(c *Config) { c.MaxEntries = 2 }},
		{"expansion", zipForm(symbolZip), []string{asDev}, 413, "^more than the 29 KiB \\(30000 bytes\\) that --max-expanded-size allows", func(c *Config) { c.MaxExpanded = 30_000 }},
		{"archive size", zipForm(symbolZip), []string{asDev}, 413, "^larger than the .* that --max-upload-size allows", func(c *Config) { c.MaxUploadSize = int64(len(symbolZip)) - 1 }},
		{"length of the body", make([]byte, 2<<20+1), []string{asDev}, 413, "^larger than the 1.0 MiB \\(1048576 bytes\\) that --max-upload-size allows", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var change []func(*Config)
			if c.change != nil {
				change = append(change, c.change)
			}
			s := newSite(t, change...)
			r := s.upload(s.serve(), c.body, c.header...)
			ok := r.message() == c.message
			if pattern, is := strings.CutPrefix(c.message, "^"); is {
				ok = regexp.MustCompile(pattern).MatchString(r.message())
			}
			if r.StatusCode != c.status || !ok {
				t.Errorf("status %d: %q\nwant   %d: %q", r.StatusCode, r.message(), c.status, c.message)
			}
			if keys := s.store.keys(); len(keys) != 0 {
				t.Errorf("stored %q", keys)
			}
			if e := s.event(); e["outcome"] != "refused" || e["status"] != int64(c.status) || e["error"] == nil {
				t.Errorf("event %v", e)
			}
		})
	}
}

// TestRefusalsSayWhere checks the details of refused archives.
func TestRefusalsSayWhere(t *testing.T) {
	flagged := archive.Build(archive.Entry{Name: "a/1/b"}, archive.Entry{Name: "a/1/c", Flags: 1 << 13})
	whole := archive.Build(archive.Entry{Name: "a/1/b", Data: archive.Noise(1, 100)})
	for _, c := range []struct {
		name    string
		archive []byte
		detail  string // a regular expression
	}{
		{"an entry", flagged, "^Entry 'a/1/c', at byte 35 of the archive: its general purpose flags 0x2000 are not supported\\."},
		{"the archive", append(slices.Clone(whole), 'x'), "^At byte 208 of the archive: there are bytes after its end\\."},
		{"not a zip", []byte("<html>"), "^The file does not begin as a zip archive does"},
		{"empty", nil, "^The file does not begin as a zip archive does"},
		{"cut off within an entry", whole[:70], "^The archive is cut off: it ends at byte 70, within entry 'a/1/b'\\."},
		{"cut off within the directory", whole[:150], "^The archive is cut off: it ends at byte 150, without its end of central directory record\\."},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			r := s.upload(s.serve(), zipForm(c.archive), asDev)
			var f answer.Failure
			if err := json.Unmarshal(r.body, &f); err != nil || !regexp.MustCompile(c.detail).MatchString(f.Detail) {
				t.Errorf("%s\nwant %s", r.body, c.detail)
			}
		})
	}
}

func TestStoreFailures(t *testing.T) {
	noRoom := &budget.NoRoomError{What: "memory for a part", Limit: 10, InUse: 9}
	for _, c := range []struct {
		name    string
		prepare func(*memoryStore)
		status  int
		outcome string
		message string
	}{
		{"at an entry", func(s *memoryStore) {
			s.onCommit = func(context.Context, string) error { return errStore }
		}, 503, "failed", "The storage behind this server failed. Nothing is wrong with the upload: trying it again later is safe."},
		{"for the whole upload", func(s *memoryStore) {
			s.onBegin = func(fail func(error)) { fail(errStore) }
		}, 503, "failed", "The storage behind this server failed. Nothing is wrong with the upload: trying it again later is safe."},
		{"in publishing", func(s *memoryStore) {
			s.onPublish = func() error { return errStore }
		}, 503, "failed", "The storage behind this server failed. Nothing is wrong with the upload: trying it again later is safe."},
		{"for want of room", func(s *memoryStore) {
			s.onBegin = func(fail func(error)) { fail(noRoom) }
		}, 503, "refused", "This server has no room at the moment: memory for a part. Nothing is wrong with the upload: trying it again later is safe."},
		{"in a way nobody thought of", func(s *memoryStore) {
			s.onPublish = func() error { return errors.New("what") }
		}, 500, "defect", "Internal Server Error"},
		{"by a panic", func(s *memoryStore) {
			s.onPublish = func() error { panic("10.0.0.7") }
		}, 500, "defect", "Internal Server Error"},
		{"by a panic in the background", func(s *memoryStore) {
			s.onPublish = func() error {
				panicked := guard.Do(func() error { panic("in Publish") })
				return &stream.StoreError{Op: "Publish", Err: errors.Join(errStore, panicked)}
			}
		}, 500, "defect", "Internal Server Error"},
		{"by a panic in an abort", func(s *memoryStore) {
			s.onPublish = func() error { return errStore }
			s.onAbort = func() error {
				panicked := guard.Do(func() error { panic("after Publish") })
				return errors.Join(errStore, panicked)
			}
		}, 500, "defect", "Internal Server Error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			c.prepare(s.store)
			r := s.upload(s.serve(), symbolForm(), asDev)
			if r.StatusCode != c.status || r.message() != c.message {
				t.Errorf("status %d: %q\nwant   %d: %q", r.StatusCode, r.message(), c.status, c.message)
			}
			event := s.event()
			if event["outcome"] != c.outcome || len(s.store.keys()) != 0 {
				t.Errorf("outcome %v, stored %q", event["outcome"], s.store.keys())
			}
			if event["uploaded"] != int64(0) || event["sent_bytes"] != int64(0) {
				t.Errorf("nothing is visible, and %v entries of %v bytes are said to be", event["uploaded"], event["sent_bytes"])
			}
			if stack, _ := event["stack"].(string); strings.HasPrefix(c.name, "by a panic") != strings.Contains(stack, "TestStoreFailures") {
				t.Errorf("stack %q", stack)
			}
		})
	}
}

// TestPublishingFailsHalfway checks that objects that are visible by then stay, that the
// event counts them, and that a retry stores the rest.
func TestPublishingFailsHalfway(t *testing.T) {
	s := newSite(t)
	s.store.visible = 1
	address := s.serve()
	if r := s.upload(address, symbolForm(), asDev); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("status %d: %s", r.StatusCode, r.body)
	}
	event := s.event()
	if keys := s.store.keys(); len(keys) != 1 || event["uploaded"] != int64(1) || event["sent_bytes"] != s.store.size() {
		t.Errorf("%q are visible, of %d bytes; the event has %v of %v bytes", keys, s.store.size(), event["uploaded"], event["sent_bytes"])
	}
	first := s.store.size()
	s.logs.TakeAll()
	s.store.visible = 0
	if r := s.upload(address, symbolForm(), asDev); r.StatusCode != http.StatusCreated {
		t.Errorf("again: status %d: %s", r.StatusCode, r.body)
	}
	event = s.event()
	if event["uploaded"] != int64(1) || event["skipped"] != int64(1) || event["sent_bytes"] != s.store.size()-first {
		t.Errorf("again: %v of %v bytes, %v skipped; %d bytes became visible", event["uploaded"], event["sent_bytes"], event["skipped"], s.store.size()-first)
	}
}
