package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// environment is a getenv over a map.
func environment(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

// parseServe parses and completes the settings of the serve command.
func parseServe(t *testing.T, env map[string]string, args ...string) (*serveSettings, error) {
	t.Helper()
	s, command, err := parse(args, environment(env), t.Output())
	if err != nil {
		return nil, err
	}
	if command != "serve" {
		t.Fatalf("command %q, want serve", command)
	}
	return &s.Serve, s.Serve.complete()
}

func TestDefaults(t *testing.T) {
	got, err := parseServe(t, nil, "--s3-bucket=b", "--tokens-file=t")
	if err != nil {
		t.Fatal(err)
	}
	want := &serveSettings{
		Listen: "127.0.0.1:8000", AdminListen: "127.0.0.1:8001", DevS3Listen: "127.0.0.1:9000",
		S3Bucket: "b", S3Prefix: "v1/", S3TryPrefix: "try/v1/", S3PartSize: 8 * mebibyte, S3Concurrency: 64,
		TokensFile: "t", SweepAge: 24 * time.Hour,
		SpillDir: os.TempDir(), SpillQuota: 4 * gibibyte, SpillUploadQuota: 2 * gibibyte, SpillMinFree: gibibyte,
		Memory: 256 * mebibyte, MaxUploadSize: 2 * gibibyte, MaxEntries: 20000, MaxExpandedSize: 48 * gibibyte,
		MaxUploads: 64, RoomWait: 30 * time.Second, IdleTimeout: time.Minute, UploadTimeout: 15 * time.Minute, DrainTimeout: time.Minute,
		GzipExtensions: []string{".sym"}, DisallowedSnippets: []string{"qcom/proprietary"},
		LogLevel: "info", LogFormat: "json",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDevNeedsNothingElse(t *testing.T) {
	for _, args := range [][]string{{"--dev"}, {"serve", "--dev"}} {
		s, err := parseServe(t, nil, args...)
		if err != nil {
			t.Fatal(err)
		}
		if s.S3Bucket != "symbols" || s.LogFormat != "console" || !s.embedded() || !s.S3PathStyle {
			t.Errorf("%v: %+v", args, s)
		}
	}
	s, err := parseServe(t, nil, "--dev", "--s3-endpoint=http://127.0.0.1:7070", "--log-format=json")
	if err != nil || s.embedded() || s.S3Bucket != "symbols" || s.LogFormat != "json" {
		t.Errorf("with an endpoint: %+v, error %v", s, err)
	}
}

// A flag counts more than its variable, and a variable more than the default.
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
	s, err := parseServe(t, nil, "--dev", "--gzip-extensions=", "--disallowed-snippets=")
	if err != nil || len(s.GzipExtensions) != 0 || len(s.DisallowedSnippets) != 0 {
		t.Errorf("emptied lists: %q and %q, error %v", s.GzipExtensions, s.DisallowedSnippets, err)
	}
	s, err = parseServe(t, nil, "--dev", "--disallowed-snippets=a b,c/d")
	if want := []string{"a b", "c/d"}; err != nil || !reflect.DeepEqual(s.DisallowedSnippets, want) {
		t.Errorf("snippets %q, want %q, error %v", s.DisallowedSnippets, want, err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]byteSize{
		"0": 0, "0MiB": 0, "1": 1, "4096": 4096, "64MiB": 64 << 20, "64mib": 64 << 20, "1.5GiB": 3 << 29, "5 GB": 5_000_000_000, "8M": 8_000_000,
	} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %d, want %d, error %v", text, got, want, err)
		}
	}
	for _, text := range []string{"", "-1", "MiB", "64 parsecs", "9999999999TiB", "16EiB"} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d, want an error", text, got)
		}
	}
	for size, want := range map[byteSize]string{0: "0", 1000: "1000", 1536: "1536", 5 << 20: "5MiB", 3 << 30: "3GiB", 2048: "2KiB"} {
		if got := size.String(); got != want {
			t.Errorf("%d is written %q, want %q", int64(size), got, want)
		}
	}
}

