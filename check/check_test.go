package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"spillway/health"
	"spillway/internal/s3event"
	"spillway/s3sink"
	"spillway/settings"
	"spillway/stream"
	"spillway/stream/budget"
	"spillway/tokens"
)

const mib, gib = 1 << 20, 1 << 30

// wants checks the level of a result and words in its sentences.
func wants(t *testing.T, r Result, level health.Level, found, remedy string) {
	t.Helper()
	if r.Level != level || !strings.Contains(r.Found, found) || !strings.Contains(r.Remedy, remedy) || (level == health.OK) != (r.Remedy == "") {
		t.Errorf("%+v; want %v, %q and %q", r, level, found, remedy)
	}
}

func TestFiles(t *testing.T) {
	s := &settings.Serve{MaxUploads: 10, S3Concurrency: 20, SpillQuota: 1}
	if n := filesNeeded(s, 100); n != 100+10+20+2*10+otherFiles {
		t.Errorf("%d are needed", n)
	}
	s.SpillQuota = 0
	if n := filesNeeded(s, 100); n != 100+10+20+otherFiles {
		t.Errorf("without a disk, %d are needed", n)
	}
	wants(t, judgeFiles(Result{}, 100, 100), health.OK, "is 100", "")
	wants(t, judgeFiles(Result{}, 99, 100), health.Warning, "too low", "ulimit -n")
}

func TestMemory(t *testing.T) {
	s := &settings.Serve{Memory: 256 * mib, SpillQuota: 4 * gib}
	disk, inMemory := Spill{Free: gib}, Spill{Free: gib, Traits: budget.DiskTraits{InMemory: true}}
	for _, c := range []struct {
		limit int64
		spill Spill
		level health.Level
	}{
		{386 * mib, disk, health.OK},
		{386*mib - 1, disk, health.Warning},
		{256 * mib, disk, health.Warning},
		{256*mib - 1, disk, health.Error},
		{386*mib + gib, inMemory, health.OK}, // no more than is free
		{386*mib + gib - 1, inMemory, health.Warning},
	} {
		r := judgeMemory(Result{}, s, c.spill, MemoryLimit{c.limit, "x"})
		if r.Level != c.level || (c.level == health.OK) != (r.Remedy == "") {
			t.Errorf("%d: %+v, want %v", c.limit, r, c.level)
		}
	}
}

func TestSpill(t *testing.T) {
	s := &settings.Serve{SpillDir: "/spill", SpillQuota: 4 * gib, SpillMinFree: gib}
	traits := budget.DiskTraits{FileSystem: "xfs", Nameless: true}
	wants(t, Spill{Traits: traits}.Results(s)[0], health.OK, "is on xfs: files can be made without a name", "")
	wants(t, Spill{Traits: budget.DiskTraits{FileSystem: "nfs"}}.Results(s)[0], health.OK, "there is no O_TMPFILE", "")
	wants(t, Spill{Traits: budget.DiskTraits{FileSystem: "overlay"}}.Results(s)[0], health.OK, "Overlay", "")
	wants(t, Spill{Traits: budget.DiskTraits{FileSystem: "tmpfs", InMemory: true}}.Results(s)[0], health.Warning, "in memory (tmpfs)", "--spill-dir")
	for free, level := range map[int64]health.Level{0: health.Error, gib - 1: health.Error, gib: health.Warning, 5*gib - 1: health.Warning, 5 * gib: health.OK} {
		if r := (Spill{Traits: traits, Free: free}).Results(s)[1]; r.Level != level || (level == health.OK) != (r.Remedy == "") {
			t.Errorf("%d free: %+v, want %v", free, r, level)
		}
	}
	for err, remedy := range map[error]string{
		fmt.Errorf("x: %w", syscall.ENOSPC): "Free space", &budget.QuotaError{Quota: budget.FreeSpace}: "Free space", syscall.EACCES: "Let the user",
		syscall.EDQUOT: "disk quota", budget.ErrDiskHangs: "does not respond", errors.New("odd"): "Check the file system",
	} {
		r := Spill{Err: err}.Results(s)
		if len(r) != 1 {
			t.Errorf("%v: %+v", err, r)
		}
		wants(t, r[0], health.Error, "/spill cannot be used", remedy)
		wants(t, r[0], health.Error, "", "--spill-quota 0")
	}
	s.SpillQuota = 0
	wants(t, Spill{}.Results(s)[0], health.OK, "--spill-quota is 0", "")
}

