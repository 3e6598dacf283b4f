package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/nightly"
	"spillway/testdata/s3server"
)

const receiptsFlag = "--receipts-prefix=receipts/"

// receipt is a receipt, as far as the tests look at it.
type receipt struct {
	ID            int64  `json:"id"`
	RequestID     string `json:"request_id"`
	User          string `json:"user"`
	Token         string `json:"token"`
	ClientAddress string `json:"client_address"`
	UserAgent     string `json:"user_agent"`
	Prefix        string `json:"prefix"`
	Bucket        string `json:"bucket"`
	Files         []struct {
		Key    string  `json:"key"`
		State  string  `json:"state"`
		CodeID *string `json:"code_id"`
	} `json:"files"`
}

// took is what spillway receipts says that it took.
type took struct{ listed, read, printed int }

var tookLine = regexp.MustCompile(`^(\d+) receipts in that time, (\d+) read, (\d+) printed\n$`)

// printReceipts runs spillway receipts.
func printReceipts(t *testing.T, b backend, args ...string) (stdout string, cost took) {
	t.Helper()
	args = slices.Concat([]string{"receipts", receiptsFlag}, b.flags("")[1:], args)
	status, stdout, stderr := runProgram(client.Within(t), t, b.credentials(), args...)
	said := tookLine.FindStringSubmatch(stderr)
	if status != statusDone || said == nil {
		t.Fatalf("spillway %v: status %d; %s", args, status, stderr)
	}
	for i, n := range []*int{&cost.listed, &cost.read, &cost.printed} {
		*n, _ = strconv.Atoi(said[i+1])
	}
	return stdout, cost
}

// askReceipts is printReceipts of JSON lines. Each must match the documented schema.
func askReceipts(t *testing.T, b backend, args ...string) (all []receipt, cost took) {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile("../docs/receipt.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	stdout, cost := printReceipts(t, b, args...)
	for line := range strings.Lines(stdout) {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err == nil {
			err = schema.Validate(value)
		}
		var r receipt
		if err == nil {
			err = json.Unmarshal([]byte(line), &r)
		}
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, r)
	}
	return all, cost
}

// startWithReceipts starts the program with two buckets, in which it leaves receipts.
func startWithReceipts(t *testing.T, k s3server.Kind, tokensFile string) (b backend, tryBucket string, s system) {
	t.Helper()
	b = newBackendOf(t, k)
	tryBucket = b.Client.Bucket(t)
	return b, tryBucket, system{start(t, b.credentials(), append(b.flags(tokensFile), receiptsFlag, "--s3-try-bucket="+tryBucket)...), b.Bucket}
}

// TestReceipts uploads to two buckets, with different tokens, and finds the uploads by each
// thing that they can be looked up by.
func TestReceipts(t *testing.T) {
	t.Parallel()
	s3server.Each(t, testReceipts)
}

