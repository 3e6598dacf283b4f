// Package e2e runs the program as a process, as people do, and looks at it through HTTP,
// S3 and signals.
//
// Tests run in parallel, except those that measure time, memory or CPU.
package e2e

import (
	"os"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
)

// built is the folder of the programs under test.
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