func TestClock(t *testing.T) {
	wants(t, Clock(0), health.OK, "agrees", "")
	wants(t, Clock(-59*time.Second), health.OK, "agrees", "")
	wants(t, Clock(time.Minute), health.Warning, "is 1m0s ahead of S3's", "NTP")
	wants(t, Clock(-2*time.Hour), health.Warning, "is 2h0m0s behind S3's", "NTP")
	synctest.Test(t, func(t *testing.T) {
		date := time.Now().Add(-90 * time.Second)
		if ahead, ok := ClockAhead(s3event.Attempt{Date: date, Took: 2 * time.Second}); !ok || ahead != 89*time.Second {
			t.Errorf("%v ahead, known: %v", ahead, ok)
		}
		for _, a := range []s3event.Attempt{{Took: time.Second}, {Date: date, Took: time.Minute}} {
			if _, ok := ClockAhead(a); ok {
				t.Errorf("%+v shows the clock", a)
			}
		}
	})
}

func TestSettings(t *testing.T) {
	wants(t, Settings(&settings.Serve{}), health.OK, "valid", "")
	wants(t, Settings(&settings.Serve{Dev: true}), health.OK, "--dev", "")
	wants(t, Settings(&settings.Serve{Dev: true, DownloadAny: true}), health.Warning, "--download-any", "--download-domains")
}

// failed returns an action that failed with a code.
func failed(name, code string) s3sink.Action {
	return s3sink.Action{
		Name: name, Bucket: "b", Prefix: "v1/", Needed: name != "s3:DeleteObject", Tried: true,
		Err: &stream.StoreError{Op: "Op", Key: "v1/key", Code: code, Err: errors.New("the store's message")},
	}
}

// TestStore checks that a fault of all actions is one result, unless it is a permission.
func TestStore(t *testing.T) {
	put, untried, deletion := failed("s3:PutObject", "SlowDown"), s3sink.Action{Name: "s3:GetObject", Bucket: "b", Prefix: "v1/"}, failed("s3:DeleteObject", "SlowDown")
	worked := s3sink.Action{Name: "s3:ListBucket", Bucket: "b", Prefix: "v1/", Tried: true}
	other := s3sink.Action{Name: "s3:ListBucket", Bucket: "b", Prefix: "try/v1/", Tried: true}

	got := Store([]s3sink.Action{put, untried, deletion, other}, "By CRC-32.")
	if len(got) != 3 || got[0].Name != "s3" || got[0].Target != "b/v1/" || got[1].Target != "b/try/v1/" || got[2].Name != "s3 checksums" {
		t.Fatalf("%+v", got)
	}
	wants(t, got[0], health.Error, "Op of v1/key failed: SlowDown. Every other request failed, too", "overloaded")
	wants(t, got[1], health.OK, "404", "")

	deletion.Left = []string{"v1/left"}
	got = Store([]s3sink.Action{put, untried, worked, deletion}, "")
	if len(got) != 4 || got[0].Name != "s3:PutObject" || got[1].Level != health.Unknown || got[2].Level != health.OK || !strings.Contains(got[0].Detail, "the store's message") {
		t.Errorf("%+v", got)
	}
	wants(t, got[3], health.Warning, "SlowDown", "v1/left stays")

	if got := Store([]s3sink.Action{failed("s3:PutObject", "AccessDenied"), failed("s3:DeleteObject", "AccessDenied")}, ""); len(got) != 2 {
		t.Errorf("permissions: %+v", got)
	}
}

// results has each level.
var results = []Result{
	{Name: "memory", Level: health.OK, Found: "Enough."},
	{Name: "s3:PutObject", Target: "b/v1/", Level: health.Error, Found: "PutObject\x1b[31m failed.", Remedy: "Do this.", Detail: "two\nlines"},
	{Name: "clock", Level: health.Warning, Found: "Off.", Remedy: "Set it."},
	{Name: "files", Level: health.Unknown, Found: "Not here."},
}