func testReceipts(t *testing.T, k s3server.Kind) {
	file := filepath.Join(t.TempDir(), "tokens.json")
	regular, _ := command(t, 0, "token", "create", "--tokens-file="+file, "--email=ci@example.com")
	try, _ := command(t, 0, "token", "create", "--tokens-file="+file, "--email=try@example.com", "--permission=upload_try_symbols")
	regular, try = strings.TrimSpace(regular), strings.TrimSpace(try)
	b, tryBucket, s := startWithReceipts(t, k, file)
	send := func(token string, zip []byte) {
		t.Helper()
		body, contentType := client.Form(zip)
		req, err := http.NewRequestWithContext(client.Within(t), http.MethodPost, s.API+"/upload/", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Content-Type": contentType, "Auth-Token": token, "User-Agent": "builder/1.0", "X-Request-ID": "request-" + token[:4]} {
			req.Header.Set(name, value)
		}
		if a, err := client.RoundTrip(req); err != nil || a.Status != http.StatusCreated {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	one := archive.PythonZipfile(archive.File{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 20_000)}, archive.File{Name: "x-symbols.txt", Data: []byte("x")})
	two := archive.PythonZipfile(archive.File{Name: archive.SymbolsName(2), Data: archive.Symbols(2, 20_000)})
	send(regular, one)
	send(try, one)
	send(regular, one)
	send(regular, two)
	client.MustSend(t, s.API, regular, one[:len(one)/2]) // refused: it leaves nothing

	args := []string{"--s3-try-bucket=" + tryBucket}
	all, cost := askReceipts(t, b, args...)
	if len(all) != 4 || cost != (took{4, 4, 4}) {
		t.Fatalf("%d receipts, %+v", len(all), cost)
	}
	var code, debug string
	for i, r := range all {
		user, token, prefix, bucket := "ci@example.com", regular, "v1/", b.BucketName
		if i == 1 {
			user, token, prefix, bucket = "try@example.com", try, "try/v1/", tryBucket
		}
		if r.User != user || r.Token != digest(token)[:8] || r.RequestID != "request-"+token[:4] || r.Prefix != prefix || r.Bucket != bucket ||
			r.ClientAddress != "127.0.0.1" || r.UserAgent != "builder/1.0" || r.ID == 0 {
			t.Errorf("receipt %d: %+v", i, r)
		}
		state := "stored"
		if i == 2 {
			state = "skipped"
		}
		if r.Files[0].State != state || i < 3 && (len(r.Files) != 2 || r.Files[1].State != "ignored") {
			t.Errorf("receipt %d: %+v", i, r.Files)
		}
		if r.Files[0].CodeID != nil {
			code = *r.Files[0].CodeID
		}
	}
	debug = strings.Split(archive.SymbolsName(2), "/")[1]
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"--user=try@example.com"}, 1},
		{[]string{"--user=nobody@example.com"}, 0},
		{[]string{"--since=1h"}, 4},
		{[]string{"--since=1h", "--until=30m"}, 0},
		{[]string{"--until=2020-01-01"}, 0},
		{[]string{"--key=" + archive.SymbolsName(1)}, 3},
		{[]string{"--key=" + archive.SymbolsName(1), "--user=ci@example.com"}, 2},
		{[]string{"--debug-id=" + strings.ToLower(debug)}, 1},
		{[]string{"--code-id=" + code}, 1},
		{[]string{"--code-id=FEEDFACE"}, 0},
	} {
		found, cost := askReceipts(t, b, append(c.args, args...)...)
		if len(found) != c.want || cost.read != c.want || cost.printed != c.want {
			t.Errorf("%v: %d receipts, %+v, want %d", c.args, len(found), cost, c.want)
		}
		for _, r := range found {
			if len(c.args) == 1 && strings.Contains(c.args[0], "-id=") && len(r.Files) != 1 {
				t.Errorf("%v: %+v", c.args, r.Files)
			}
		}
	}
	table, _ := printReceipts(t, b, append(args, "--csv", "--debug-id="+debug)...)
	if rows, err := csv.NewReader(strings.NewReader(table)).ReadAll(); err != nil || len(rows) != 2 || !slices.Contains(rows[1], archive.SymbolsName(2)) {
		t.Errorf("%q: %v", rows, err)
	}
	for _, secret := range []string{regular, try, digest(regular), digest(try)} {
		if text, _ := printReceipts(t, b, args...); strings.Contains(text, secret) {
			t.Errorf("a receipt has %s", secret)
		}
	}
}

