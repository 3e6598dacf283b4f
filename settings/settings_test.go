package settings

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// environment returns a getenv that reads a map.
func environment(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

// parseServe parses and completes the settings of the serve command.
func parseServe(t *testing.T, env map[string]string, args ...string) (*Serve, error) {
	t.Helper()
	s, command, err := Parse(args, environment(env), t.Output())
	if err != nil {
		return nil, err
	}
	if command != "serve" {
		t.Fatalf("command %q, want serve", command)
	}
	return &s.Serve, s.Serve.Complete()
}

func TestDefaults(t *testing.T) {
	got, err := parseServe(t, nil, "--s3-bucket=b", "--tokens-file=t")
	if err != nil {
		t.Fatal(err)
	}
	want := &Serve{
		Listen: "127.0.0.1:8000", AdminListen: "127.0.0.1:8001", DevS3Listen: "127.0.0.1:9000",
		Buckets: Buckets{S3Bucket: "b"}, S3Prefix: "v1/", S3TryPrefix: "try/v1/", S3PartSize: 8 * mebibyte, S3Concurrency: 64,
		TokensFile: "t", SweepAge: 24 * time.Hour,
		SpillDir: os.TempDir(), SpillQuota: 4 * gibibyte, SpillUploadQuota: 2 * gibibyte, SpillMinFree: gibibyte,
		Memory: 256 * mebibyte, MaxUploadSize: 2 * gibibyte, MaxEntries: 20000, MaxExpandedSize: 48 * gibibyte,
		MaxUploads: 64, RoomWait: 30 * time.Second, IdleTimeout: time.Minute, UploadTimeout: 15 * time.Minute, DrainTimeout: time.Minute,
		DownloadDomains: []string{"queue.taskcluster.net", "firefox-ci-tc.services.mozilla.com"},
		GzipExtensions:  []string{".sym"}, DisallowedSnippets: []string{"qcom/proprietary"},
		LogLevel: "info", LogFormat: "json",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDevNeedsNoOtherFlag(t *testing.T) {
	for _, args := range [][]string{{"--dev"}, {"serve", "--dev"}} {
		s, err := parseServe(t, nil, args...)
		if err != nil {
			t.Fatal(err)
		}
		if s.S3Bucket != "symbols" || s.LogFormat != "console" || !s.EmbeddedS3() || !s.S3PathStyle {
			t.Errorf("%v: %+v", args, s)
		}
	}
	s, err := parseServe(t, nil, "--dev", "--s3-endpoint=http://127.0.0.1:7070", "--log-format=json")
	if err != nil || s.EmbeddedS3() || s.S3Bucket != "symbols" || s.LogFormat != "json" {
		t.Errorf("with an endpoint: %+v, error %v", s, err)
	}
}

// A flag overrides its variable, and a variable the default.
func TestVariables(t *testing.T) {
	env := map[string]string{
		"SPILLWAY_DEV": "true", "SPILLWAY_MEMORY": "64MiB", "SPILLWAY_MAX_UPLOADS": "3", "SPILLWAY_ROOM_WAIT": "5s",
		"SPILLWAY_GZIP_EXTENSIONS": ".SYM,.txt", "SPILLWAY_IDLE_TIMEOUT": "",
	}
	s, err := parseServe(t, env, "--max-uploads=4")
	if err != nil {
		t.Fatal(err)
	}
	if !s.Dev || s.Memory != 64*mebibyte || s.MaxUploads != 4 || s.RoomWait != 5*time.Second || s.IdleTimeout != time.Minute {
		t.Errorf("%+v", s)
	}
	if want := []string{".sym", ".txt"}; !reflect.DeepEqual(s.GzipExtensions, want) {
		t.Errorf("extensions %q, want %q", s.GzipExtensions, want)
	}
}

func TestLists(t *testing.T) {
	s, err := parseServe(t, nil, "--dev", "--gzip-extensions=", "--disallowed-snippets=", "--download-domains=")
	if err != nil || len(s.GzipExtensions) != 0 || len(s.DisallowedSnippets) != 0 || len(s.DownloadDomains) != 0 {
		t.Errorf("empty lists: %q, %q and %q, error %v", s.GzipExtensions, s.DisallowedSnippets, s.DownloadDomains, err)
	}
	s, err = parseServe(t, nil, "--dev", "--disallowed-snippets=a b,c/d")
	if want := []string{"a b", "c/d"}; err != nil || !reflect.DeepEqual(s.DisallowedSnippets, want) {
		t.Errorf("snippets %q, want %q, error %v", s.DisallowedSnippets, want, err)
	}
	s, err = parseServe(t, nil, "--dev", "--trusted-proxies=10.0.0.0/8,,192.0.2.7,2001:db8::/32,::1")
	if got, want := fmt.Sprint(s.Proxies()), "[10.0.0.0/8 192.0.2.7/32 2001:db8::/32 ::1/128]"; err != nil || got != want {
		t.Errorf("proxies %s, want %s, error %v", got, want, err)
	}
	s, err = parseServe(t, nil, "--dev", "--trusted-proxies=")
	if err != nil || len(s.Proxies()) != 0 {
		t.Errorf("no proxies: %v, error %v", s.Proxies(), err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]ByteSize{
		"0": 0, "0MiB": 0, "1": 1, "4096": 4096, "64MiB": 64 << 20, "64mib": 64 << 20, "1.5GiB": 3 << 29, "5 GB": 5_000_000_000, "8M": 8_000_000,
	} {
		var got ByteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %d, error %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "MiB", "64 parsecs", "9999999999TiB", "16EiB"} {
		var got ByteSize
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
	for size, want := range map[ByteSize]string{0: "0", 1000: "1000", 1536: "1536", 5 << 20: "5MiB", 3 << 30: "3GiB", 2048: "2KiB"} {
		if got := size.String(); got != want {
			t.Errorf("%d: got %q, want %q", int64(size), got, want)
		}
	}
}

// Settings at the edge of what is accepted.
func TestGoodSettings(t *testing.T) {
	for _, args := range []string{
		"--dev --listen=[::1]:0",
		"--dev --listen=localhost:8000",
		"--dev --memory=30MiB",
		"--dev --s3-part-size=5MiB",
		"--dev --memory=40GiB --s3-part-size=5GiB",
		"--dev --max-expanded-size=78GiB",
		"--dev --s3-endpoint=http://127.0.0.1:1 --dev-s3-listen=0.0.0.0:9000",
		"--dev --s3-prefix=v1/ --s3-try-prefix=v1/try/",
		"--dev --s3-prefix=symbols/v1/ --s3-try-prefix=symbols/",
		"--dev --receipts-prefix=receipts/",
		"--dev --s3-prefix=a/v1/ --receipts-prefix=a/receipts/",
		"--dev --s3-try-bucket=try --s3-try-prefix=v1/",
		"--s3-bucket=b --tokens-file=t --listen=:8000",
		"--dev --tokens-file=t",
		"--s3-bucket=b --tokens-upstream=https://symbols.example.com",
		"--s3-bucket=b --tokens-file=t --tokens-upstream=https://symbols.example.com:8443/",
		"--s3-bucket=b --tokens-upstream=https://example.com/symbols",
		"--s3-bucket=b --tokens-upstream=http://127.0.0.2:8000",
		"--s3-bucket=b --tokens-upstream=http://[::1]:8000",
		"--s3-bucket=b --tokens-upstream=http://localhost:8000",
		"--dev --tokens-upstream=http://tecken:8000",
		"--dev --sweep-age=30m",
		"--s3-bucket=b --tokens-file=t --sweep-age=1h",
		"--dev --upload-timeout=1s --sweep-age=2s",
		"--dev --spill-quota=0 --spill-dir=/no/such/folder",
		"--dev --download-domains=artifacts.example.com,127.0.0.1",
		"--s3-bucket=b --tokens-file=t --download-any",
		"--dev --spill-quota=0 --spill-upload-quota=0 --spill-min-free=0",
		"--dev --spill-quota=1MiB --spill-upload-quota=1GiB --spill-min-free=0",
	} {
		if _, err := parseServe(t, nil, strings.Fields(args)...); err != nil {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// The help of the serve command has the name, the default and the variable of each flag.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}} {
		var stdout strings.Builder
		if _, _, err := Parse(args, environment(nil), &stdout); !errors.Is(err, ErrHelp) {
			t.Fatalf("error %v, want ErrHelp", err)
		}
		text := strings.Join(strings.Fields(stdout.String()), " ")
		for _, want := range []string{
			"--s3-part-size=SIZE", "Default: 8MiB. $SPILLWAY_S3_PART_SIZE", "--dev ", "$SPILLWAY_DEV", "--room-wait=TIME",
			"Default: 30s. $SPILLWAY_ROOM_WAIT", "--gzip-extensions=LIST", "--spill-dir=PATH", "$SPILLWAY_SPILL_DIR",
			"Default: 4GiB. $SPILLWAY_SPILL_QUOTA", "Default: 24h. $SPILLWAY_SWEEP_AGE",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%v: the help lacks %q:\n%s", args, want, stdout.String())
			}
		}
	}
}

// Each flag of serve belongs to a group of the help and of docs/configuration.md. A new flag
// has a tag such as group:"Storage:".
func TestEveryFlagHasAGroup(t *testing.T) {
	commands, err := Reference()
	if err != nil {
		t.Fatal(err)
	}
	if len(commands) == 0 || commands[0].Name != "serve" {
		t.Fatalf("the first command is not serve: %+v", commands)
	}
	for _, g := range commands[0].Groups {
		if g.Title == "" {
			t.Errorf("these have none: %+v", g.Flags)
		}
	}
}

// Sentry's own variable applies if ours is not set.
func TestSentryDSN(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"":             {},
		"http://a@h/1": {"SENTRY_DSN": "http://a@h/1"},
		"http://b@h/1": {"SENTRY_DSN": "http://a@h/1", "SPILLWAY_SENTRY_DSN": "http://b@h/1"},
	} {
		s, err := parseServe(t, env, "--s3-bucket=b", "--tokens-file=t")
		if err != nil || s.SentryDSN != want {
			t.Errorf("with %v: got %q, error %v", env, s.SentryDSN, err)
		}
	}
}
