package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/s3server"
)

// raceVariable is the environment variable that makes the tests build the program with the
// race detector.
const raceVariable = "SPILLWAY_RACE"

var (
	// checked is the program with the race detector, if raceVariable asks for it.
	checked = sync.OnceValues(func() (string, error) {
		if os.Getenv(raceVariable) == "" {
			return released()
		}
		return build("checked", "-race")
	})

	// released is the program without the race detector, which takes several times the memory
	// and the CPU. Tests that measure those start this one.
	released = sync.OnceValues(func() (string, error) { return build("released") })
)

func build(name string, flags ...string) (string, error) {
	folder := filepath.Join(built, name)
	if err := os.Mkdir(folder, 0o700); err != nil {
		return "", err
	}
	return daemon.Build(context.Background(), folder, flags...)
}

// start starts the program on a free port, with env added to the environment. It ends
// with the test. A data race or a panic fails the test.
func start(t *testing.T, env []string, args ...string) *daemon.Daemon {
	t.Helper()
	return launch(t, checked, env, args)
}

// startMeasured is start for tests that measure what the program takes.
func startMeasured(t *testing.T, env []string, args ...string) *daemon.Daemon {
	t.Helper()
	return launch(t, released, env, args)
}

func launch(t *testing.T, program func() (string, error), env, args []string) *daemon.Daemon {
	t.Helper()
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemon.Start(t.Context(), binary, env, append(args, "--listen=127.0.0.1:0", "--log-format=json")...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		log := d.Log()
		panicked := strings.Count(log, `"msg":"panic"`) > strings.Count(log, "a test error, raised on request")
		if t.Failed() || panicked || strings.Contains(log, "DATA RACE") {
			t.Errorf("the end of the log:\n%s", log[max(0, len(log)-20_000):])
		}
	})
	return d
}

// system is a running program and the bucket that it stores into.
type system struct {
	*daemon.Daemon
	client.Bucket
}

// stores are the kinds of S3 servers that the program is tested with.
var stores = []struct {
	name  string
	start func(t *testing.T, args ...string) system
}{
	{"embedded", startEmbedded},
	{"versitygw", startBeside},
}

// startEmbedded starts the program with its own S3 server.
func startEmbedded(t *testing.T, args ...string) system {
	t.Helper()
	d := start(t, nil, append([]string{"--dev", "--dev-s3-listen=127.0.0.1:0"}, args...)...)
	return system{d, client.Bucket{Store: s3server.NewClient(d.S3, "any", "any"), BucketName: "symbols"}}
}

// startBeside starts the program and a real S3 server.
func startBeside(t *testing.T, args ...string) system {
	t.Helper()
	return newBackend(t).start(t, checked, args...)
}

// startMeasuredBeside is startBeside for tests that measure what the program takes.
func startMeasuredBeside(t *testing.T, args ...string) system {
	t.Helper()
	return newBackend(t).start(t, released, args...)
}

// startWithTokens starts the program as in production, without --dev: with a tokens file and
// a real S3 server.
func startWithTokens(t *testing.T, file string, args ...string) system {
	t.Helper()
	b := newBackend(t)
	return system{start(t, b.credentials(), append(b.flags(file), args...)...), b.Bucket}
}

// noStore are the flags of a program that needs no store, because its test stores
// nothing.
var noStore = []string{"--dev", "--s3-endpoint=http://127.0.0.1:1"}

// startMeasuredAlone starts the program without a store, for tests that measure what the
// program takes.
func startMeasuredAlone(t *testing.T, args ...string) *daemon.Daemon {
	t.Helper()
	return startMeasured(t, nil, append(noStore, args...)...)
}

// startHTTPS is startMeasuredAlone with https, and with no token.
func startHTTPS(t *testing.T, args ...string) *daemon.Daemon {
	t.Helper()
	cert, key := client.SelfSigned(t)
	tokens := filepath.Join(t.TempDir(), "tokens.json")
	if err := os.WriteFile(tokens, []byte(`{"tokens": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startMeasured(t, []string{"AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x"}, append([]string{
		"--s3-endpoint=http://127.0.0.1:1", "--s3-bucket=b", "--s3-region=r", "--tokens-file=" + tokens, "--tls-cert=" + cert, "--tls-key=" + key,
	}, args...)...)
	d.API = strings.Replace(d.API, "http:", "https:", 1)
	return d
}

// backend is a real S3 server and a bucket in it. Several programs can share it.
type backend struct {
	*s3server.Server
	client.Bucket
}

func newBackend(t *testing.T) backend {
	t.Helper()
	return newBackendOf(t, s3server.Versitygw)
}

// newBackendOf is newBackend with a server of that kind.
func newBackendOf(t *testing.T, k s3server.Kind) backend {
	t.Helper()
	server := k.Start(t)
	return backend{server, client.Bucket{Store: server.Client, BucketName: server.Bucket(t)}}
}

func (b backend) start(t *testing.T, program func() (string, error), args ...string) system {
	t.Helper()
	d := launch(t, program, b.credentials(), append([]string{"--dev", "--s3-endpoint=" + b.Endpoint, "--s3-bucket=" + b.BucketName}, args...))
	return system{d, b.Bucket}
}

// credentials are the environment variables with the server's credentials.
func (b backend) credentials() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + b.AccessKey, "AWS_SECRET_ACCESS_KEY=" + b.SecretKey}
}

// flags are those of a program without --dev.
func (b backend) flags(tokensFile string) []string {
	return []string{
		"--tokens-file=" + tokensFile, "--s3-bucket=" + b.BucketName, "--s3-region=" + s3server.Region, "--s3-endpoint=" + b.Endpoint, "--s3-path-style",
	}
}
