// Package e2e runs the program as a process, as people do, and looks at it through
// HTTP, S3 and signals.
package e2e

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/s3server"
)

// built is where the program is built to.
var built string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "spillway-test-")
	if err != nil {
		panic(err)
	}
	built = folder
	status := m.Run()
	if err := os.RemoveAll(folder); err != nil {
		panic(err)
	}
	os.Exit(status)
}

// program is the program, built with the race detector if the tests are.
var program = sync.OnceValues(func() (string, error) {
	return daemon.Build(context.Background(), built, raceFlags...)
})

// system is a running Spillway and the S3 server behind it.
type system struct {
	*daemon.Daemon
	client.Bucket
}

// stores are the kinds of S3 servers that the program is tried with.
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
	d := start(t, nil, append([]string{"--dev", "--log-format=json", "--dev-s3-listen=127.0.0.1:0"}, args...)...)
	return system{d, client.Bucket{Store: s3server.NewClient(d.S3, "any", "any"), BucketName: "symbols"}}
}

// startBeside starts the program beside a real S3 server.
func startBeside(t *testing.T, args ...string) system {
	t.Helper()
	server := s3server.Start(t)
	name := server.Bucket(t)
	d := start(t, credentialsOf(server), append([]string{
		"--dev", "--log-format=json", "--s3-endpoint=" + server.Endpoint, "--s3-bucket=" + name,
	}, args...)...)
	return system{d, client.Bucket{Store: server.Client, BucketName: name}}
}

func credentialsOf(s *s3server.Server) []string {
	return []string{"AWS_ACCESS_KEY_ID=" + s.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.SecretKey}
}

// start starts the program on a free port. It ends with the test.
func start(t *testing.T, env []string, args ...string) *daemon.Daemon {
	t.Helper()
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemon.Start(t.Context(), binary, env, append(args, "--listen=127.0.0.1:0")...)
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
			t.Errorf("the log:\n%s", log)
		}
	})
	return d
}

// wantExit waits for the process to end.
func wantExit(t *testing.T, d *daemon.Daemon, want int) {
	t.Helper()
	status, err := d.Wait(client.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	if status != want {
		t.Errorf("exit status %d, want %d", status, want)
	}
}

func awaitLog(t *testing.T, d *daemon.Daemon, words ...string) {
	t.Helper()
	if _, err := d.AwaitLog(client.Within(t), words...); err != nil {
		t.Fatal(err)
	}
}

func names(files []archive.File) []string {
	out := []string{}
	for _, f := range files {
		out = append(out, f.Name)
	}
	return out
}
