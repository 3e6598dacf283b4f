package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spillway/testdata/client"
)

// A bad setting ends the start with one line that names the flag.
func TestBadSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args, says string
	}{
		{"", "--s3-bucket is required"},
		{"--s3-bucket=b", "--tokens-file is required"},
		{"--s3-bucket=b --tokens-upstream=symbols.example.com", "--tokens-upstream: it is not a URL"},
		{"--s3-bucket=b --tokens-upstream=ftp://symbols.example.com", "--tokens-upstream: it is not a URL"},
		{"--s3-bucket=b --tokens-upstream=https://", "--tokens-upstream: it is not a URL"},
		{"--s3-bucket=b --tokens-upstream=https://:443", "--tokens-upstream: it is not a URL"},
		{"--s3-bucket=b --tokens-upstream=https://symbols.example.com?a=b", "--tokens-upstream: it must have no user, password, query or fragment"},
		{"--s3-bucket=b --tokens-upstream=https://symbols.example.com/upload/auth_info/", "--tokens-upstream: it must be the URL of the server"},
		{"--s3-bucket=b --tokens-upstream=https://symbols.example.com/upload", "--tokens-upstream: it must be the URL of the server"},
		{"--s3-bucket=b --tokens-upstream=http://symbols.example.com", "--tokens-upstream: it must be https"},
		{"--s3-bucket=b --tokens-upstream=http://10.0.0.1:8000", "--tokens-upstream: it must be https"},
		{"--s3-bucket=b --tokens-upstream=http://localhost.example.com", "--tokens-upstream: it must be https"},
		{"--dev --listen=:8000", `--listen: ":8000" is not a loopback address`},
		{"--dev --admin-listen=0.0.0.0:8001", `--admin-listen: "0.0.0.0:8001" is not a loopback address`},
		{"--dev --dev-s3-listen=192.0.2.1:9000", `--dev-s3-listen: "192.0.2.1:9000" is not a loopback address`},
		{"--dev --listen=0.0.0.0:8000", "--listen: "},
		{"--dev --listen=example.com:8000", "--listen: "},
		{"--dev --listen=8000", `--listen: "8000" is not an address`},
		{"--dev --trusted-proxies=10.0.0.0/8,proxy", `--trusted-proxies: "proxy" is not an address range such as 10.0.0.0/8`},
		{"--dev --trusted-proxies=10.0.0.0/33", "--trusted-proxies: "},
		{"--dev --trusted-proxies=fe80::1%eth0", "--trusted-proxies: "},
		{"--dev --trusted-proxies=10.0.0.1/8", `--trusted-proxies: "10.0.0.1/8" is not the start of a range: 10.0.0.0/8 is`},
		{"--dev --trusted-proxies=::ffff:10.0.0.0/104", `--trusted-proxies: "::ffff:10.0.0.0/104" is a range of IPv4 addresses`},
		{"--dev --trusted-proxies=0.0.0.0/0", `--trusted-proxies: "0.0.0.0/0" are all addresses`},
		{"--dev --trusted-proxies=::/0", `--trusted-proxies: "::/0" are all addresses`},
		{"--dev --dev-s3-listen=0.0.0.0:9000", "--dev-s3-listen: "},
		{"--dev --s3-endpoint=localhost:9000", "--s3-endpoint: "},
		{"--dev --s3-prefix=", "--s3-prefix: it is empty, so Spillway would abort old multipart uploads in the whole bucket"},
		{"--dev --s3-try-prefix=", "--s3-try-prefix: it is empty"},
		{"--dev --s3-prefix=v1", `--s3-prefix: "v1" does not end in /, so Spillway would abort old multipart uploads under all keys that start with it. Write it as "v1/"`},
		{"--dev --s3-try-prefix=try/v1", `--s3-try-prefix: "try/v1" does not end in /`},
		{"--dev --s3-prefix=/", `--s3-prefix: "/" is not a folder such as v1/`},
		{"--dev --s3-prefix=/v1/", `--s3-prefix: "/v1/" is not a folder such as v1/`},
		{"--dev --s3-prefix=v1//", "--s3-prefix: "},
		{"--dev --s3-prefix=./", "--s3-prefix: "},
		{"--dev --s3-prefix=../v1/", "--s3-prefix: "},
		{"--dev --s3-try-prefix=v1/", `--s3-try-prefix: "v1/" is also --s3-prefix`},
		{"--dev --s3-try-bucket=symbols --s3-try-prefix=v1/", `--s3-try-prefix: "v1/" is also --s3-prefix`},
		{"--dev --receipts-prefix=receipts", `--receipts-prefix: "receipts" does not end in /. Write it as "receipts/"`},
		{"--dev --receipts-prefix=/", `--receipts-prefix: "/" is not a folder such as receipts/`},
		{"--dev --receipts-prefix=a/../b/", `--receipts-prefix: "a/../b/" is not a folder`},
		{"--dev --receipts-prefix=v1/", `--receipts-prefix: "v1/" and --s3-prefix, "v1/", overlap`},
		{"--dev --receipts-prefix=v1/receipts/", `--receipts-prefix: "v1/receipts/" and --s3-prefix, "v1/", overlap`},
		{"--dev --receipts-prefix=try/", `--receipts-prefix: "try/" and --s3-try-prefix, "try/v1/", overlap`},
		{"--dev --receipts-prefix=" + strings.Repeat("r", 200) + "/", "--receipts-prefix: it has 201 bytes"},
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
		{"--s3-bucket=b --tokens-file=t --tls-cert=c.pem", "--tls-cert and --tls-key must be set together"},
		{"--dev --tls-cert=c.pem --tls-key=k.pem", "--tls-cert: --dev serves plain http only"},
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
		{"--dev --download-domains=https://artifacts.example.com", "--download-domains: "},
		{"--dev --download-domains=a.example.com,*.example.com", "--download-domains: \"*.example.com\" is not a host name"},
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
			t.Parallel()
			status, stdout, stderr := runProgram(client.Within(t), t, nil, strings.Fields(c.args)...)
			line, end, _ := strings.Cut(stderr, "\n")
			if status != 2 || !strings.HasPrefix(line, "spillway: ") || !strings.Contains(line, c.says) || end != "" || stdout != "" {
				t.Errorf("status %d, stderr %q, stdout %q; want 2 and one line that says %q", status, stderr, stdout, c.says)
			}
		})
	}
	t.Run("variable", func(t *testing.T) {
		status, _, stderr := runProgram(client.Within(t), t, []string{"SPILLWAY_MEMORY=lots"}, "--dev")
		if status != 2 || !strings.Contains(stderr, "--memory") {
			t.Errorf("status %d, stderr %q, want 2 and a line that names --memory", status, stderr)
		}
	})
}

