package upload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"spillway/receipts"
	"spillway/testdata/archive"
)

// withReceipts has the site's store take receipts.
func withReceipts(c *Config) { c.Store.(*memoryStore).receipts = "receipts/" }

// aReceipt is a receipt as it is read.
type aReceipt struct {
	receipts.Head
	Files []receipts.File
}

// takeReceipts removes the receipts from the store, and returns them, the oldest first.
func (s *site) takeReceipts() (all []aReceipt) {
	s.t.Helper()
	for _, key := range s.store.keys() {
		if !strings.HasPrefix(key, "receipts/") {
			continue
		}
		s.store.mu.Lock()
		text := s.store.objects[key]
		delete(s.store.objects, key)
		s.store.mu.Unlock()
		if strings.Contains(string(text), "SECRET") {
			s.t.Errorf("a secret in %s", text)
		}
		var r aReceipt
		if err := json.Unmarshal(text, &r); err != nil {
			s.t.Fatalf("%s: %v", key, err)
		}
		if want := r.CompletedAt.Format("receipts/2006/01/02/150405-") + fmt.Sprintf("%010d-", r.ID); !strings.HasPrefix(key, want) {
			s.t.Errorf("the receipt of %d is %s, want %s…", r.ID, key, want)
		}
		all = append(all, r)
	}
	return all
}

// files returns what a receipt says of its files, in short.
func (r *aReceipt) files() (all []string) {
	for _, f := range r.Files {
		all = append(all, fmt.Sprintf("%s %s", f.State, f.Key))
	}
	return all
}

func TestReceipt(t *testing.T) {
	s := newSite(t, withReceipts)
	address := s.serve()
	r := s.upload(address, symbolForm(), asDev)
	if key := s.event()["receipt"]; !slices.Contains(s.store.keys(), fmt.Sprint(key)) {
		t.Errorf("the log names the receipt %v, stored are %q", key, s.store.keys())
	}
	var answered stored
	if err := json.Unmarshal(r.body, &answered); err != nil || r.StatusCode != http.StatusCreated {
		t.Fatalf("status %d: %s", r.StatusCode, r.body)
	}
	all := s.takeReceipts()
	if len(all) != 1 {
		t.Fatalf("%d receipts", len(all))
	}
	got, u := all[0], answered.Upload
	if got.ID != u.ID || got.CompletedAt.Format(timeFormat) != u.CompletedAt || got.ReceivedAt.Format(timeFormat) != u.CreatedAt {
		t.Errorf("%+v, and the answer is %+v", got, u)
	}
	got.ID, got.ReceivedAt, got.CompletedAt = 0, receipts.Time{}, receipts.Time{}
	head, _ := json.Marshal(got.Head)
	want := `{"schema":1,"id":0,"request_id":null,"user":"dev@example.com","user_id":1,"token":"ef260e9a","client_address":null,"user_agent":null,` +
		`"received_at":"0001-01-01T00:00:00.000000Z","completed_at":"0001-01-01T00:00:00.000000Z","filename":"symbols.zip","size":` + fmt.Sprint(len(symbolZip)) +
		`,"download_url":null,"redirect_urls":[],"try_symbols":false,"bucket":"symbols","prefix":"v1/","stored":2,"skipped":0,"ignored":1}`
	if string(head) != want {
		t.Errorf("got  %s\nwant %s", head, want)
	}
	if names := got.files(); !slices.Equal(names, []string{"stored " + symbolKeys[1], "stored " + symbolKeys[0], "ignored build-symbols.txt"}) {
		t.Errorf("files %q", names) // in the order of the archive
	}
	for _, f := range got.Files {
		switch text, _ := json.Marshal(f); f.Key {
		case symbolKeys[1]:
			if f.Size != 30_000 || !f.Gzip || f.StoredSize == nil || *f.StoredSize >= f.Size || *f.StoredSize < 1000 ||
				f.DebugFile == nil || f.DebugID == nil || f.CodeID == nil || f.Generator == nil || *f.DebugID != strings.ToUpper(*f.DebugID) {
				t.Errorf("%s", text)
			}
		case symbolKeys[0]:
			if f.Size != 5_000 || f.Gzip || *f.StoredSize != 5_000 || f.DebugFile != nil || f.DebugID != nil || f.CodeFile != nil || f.CodeID != nil || f.Generator != nil {
				t.Errorf("%s", text)
			}
		case "build-symbols.txt":
			if f.Size != 8 || f.CRC32 != "f2f4939a" || f.StoredSize != nil {
				t.Errorf("%s", text)
			}
		}
	}

	// Again: all files are there already.
	s.upload(address, symbolForm(), asDev)
	all = s.takeReceipts()
	if len(all) != 1 || all[0].Skipped != 2 || all[0].Stored != 0 {
		t.Fatalf("%+v", all)
	}
	for _, f := range all[0].Files {
		if f.Key == symbolKeys[1] && (f.State != receipts.Skipped || f.StoredSize != nil || f.DebugID == nil || f.CRC32 == "") {
			text, _ := json.Marshal(f)
			t.Errorf("%s", text)
		}
	}

	// Other content under the same keys, as try symbols and as regular ones.
	changed := archive.PythonZipfile(archive.File{Name: symbolKeys[0], Data: archive.Noise(2, 100)})
	for _, c := range []struct {
		token, prefix, bucket string
		replaced              bool
	}{{"dev", "v1/", "symbols", true}, {"devtry", "try/v1/", "symbols-try", false}} {
		s.upload(address, encode(formPart{"a.zip", "a.zip", changed}), "Auth-Token: "+c.token)
		all = s.takeReceipts()
		if len(all) != 1 || all[0].Prefix != c.prefix || all[0].Bucket != c.bucket || all[0].TrySymbols != (c.token == "devtry") || len(all[0].Files) != 1 || all[0].Files[0].Replaced != c.replaced {
			t.Errorf("%+v", all)
		}
	}
}

