package e2e

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/s3fault"
	"spillway/testdata/s3quirk"
)

// checkReport is what the command check prints as JSON.
type checkReport struct {
	Status string
	Checks []checkRow
}

type checkRow struct {
	Name, Target, Status, Found, Remedy, Detail string
}

// failing returns the rows that are not ok and whose name begins with that.
func (r checkReport) failing(name string) []checkRow {
	return slices.DeleteFunc(slices.Clone(r.Checks), func(c checkRow) bool {
		return c.Status == "ok" || !strings.HasPrefix(c.Name, name)
	})
}

// row returns the only row of that name.
func (r checkReport) row(t *testing.T, name string) checkRow {
	t.Helper()
	rows := slices.DeleteFunc(slices.Clone(r.Checks), func(c checkRow) bool { return c.Name != name })
	if len(rows) != 1 {
		t.Fatalf("%d rows of %q in %+v", len(rows), name, r)
	}
	return rows[0]
}

// runCheck runs the command check and returns its report.
func runCheck(t *testing.T, env []string, args ...string) (status int, r checkReport) {
	t.Helper()
	return startCheck(t, env, args...)()
}

// startCheck starts the command check. The returned function waits for it and returns its exit
// status and its report. The status and standard error have to agree with the report.
func startCheck(t *testing.T, env []string, args ...string) func() (status int, r checkReport) {
	t.Helper()
	var stdout, stderr string
	var status int
	var err error
	ctx := client.Within(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		status, stdout, stderr, err = execute(ctx, env, append([]string{"check", "--json"}, args...)...)
	}()
	return func() (int, checkReport) {
		t.Helper()
		<-done
		if err != nil {
			t.Fatal(err)
		}
		var r checkReport
		if err := json.Unmarshal([]byte(stdout), &r); err != nil {
			t.Fatalf("status %d, %q, %q: %v", status, stdout, stderr, err)
		}
		want, says := statusDone, ""
		if r.Status == "error" {
			want, says = statusFailed, "failed"
		}
		if status != want || !strings.Contains(stderr, says) || says == "" && stderr != "" {
			t.Errorf("status %d with %q, and the report says %q", status, stderr, r.Status)
		}
		return status, r
	}
}

// flagsFor are the flags and the environment of a program without --dev, with a token.
func (b backend) flagsFor(t *testing.T) (env, flags []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokens.json")
	command(t, 0, "token", "create", "--tokens-file="+file, "--email=a@example.com")
	return b.credentials(), append(b.flags(file), "--spill-dir="+t.TempDir())
}

// TestCheckIsGreen: with everything right, the check says so beside a running instance, with its
// flags. It leaves nothing, and disturbs no upload.
func TestCheckIsGreen(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	env, flags := b.flagsFor(t)
	token, _ := command(t, 0, "token", "create", "--tokens-file="+tokensFileOf(flags), "--email=b@example.com", "--permission=upload_symbols")
	d := start(t, env, flags...)
	flags = append(flags, "--listen="+strings.TrimPrefix(d.API, "http://"), "--admin-listen="+strings.TrimPrefix(d.Admin, "http://"))
	for range 2 {
		if status, r := runCheck(t, env, flags...); status != statusDone || r.Status != "ok" || len(r.Checks) < 15 {
			t.Errorf("status %d: %+v", status, r)
		}
	}
	if keys, uploads := b.Keys(t), b.Store.Uploads(t, b.BucketName); len(keys)+len(uploads) > 0 {
		t.Errorf("left: %q and %v", keys, uploads)
	}
	files := archive.Samples(1)
	client.MustSend(t, d.API, strings.TrimSpace(token), archive.PythonZipfile(files...))
	b.WantStored(t, "v1/", files)

	status, table, stderr := runProgram(client.Within(t), t, env, append([]string{"check"}, flags...)...)
	if lines := strings.Split(table, "\n"); status != statusDone || stderr != "" || !strings.HasPrefix(lines[0], "CHECK ") || strings.Contains(table, "\x1b") ||
		!slices.ContainsFunc(lines, func(l string) bool {
			return strings.HasPrefix(l, "s3:ListBucket "+b.BucketName+"/try/v1/ ") && strings.Contains(l, " ok ")
		}) {
		t.Errorf("status %d, %q:\n%s", status, stderr, table)
	}
}