// A bad setting is one line that names the flag.
func TestBadSettings(t *testing.T) {
	for _, c := range []struct {
		args, says string
	}{
		{"", "--s3-bucket is required"},
		{"--s3-bucket=b", "--tokens-file is required"},
		{"--dev --listen=:8000", `--listen: ":8000" is not a loopback address`},
		{"--dev --listen=0.0.0.0:8000", "--listen: "},
		{"--dev --listen=example.com:8000", "--listen: "},
		{"--dev --listen=8000", `--listen: "8000" is not an address`},
		{"--dev --dev-s3-listen=0.0.0.0:9000", "--dev-s3-listen: "},
		{"--dev --s3-endpoint=localhost:9000", "--s3-endpoint: "},
		{"--dev --s3-prefix=", "--s3-prefix: it is empty, so that old unfinished multipart uploads of the whole bucket would be aborted"},
		{"--dev --s3-try-prefix=", "--s3-try-prefix: it is empty"},
		{"--dev --s3-prefix=v1", `--s3-prefix: "v1" does not end in /, so that old unfinished multipart uploads would be aborted under all keys that begin with it. Write it as "v1/"`},
		{"--dev --s3-try-prefix=try/v1", `--s3-try-prefix: "try/v1" does not end in /`},
		{"--dev --s3-prefix=/", `--s3-prefix: "/" is not a folder such as v1/`},
		{"--dev --s3-prefix=/v1/", `--s3-prefix: "/v1/" is not a folder such as v1/`},
		{"--dev --s3-prefix=v1//", "--s3-prefix: "},
		{"--dev --s3-prefix=./", "--s3-prefix: "},
		{"--dev --s3-prefix=../v1/", "--s3-prefix: "},
		{"--dev --s3-try-prefix=v1/", `--s3-try-prefix: "v1/" is --s3-prefix as well`},
		{"--dev --s3-try-bucket=symbols --s3-try-prefix=v1/", `--s3-try-prefix: "v1/" is --s3-prefix as well`},
		{"--dev --memory=29MiB", "--memory: "},
		{"--dev --memory=0", "--memory: "},
		{"--dev --memory=-1", "--memory: "},
		{"--dev --memory=lots", `"lots" is not a size such as 64MiB`},
		{"--dev --s3-part-size=5242879", "--s3-part-size: "},
		{"--dev --s3-part-size=6GiB", "--s3-part-size: "},
		{"--dev --max-expanded-size=79GiB", "--max-expanded-size: "},
		{"--dev --memory=30MiB --max-expanded-size=49GiB", "--max-expanded-size: "},
		{"--dev --max-expanded-size=0", "--max-expanded-size: "},
		{"--dev --max-upload-size=0", "--max-upload-size: "},
		{"--dev --max-entries=0", "--max-entries: "},
		{"--dev --max-entries=-5", "--max-entries: "},
		{"--dev --max-uploads=0", "--max-uploads: "},
		{"--dev --max-uploads=many", "--max-uploads"},
		{"--dev --s3-concurrency=0", "--s3-concurrency: "},
		{"--dev --room-wait=0s", "--room-wait: "},
		{"--dev --idle-timeout=-1s", "--idle-timeout: "},
		{"--dev --upload-timeout=0s", "--upload-timeout: "},
		{"--dev --drain-timeout=0s", "--drain-timeout: "},
		{"--dev --drain-timeout=60", "--drain-timeout"},
		{"--dev --max-token-uploads=-1", "--max-token-uploads: -1 is less than 0"},
		{"--dev --max-token-bytes=2GiB", "--max-token-bytes: 2GiB is less than the 2GiB of --max-upload-size and 1MiB for the form"},
		{"--dev --drain-delay=-1s", "--drain-delay: "},
		{"--s3-bucket=b --tokens-file=t --tls-cert=c.pem", "--tls-cert and --tls-key: one needs the other"},
		{"--dev --tls-cert=c.pem --tls-key=k.pem", "--tls-cert: --dev speaks plain http only"},
		{"--dev --sweep-age=29m59s", "--sweep-age: 29m59s is less than twice the 15m0s of --upload-timeout"},
		{"--dev --upload-timeout=13h", "--sweep-age: 24h0m0s is less than twice the 13h0m0s of --upload-timeout"},
		{"--s3-bucket=b --tokens-file=t --upload-timeout=15s --sweep-age=30s", "--sweep-age: 30s is less than 1h0m0s"},
		{"--s3-bucket=b --tokens-file=t --sweep-age=59m59s", "--sweep-age: 59m59s is less than 1h0m0s"},
		{"--dev --sweep-age=0s", "--sweep-age: "},
		{"--dev --sweep-age=-48h", "--sweep-age: "},
		{"--dev --sweep-age=a-day", "--sweep-age"},
		{"--dev --spill-quota=-1", "--spill-quota: "},
		{"--dev --spill-quota=none", `"none" is not a size such as 64MiB`},
		{"--dev --spill-upload-quota=-1GiB", "--spill-upload-quota: "},
		{"--dev --spill-upload-quota=0", "--spill-upload-quota: "},
		{"--dev --spill-min-free=-1", "--spill-min-free: "},
		{"--dev --spill-dir=/no/such/folder", `--spill-dir: "/no/such/folder" cannot be used: `},
		{"--dev --spill-dir=/dev/null", `--spill-dir: "/dev/null" cannot be used: `},
		{"--dev --gzip-extensions=sym", "--gzip-extensions: "},
		{"--dev --admin-hosts=spillway.example.com:8001", "--admin-hosts: "},
		{"--dev --log-level=loud", "--log-level"},
		{"--dev --log-format=xml", "--log-format"},
		{"--dev --no-such-flag", "--no-such-flag"},
		{"no-such-command", "no-such-command"},
		{"token", "--tokens-file"},
		{"token --tokens-file=t", "create"},
		{"token create --tokens-file=t", "--email"},
		{"token create --tokens-file=t --email=a@example.com --permission=all", "--permission"},
	} {
		t.Run(c.args, func(t *testing.T) {
			var stdout, stderr strings.Builder
			status := run(t.Context(), strings.Fields(c.args), environment(nil), &stdout, &stderr)
			line, end, _ := strings.Cut(stderr.String(), "\n")
			if status != 2 || !strings.HasPrefix(line, "spillway: ") || !strings.Contains(line, c.says) || end != "" || stdout.Len() != 0 {
				t.Errorf("status %d, stderr %q, stdout %q; want 2 and one line that says %q", status, &stderr, &stdout, c.says)
			}
		})
	}
	t.Run("variable", func(t *testing.T) {
		if _, err := parseServe(t, map[string]string{"SPILLWAY_MEMORY": "lots"}, "--dev"); err == nil || !strings.Contains(err.Error(), "--memory") {
			t.Errorf("error %v, want one that names --memory", err)
		}
	})
}