// Among 1,000 uploads, a look-up by code ID reads less than 1 %.
func TestLookUpByCodeID(t *testing.T) {
	t.Parallel()
	uploads := nightly.Pick(150, 1000)
	file := filepath.Join(t.TempDir(), "tokens.json")
	token, _ := command(t, 0, "token", "create", "--tokens-file="+file, "--email=ci@example.com")
	b := newBackend(t)
	d := start(t, b.credentials(), append(b.flags(file), receiptsFlag)...)
	var running sync.WaitGroup
	places := make(chan struct{}, 8)
	for i := range uploads {
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			zip := archive.Build(
				archive.Entry{Name: fmt.Sprintf("app%d.pdb/AB%dA/app.sym", i, i), Data: fmt.Appendf(nil, "MODULE windows x86 AB%dA app.pdb\nINFO CODE_ID C0DE%d app.exe\n", i, i), Method: archive.Deflate},
				archive.Entry{Name: fmt.Sprintf("app%d.exe/C0DE%d/app.ex_", i, i), Data: []byte("MZ")},
			)
			if a, err := client.SendWhole(client.Within(t), d.API, strings.TrimSpace(token), zip); err != nil || a.Status != http.StatusCreated {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	running.Wait()
	for _, wanted := range []int{0, uploads / 3, uploads - 1} {
		found, cost := askReceipts(t, b, fmt.Sprintf("--code-id=C0DE%d", wanted))
		if len(found) != 1 || len(found[0].Files) != 2 || cost.listed != uploads {
			t.Errorf("%+v, %+v", found, cost)
		}
		if cost.read > max(3, uploads/100) || uploads >= 1000 && cost.read >= uploads/100 {
			t.Errorf("%d of %d receipts were read", cost.read, cost.listed)
		}
		t.Logf("%d of %d receipts were read", cost.read, cost.listed)
	}
}

// A receipt costs one request, or two if it has many files.
func TestCostOfReceipts(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	s := system{launch(t, checked, b.credentials(), []string{"--dev", "--s3-endpoint=" + b.Endpoint, "--s3-bucket=" + b.BucketName, receiptsFlag}), b.Bucket}
	client.Get(t, s.API+"/__heartbeat__") // waits for the probe of the start
	const requests = `spillway_s3_requests_total\{operation="(\w+)",result="\w+"\}`
	for _, c := range []struct{ files, receipt int64 }{{3, 1}, {600, 2}} {
		var entries []archive.Entry
		for i := range c.files {
			entries = append(entries, archive.Entry{Name: fmt.Sprintf("m%d/%d/%d.dll", c.files, i, i), Data: []byte("x")})
		}
		for _, want := range []map[string]int64{
			{"HeadObject": c.files, "PutObject": c.files + c.receipt},
			{"HeadObject": c.files, "PutObject": c.receipt},
		} {
			before := counters(t, s.Admin, requests)
			if a := client.MustSend(t, s.API, "dev", archive.Build(entries...)); a.Status != http.StatusCreated {
				t.Fatalf("%+v", a)
			}
			got := since(before, counters(t, s.Admin, requests))
			delete(got, "ListMultipartUploads") // the janitor's
			if !maps.Equal(got, want) {
				t.Errorf("%d files: requests %v, want %v", c.files, got, want)
			}
		}
	}
}

// Settings that cannot be used stop the command with one line.
func TestReceiptsWithBadSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, "--s3-bucket is required"},
		{[]string{"--s3-bucket=b"}, "--receipts-prefix is required"},
		{[]string{"--s3-bucket=b", "--receipts-prefix=r"}, `Write it as "r/"`},
		{[]string{"--s3-bucket=b", receiptsFlag, "--since=yesterday"}, "is not a time such as"},
		{[]string{"--s3-bucket=b", receiptsFlag, "--since=1h", "--until=2h"}, "is not before --until"},
		{[]string{"--s3-bucket=b", receiptsFlag, "--s3-endpoint=x"}, "is not a URL"},
	} {
		if _, stderr := command(t, statusUsage, append([]string{"receipts"}, c.args...)...); !strings.Contains(stderr, c.says) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: %q", c.args, stderr)
		}
	}
	status, _, stderr := runProgram(client.Within(t), t, []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"},
		"receipts", "--s3-bucket=b", receiptsFlag, "--s3-endpoint=http://127.0.0.1:1", "--s3-region=r", "--s3-path-style")
	if status != 1 || !strings.Contains(stderr, "ListObjectsV2 of receipts/ failed: connection refused.") {
		t.Errorf("status %d: %s", status, stderr)
	}
}