// tokensFileOf returns the tokens file in flags.
func tokensFileOf(flags []string) string {
	for _, f := range flags {
		if file, ok := strings.CutPrefix(f, "--tokens-file="); ok {
			return file
		}
	}
	return ""
}

// TestCheckOfDev: the check takes --dev, and its S3 server, beside an instance of it.
func TestCheckOfDev(t *testing.T) {
	t.Parallel()
	s := startEmbedded(t)
	status, r := runCheck(t, nil, "--dev", "--spill-dir="+t.TempDir(), "--dev-s3-listen="+strings.TrimPrefix(s.S3, "http://"))
	if status != statusDone || len(r.failing("s3")) > 0 || len(r.Checks) < 15 {
		t.Errorf("status %d: %+v", status, r)
	}
}

// TestCheckNamesTheMissingPermission: credentials that lack one action fail that one only, by
// its name.
func TestCheckNamesTheMissingPermission(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	env, flags := b.flagsFor(t)
	for action, level := range map[string]string{
		"s3:PutObject": "error", "s3:GetObject": "error", "s3:ListBucket": "error", "s3:AbortMultipartUpload": "error",
		"s3:ListBucketMultipartUploads": "error", "s3:DeleteObject": "warning",
	} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			proxy := s3quirk.Before(t, b.Client, s3quirk.Denies(action, "try/"))
			_, r := runCheck(t, env, append(flags, "--s3-endpoint="+proxy)...)
			failing := slices.DeleteFunc(r.failing("s3"), func(c checkRow) bool { return c.Status == "unknown" })
			if len(failing) != 1 || r.Status != level {
				t.Fatalf("%s: %+v", r.Status, failing)
			}
			if f := failing[0]; f.Name != action || f.Target != b.BucketName+"/try/v1/" || f.Status != level ||
				!strings.Contains(f.Found, "failed: AccessDenied.") || !strings.Contains(f.Remedy, "this needs "+action) || !strings.Contains(f.Detail, "Access") {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestCheckOfTheClock has a store whose clock is off.
func TestCheckOfTheClock(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	env, flags := b.flagsFor(t)
	for off, want := range map[time.Duration]checkRow{
		0:                {Status: "ok", Found: "agrees"},
		-5 * time.Minute: {Status: "warning", Found: "is 5m", Remedy: "NTP"},
		5 * time.Minute:  {Status: "warning", Found: "behind S3's", Remedy: "NTP"},
	} {
		proxy := s3quirk.Before(t, b.Client, s3quirk.Clock(off))
		_, r := runCheck(t, env, append(flags, "--s3-endpoint="+proxy)...)
		if c := r.row(t, "clock"); c.Status != want.Status || !strings.Contains(c.Found, want.Found) || !strings.Contains(c.Remedy, want.Remedy) {
			t.Errorf("off by %v: %+v", off, c)
		}
	}
}

// TestCheckOfTokensFiles has tokens files with something wrong.
func TestCheckOfTokensFiles(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	env, flags := b.flagsFor(t)
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), name)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, err := os.ReadFile(tokensFileOf(flags))
	if err != nil {
		t.Fatal(err)
	}
	expired := strings.ReplaceAll(string(good), `"expires_at": "2`, `"expires_at": "1`)
	soon := filepath.Join(t.TempDir(), "soon.json")
	command(t, 0, "token", "create", "--tokens-file="+soon, "--email=a@example.com", "--expires-in=48h")
	for name, c := range map[string]struct{ file, status, found, remedy string }{
		"missing":         {"/no/such/tokens.json", "error", "no such file or directory", "spillway token create"},
		"garbage":         {write("t", "garbage", 0o600), "error", "invalid character", "Fix the file"},
		"a folder":        {t.TempDir(), "error", "not a regular file", "Fix the file"},
		"none":            {write("t", `{"tokens":[]}`, 0o600), "error", "0 of 0 tokens may upload", "spillway token create"},
		"expired":         {write("t", expired, 0o600), "error", "0 of 1 tokens may upload", "spillway token create"},
		"expires soon":    {soon, "warning", "1 token expires within 30 days", ""},
		"readable by all": {write("t", string(good), 0o644), "warning", "may read the file (mode 0644)", "chmod o="},
		"writable by all": {write("t", string(good), 0o666), "error", "may change the file (mode 0666)", "chmod o="},
		"of a group":      {write("t", string(good), 0o660), "ok", "1 of 1 tokens may upload", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, r := runCheck(t, env, append(flags, "--tokens-file="+c.file)...)
			if k := r.row(t, "tokens"); k.Status != c.status || !strings.Contains(k.Found, c.found) || !strings.Contains(k.Remedy, c.remedy) || c.status == "ok" && k.Remedy != "" {
				t.Errorf("%+v", k)
			}
			if len(r.failing("s3")) > 0 {
				t.Errorf("the store was not checked: %+v", r.failing("s3"))
			}
		})
	}
}