// Of a bad setting that may have a secret in it, the line says what is wrong and
// nothing of its value.
func TestBadSettingsKeepTheirSecrets(t *testing.T) {
	const dev = "--dev --listen=127.0.0.1:0 --admin-listen=127.0.0.1:0 --dev-s3-listen=127.0.0.1:0"
	file := filepath.Join(t.TempDir(), "tokens.json")
	if err := os.WriteFile(file, []byte(`{"tokens":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	sentry := func(dsn string) map[string]string { return map[string]string{"SENTRY_DSN": dsn} }
	for _, c := range []struct {
		name, args string
		env        map[string]string
		status     int
		says       string
	}{
		{"DSN, a word for a port", dev, sentry("https://key:SECRET@sentry.example.com:port/1"), 2, "--sentry-dsn: it is not a URL"},
		{"DSN, a space", dev, sentry("https://SECRET@sentry example.com/1"), 2, "--sentry-dsn: it is not a URL"},
		{"DSN without an @", dev, sentry("https://key:SECRETsentry.example.com/1"), 2, "--sentry-dsn: it is not a URL"},
		{"DSN, other scheme", dev, sentry("ftp://key:SECRET@sentry.example.com/1"), 2, "--sentry-dsn: [Sentry] DsnParseError: invalid scheme"},
		{"DSN without a project", dev, sentry("https://key:SECRET@sentry.example.com"), 2, "--sentry-dsn: [Sentry] DsnParseError: empty project id"},
		{"DSN on the command line", dev + " --sentry-dsn=https://key:SECRET@sentry.example.com:port/1", nil, 2, "--sentry-dsn: it is not a URL"},
		{"endpoint, other scheme", dev + " --s3-endpoint=ftp://user:SECRET@s3.example.com", nil, 2, "--s3-endpoint: it is not a URL"},
		{"endpoint, a word for a port", dev + " --s3-endpoint=http://user:SECRET@s3.example.com:port", nil, 2, "--s3-endpoint: it is not a URL"},
		{"endpoint with a password", dev + " --s3-endpoint=http://user:SECRET@s3.example.com", nil, 2, "--s3-endpoint: it has a user or password"},
		{"token for a digest", "token revoke --tokens-file=" + file + " SECRET", nil, 1, "no token has a digest that begins with what was given"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			// What is not refused is served until the context ends.
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			status := run(ctx, strings.Fields(c.args), environment(c.env), &stdout, &stderr)
			line, end, _ := strings.Cut(stderr.String(), "\n")
			if status != c.status || !strings.HasPrefix(line, "spillway: "+c.says) || end != "" || stdout.Len() != 0 {
				t.Errorf("status %d, stderr %q, stdout %q; want %d and one line that begins with %q", status, &stderr, &stdout, c.status, c.says)
			}
			if strings.Contains(stderr.String(), "SECRET") {
				t.Errorf("the secret is in %q", &stderr)
			}
		})
	}
}

// The edges of what is taken.
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
		"--dev --s3-try-bucket=try --s3-try-prefix=v1/",
		"--s3-bucket=b --tokens-file=t --listen=:8000",
		"--dev --tokens-file=t",
		"--dev --sweep-age=30m",
		"--s3-bucket=b --tokens-file=t --sweep-age=1h",
		"--dev --upload-timeout=1s --sweep-age=2s",
		"--dev --spill-quota=0 --spill-dir=/no/such/folder",
		"--dev --spill-quota=0 --spill-upload-quota=0 --spill-min-free=0",
		"--dev --spill-quota=1MiB --spill-upload-quota=1GiB --spill-min-free=0",
	} {
		if _, err := parseServe(t, nil, strings.Fields(args)...); err != nil {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// The help of the serve command says, of each of its flags, its name, default
// and variable.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}} {
		var stdout strings.Builder
		if _, _, err := parse(args, environment(nil), &stdout); !errors.Is(err, errHelp) {
			t.Fatalf("error %v, want errHelp", err)
		}
		text := strings.Join(strings.Fields(stdout.String()), " ")
		for _, want := range []string{
			"--s3-part-size=SIZE", "Default: 8MiB. $SPILLWAY_S3_PART_SIZE", "--dev ", "$SPILLWAY_DEV", "--room-wait=TIME",
			"Default: 30s. $SPILLWAY_ROOM_WAIT", "--gzip-extensions=LIST", "--spill-dir=PATH", "$SPILLWAY_SPILL_DIR",
			"Default: 4GiB. $SPILLWAY_SPILL_QUOTA", "Default: 24h. $SPILLWAY_SWEEP_AGE",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%v does not say %q:\n%s", args, want, stdout.String())
			}
		}
	}
}

// TestSentryDSN: Sentry's own variable counts where ours is not set.
func TestSentryDSN(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"":             {},
		"http://a@h/1": {"SENTRY_DSN": "http://a@h/1"},
		"http://b@h/1": {"SENTRY_DSN": "http://a@h/1", "SPILLWAY_SENTRY_DSN": "http://b@h/1"},
	} {
		s, err := parseServe(t, env, "--s3-bucket=b", "--tokens-file=t")
		if err != nil || s.SentryDSN != want {
			t.Errorf("with %v it is %q, error %v", env, s.SentryDSN, err)
		}
	}
	_, stderr := command(t, 2, "--dev", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--sentry-dsn=nonsense")
	if !strings.HasPrefix(stderr, "spillway: --sentry-dsn: ") {
		t.Errorf("said: %s", stderr)
	}
}