// The error for a bad setting that may contain a secret does not show its value.
func TestBadSettingsKeepTheirSecrets(t *testing.T) {
	t.Parallel()
	if _, err := checked(); err != nil { // builds the program, which may take longer than the timeout below
		t.Fatal(err)
	}
	const dev = "--dev --listen=127.0.0.1:0 --admin-listen=127.0.0.1:0 --dev-s3-listen=127.0.0.1:0"
	file := filepath.Join(t.TempDir(), "tokens.json")
	if err := os.WriteFile(file, []byte(`{"tokens":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	sentry := func(dsn string) []string { return []string{"SENTRY_DSN=" + dsn} }
	for _, c := range []struct {
		name, args string
		env        []string
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
		{"endpoint with a password", dev + " --s3-endpoint=http://user:SECRET@s3.example.com", nil, 2, "--s3-endpoint: it contains a user or password"},
		{"upstream with a password", dev + " --tokens-upstream=https://user:SECRET@symbols.example.com", nil, 2, "--tokens-upstream: it must have no user"},
		{"upstream, a word for a port", dev + " --tokens-upstream=https://user:SECRET@symbols.example.com:port", nil, 2, "--tokens-upstream: it is not a URL"},
		{"token for a digest", "token revoke --tokens-file=" + file + " SECRET", nil, 1, "no token has a digest with this prefix"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			// A program that accepts the setting serves until the context ends.
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			status, stdout, stderr := runProgram(ctx, t, c.env, strings.Fields(c.args)...)
			line, end, _ := strings.Cut(stderr, "\n")
			if status != c.status || !strings.HasPrefix(line, "spillway: "+c.says) || end != "" || stdout != "" {
				t.Errorf("status %d, stderr %q, stdout %q; want %d and one line that begins with %q", status, stderr, stdout, c.status, c.says)
			}
			if strings.Contains(stderr, "SECRET") {
				t.Errorf("the secret is in %q", stderr)
			}
		})
	}
}

func TestBadSentryDSN(t *testing.T) {
	t.Parallel()
	_, stderr := command(t, 2, "--dev", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--sentry-dsn=nonsense")
	if !strings.HasPrefix(stderr, "spillway: --sentry-dsn: ") {
		t.Errorf("said: %s", stderr)
	}
}