// Only what was stored leaves a receipt, and only where receipts are asked for.
func TestNoReceipt(t *testing.T) {
	s := newSite(t)
	if r := s.upload(s.serve(), symbolForm(), asDev); r.StatusCode != http.StatusCreated || len(s.store.keys()) != 2 {
		t.Errorf("status %d, stored %q", r.StatusCode, s.store.keys())
	}
	s = newSite(t, withReceipts)
	address := s.serve()
	for _, form := range [][]byte{encode(formPart{"a.zip", "a.zip", symbolZip[:5000]}), encode(formPart{"a.zip", "a.zip", nil}), symbolForm()[:5000]} {
		c := dial(t, address)
		c.send(request(len(form), asDev, "Connection: close"), string(form))
		if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if r := c.reply(); r.StatusCode != http.StatusBadRequest {
			t.Errorf("status %d: %s", r.StatusCode, r.body)
		}
	}
	s.store.onPublish = func() error { return errStore }
	if r := s.upload(address, symbolForm(), asDev); r.StatusCode != http.StatusServiceUnavailable || len(s.store.keys()) != 0 {
		t.Errorf("status %d, stored %q", r.StatusCode, s.store.keys())
	}
}

// An upload by URL has the URL in its receipt, and redirects, without the secrets in them.
func TestReceiptOfURL(t *testing.T) {
	s := newSite(t, withReceipts)
	s.remote = roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/a/symbols.zip" {
			return answers(http.StatusFound, "Location", "/b/x?sig=SECRET2").RoundTrip(r)
		}
		return hasZip().RoundTrip(r)
	})
	c := dial(t, s.serve())
	c.send(urlForm("url", link))
	c.reply()
	all := s.takeReceipts()
	if len(all) != 1 || all[0].DownloadURL == nil || *all[0].DownloadURL != "https://files.example.com/a/symbols.zip" ||
		!slices.Equal(all[0].RedirectURLs, []string{"https://files.example.com/b/x"}) || all[0].Filename != "symbols.zip" {
		t.Errorf("%+v", all)
	}
}