func TestWriteTable(t *testing.T) {
	const table = `CHECK               STATUS   FOUND
memory              ok       Enough.
s3:PutObject b/v1/  error    PutObject\x1b[31m failed.
                             To do: Do this.
                             Log: two lines
clock               warning  Off.
                             To do: Set it.
files               unknown  Not here.
`
	var plainText, coloured strings.Builder
	if err := errors.Join(WriteTable(&plainText, results, false), WriteTable(&coloured, results, true)); err != nil {
		t.Fatal(err)
	}
	if plainText.String() != table {
		t.Errorf("got\n%s\nwant\n%s", plainText.String(), table)
	}
	if want := strings.NewReplacer("ok     ", green+"ok     "+plain, "error  ", red+"error  "+plain, "warning", yellow+"warning"+plain).Replace(table); coloured.String() != want {
		t.Errorf("coloured:\n%q\nwant\n%q", coloured.String(), want)
	}
}

func TestWriteJSON(t *testing.T) {
	var text strings.Builder
	if err := WriteJSON(&text, results); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Status string
		Checks []map[string]string
	}
	if err := json.Unmarshal([]byte(text.String()), &got); err != nil {
		t.Fatal(err)
	}
	if got.Status != "error" || len(got.Checks) != 4 || got.Checks[1]["target"] != "b/v1/" || got.Checks[2]["status"] != "warning" || len(got.Checks[0]) != 3 {
		t.Errorf("%s", text.String())
	}
	text.Reset()
	if err := WriteJSON(&text, results[3:]); err != nil || !strings.Contains(text.String(), `"status": "ok",`) {
		t.Errorf("nothing is known to be wrong: %s, error %v", text.String(), err)
	}
}

func TestFailed(t *testing.T) {
	if err := Failed(results[2:]); err != nil {
		t.Errorf("warnings: %v", err)
	}
	for n, says := range map[int]string{1: "one check has failed", 2: "2 checks have failed"} {
		var errs []Result
		for range n {
			errs = append(errs, results[1])
		}
		if err := Failed(errs); err == nil || err.Error() != says {
			t.Errorf("%d errors: %v", n, err)
		}
	}
}

// What is wrong with the tokens is an error if nobody can upload, or anybody could.
func TestTokens(t *testing.T) {
	down := &tokens.AskError{Result: tokens.Failed, Reason: "HTTP 502"}
	usable := tokens.Status{Usable: 1, Uses: make([]tokens.Use, 2)}
	for _, c := range []struct {
		name     string
		tokens   Tokens
		upstream string
		level    health.Level
		found    string
	}{
		{"well", Tokens{Status: usable, Mode: 0o600}, "", health.OK, "1 of 2 tokens may upload."},
		{"none", Tokens{}, "", health.Error, "0 of 0 tokens may upload. Every upload gets a 403."},
		{"no file", Tokens{Err: fs.ErrNotExist}, "", health.Error, "file does not exist."},
		{"soon", Tokens{Status: usable, Expiring: "Soon."}, "", health.Warning, "1 of 2 tokens may upload. Soon."},
		{"readable", Tokens{Status: usable, Mode: 0o644}, "", health.Warning, "1 of 2 tokens may upload. Everybody on this machine may read the file (mode 0644), and so who has tokens."},
		{"writable", Tokens{Status: usable, Mode: 0o602}, "", health.Error, "1 of 2 tokens may upload. Everybody on this machine may change the file (mode 0602), and so add tokens."},
		{"only an upstream", Tokens{}, "https://x", health.OK, "0 of 0 tokens may upload. The server of --tokens-upstream answers."},
		{"only an upstream, down", Tokens{Upstream: down}, "https://x", health.Error, "0 of 0 tokens may upload. The server of --tokens-upstream cannot be asked: HTTP 502."},
		{"and an upstream, down", Tokens{Status: usable, Upstream: down}, "https://x", health.Warning, "1 of 2 tokens may upload. The server of --tokens-upstream cannot be asked: HTTP 502."},
	} {
		r := c.tokens.Result(&settings.Serve{TokensFile: "t", TokensUpstream: c.upstream})
		if r.Level != c.level || r.Found != c.found || (r.Remedy == "") != (c.level == health.OK || c.name == "soon") {
			t.Errorf("%s: %+v, want %v and %q", c.name, r, c.level, c.found)
		}
	}
}