// TestCheckOfBadSettings: settings that can never work end the check as they end the start.
// Those that the machine contradicts are rows, beside the others.
func TestCheckOfBadSettings(t *testing.T) {
	t.Parallel()
	_, stderr := command(t, statusUsage, "check", "--dev", "--memory=1MiB")
	if !strings.HasPrefix(stderr, "spillway: --memory: ") {
		t.Errorf("said %q", stderr)
	}
	for name, c := range map[string]struct{ arg, row, says string }{
		"certificate": {"--tls-cert=/no/cert.pem --tls-key=/no/key.pem", "settings", "--tls-cert, --tls-key"},
		"Sentry":      {"--sentry-dsn=nonsense", "settings", "--sentry-dsn"},
		"region":      {"--s3-region=", "s3", "no region"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBackend(t)
			env, flags := b.flagsFor(t)
			env = append(env, "AWS_REGION=", "AWS_DEFAULT_REGION=", "AWS_CONFIG_FILE=/dev/null")
			_, r := runCheck(t, env, append(flags, strings.Fields(c.arg)...)...)
			if row := r.row(t, c.row); row.Status != "error" || !strings.Contains(row.Found, c.says) || !strings.Contains(row.Remedy, "the start would fail") {
				t.Errorf("%+v", row)
			}
			if k := r.row(t, "tokens"); k.Status != "ok" {
				t.Errorf("%+v", k)
			}
		})
	}
}

// TestCheckThatIsInterrupted: a signal while a part is being sent ends the check, which aborts its
// uploads and deletes its objects first.
func TestCheckThatIsInterrupted(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	proxy, err := s3fault.NewProxy(b.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	once := sync.OnceFunc(func() { close(sent) })
	proxy.InjectSome(func(call string) *s3fault.Fault {
		if !strings.HasPrefix(call, "UploadPart ") {
			return nil
		}
		once()
		return &s3fault.Fault{Kind: s3fault.Timeout}
	})
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	binary, err := checked()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(client.Within(t), binary, "check", "--dev", "--s3-endpoint="+front.URL, "--s3-bucket="+b.BucketName, "--spill-dir="+t.TempDir())
	c.Env = append(os.Environ(), b.credentials()...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	<-sent
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // the status says how it ended
	if status := c.ProcessState.ExitCode(); status != statusFailed {
		t.Errorf("status %d", status)
	}
	if keys, uploads := b.Keys(t), b.Store.Uploads(t, b.BucketName); len(keys)+len(uploads) > 0 {
		t.Errorf("left: %q and %v", keys, uploads)
	}
}