// What an upload by URL skips without reading it is in the receipt, too, as far as it is known.
func TestReceiptOfUnreadFiles(t *testing.T) {
	s := newSite(t, withReceipts)
	address := s.serve()
	s.upload(address, symbolForm(), asDev)
	read := s.takeReceipts()[0]
	s.remote = roundTrip(func(r *http.Request) (*http.Response, error) {
		recorded := httptest.NewRecorder()
		recorded.Header().Set("ETag", `"a"`)
		http.ServeContent(recorded, r, "", time.Time{}, bytes.NewReader(symbolZip))
		resp := recorded.Result()
		resp.ContentLength = int64(recorded.Body.Len())
		return resp, nil
	})
	c := dial(t, address)
	c.send(urlForm("url", link))
	if r := c.reply(); r.StatusCode != http.StatusCreated {
		t.Fatalf("status %d: %s", r.StatusCode, r.body)
	}
	got := s.takeReceipts()[0]
	if got.Skipped != 2 || got.Stored != 0 || len(got.Files) != len(read.Files) {
		t.Fatalf("%+v", got)
	}
	for i, f := range got.Files {
		was := read.Files[i]
		if ignored := f.State == receipts.Ignored; f.Key != was.Key || f.Size != was.Size || f.CRC32 != was.CRC32 || f.Unread == ignored || f.DebugID != nil || f.StoredSize != nil {
			text, _ := json.Marshal(f)
			t.Errorf("%s", text)
		}
	}
}

// If the receipt cannot be written, the client is asked to retry. Nothing is lost: what
// was stored stays, and the retry skips it and leaves a receipt.
func TestReceiptThatCannotBeWritten(t *testing.T) {
	s := newSite(t, withReceipts)
	address := s.serve()
	s.store.onReceipt = func() error { return errStore }
	r := s.upload(address, symbolForm(), asDev)
	if r.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(r.message(), "The storage behind this server failed.") {
		t.Errorf("status %d: %s", r.StatusCode, r.body)
	}
	event := s.event()
	if event["outcome"] != "failed" || event["reason"] != "store" || event["uploaded"] != int64(2) || event["sent_bytes"] != s.store.size() {
		t.Errorf("event %v", event)
	}
	if keys := s.store.keys(); len(keys) != 2 {
		t.Errorf("stored %q", keys)
	}
	s.store.onReceipt = nil
	if r := s.upload(address, symbolForm(), asDev); r.StatusCode != http.StatusCreated {
		t.Errorf("the retry: status %d: %s", r.StatusCode, r.body)
	}
	if all := s.takeReceipts(); len(all) != 1 || all[0].Skipped != 2 {
		t.Errorf("%+v", all)
	}

	s.logs.TakeAll()
	s.store.onReceipt = func() error { panic("a defect") }
	if r := s.upload(address, symbolForm(), asDev); r.StatusCode != http.StatusInternalServerError || s.event()["outcome"] != "defect" {
		t.Errorf("after a panic: status %d: %s", r.StatusCode, r.body)
	}
}

// Neither --upload-timeout, nor a shutdown, nor a client that leaves keeps a receipt from
// being written. The time is the storage's.
func TestReceiptIsWrittenToItsEnd(t *testing.T) {
	for _, test := range []struct {
		name   string
		leaves bool
		took   time.Duration // for the receipt
		drain  time.Duration // --drain-timeout; 0: no shutdown
		status int
	}{
		{"a slow store", false, 3 * time.Minute, 0, 201},
		{"a client that leaves", true, 3 * time.Minute, 0, 0},
		{"a shutdown", false, 8 * time.Second, 5 * time.Second, 201},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *site, connect func() *client) {
				s.store.onReceipt = func() error { time.Sleep(test.took); return nil }
				c, f, began := connect(), symbolForm(), time.Now()
				c.send(request(len(f), asDev, "Connection: close"), string(f))
				if test.leaves {
					c.leave()
				}
				wait := func() time.Duration { time.Sleep(test.took); return 0 }
				if test.drain > 0 {
					wait = drain(t, s, test.drain, 0)
				}
				if test.status != 0 {
					c.expect(began, test.took, test.status)
				}
				wait()
				synctest.Wait()
				if !test.leaves {
					c.leave()
				}
				e := s.event()
				if e["outcome"] != "stored" || fmt.Sprint(e["waited_s3"]) != fmt.Sprint(e["duration"]) || len(s.takeReceipts()) != 1 {
					t.Errorf("%v", e)
				}
			}, withReceipts)
		})
	}
}

// The store can still end an upload while its receipt is written.
func TestStoreEndsReceipt(t *testing.T) {
	s := newSite(t, withReceipts)
	s.store.onReceipt = func() error {
		b := s.store.batches[0]
		b.fail(errStore)
		<-b.ctx.Done()
		return errors.Join(errStore, b.ctx.Err())
	}
	if r := s.upload(s.serve(), symbolForm(), asDev); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("status %d: %s", r.StatusCode, r.body)
	}
}
