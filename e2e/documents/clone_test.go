//go:build unix

package documents

import (
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"spillway/testdata/client"
)

// ports replaces the ports of the documents with free ones.
type ports struct {
	*strings.Replacer
	free map[string]string
}

// freePorts returns free ports for those of the API, the admin listener, the S3 server of
// --dev and that of make bucket. They are below those that the system gives to others.
func freePorts(t *testing.T) ports {
	t.Helper()
	p := ports{free: map[string]string{}}
	var pairs []string
	for _, documented := range []string{"8000", "8001", "9000", "7070"} {
		for p.free[documented] == "" {
			port := strconv.Itoa(10_000 + rand.IntN(20_000))
			if l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:"+port); err == nil {
				defer l.Close() // until all are chosen
				p.free[documented] = port
			}
		}
		pairs = append(pairs, ":"+documented, ":"+p.free[documented])
	}
	p.Replacer = strings.NewReplacer(pairs...)
	return p
}

// environment returns the variables with which the commands use these ports and what is
// built already. folder is for programs.
func (p ports) environment(t *testing.T, folder string) []string {
	t.Helper()
	compiler, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	programs := filepath.Join(folder, "programs")
	if err := os.Mkdir(programs, 0o755); err != nil {
		t.Fatal(err)
	}
	// Everything is compiled without -trimpath already.
	const wrapper = "#!/bin/sh\nfor a; do shift; [ \"$a\" = -trimpath ] || set -- \"$@\" \"$a\"; done\nexec '"
	if err := os.WriteFile(filepath.Join(programs, "go"), []byte(wrapper+compiler+"' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{
		"PATH=" + programs + string(os.PathListSeparator) + os.Getenv("PATH"),
		"SPILLWAY_LISTEN=127.0.0.1:" + p.free["8000"],
		"SPILLWAY_ADMIN_LISTEN=127.0.0.1:" + p.free["8001"],
		"SPILLWAY_DEV_S3_LISTEN=127.0.0.1:" + p.free["9000"],
		"BUCKET_PORT=" + p.free["7070"],
		"MAKEFLAGS=", // not those of make test
	}
}

// copyRepository copies what git knows of the working tree, or would know, into a new folder,
// and links the S3 server that is installed already.
func copyRepository(t *testing.T, folder string) {
	t.Helper()
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	const script = `git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from=- --ignore-failed-read | tar --extract --directory "$1"`
	c := exec.CommandContext(client.Within(t), "bash", "-euo", "pipefail", "-c", script, "copy", folder)
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	gateway := os.Getenv("SPILLWAY_VERSITYGW")
	if gateway == "" {
		t.Fatal("SPILLWAY_VERSITYGW is not set: run make test")
	}
	version := filepath.Join(folder, ".bin", filepath.Base(filepath.Dir(gateway)))
	if err := os.MkdirAll(version, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(gateway, filepath.Join(version, filepath.Base(gateway))); err != nil {
		t.Fatal(err)
	}
}
