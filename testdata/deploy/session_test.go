package deploy

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"spillway/testdata/s3server"
)

// TestEachActionIsNamed: spillway check names each action that the credentials lack, with
// MinIO, which `make full` installs. Like versitygw, it needs no s3:ListBucket to say that an
// object does not exist.
func TestEachActionIsNamed(t *testing.T) {
	t.Parallel()
	var p policy
	readJSON(t, "policy.json", &p)
	for _, kind := range s3server.Kinds() {
		if kind.Name != "MinIO" {
			continue
		}
		server := kind.Start(t)
		for _, lacks := range append(p.actions(), "nothing") {
			bucket := server.Bucket(t)
			want := []string{lacks}
			if lacks == "nothing" || lacks == "s3:ListBucket" {
				want = nil
			}
			if got := runCheck(t, server, bucket, server.Session(t, p.without(lacks).text(t, bucket))); !slices.Equal(got, want) {
				t.Errorf("without %s, spillway check names %q", lacks, got)
			}
		}
	}
}

// runCheck runs spillway check and returns the names of the S3 actions that do not work.
func runCheck(t *testing.T, server *s3server.Server, bucket string, env []string) (failed []string) {
	t.Helper()
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), binary, "check", "--json", "--dev", "--s3-endpoint="+server.Endpoint, "--s3-bucket="+bucket)
	command.Env = append(os.Environ(), env...)
	out, err := command.Output()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	var report struct {
		Checks []struct{ Name, Status string }
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found := 0
	for _, c := range report.Checks {
		if !strings.HasPrefix(c.Name, "s3") || c.Name == "s3 checksums" {
			continue
		}
		// Unknown is what could not be tried for want of another action.
		if found++; c.Status == "error" || c.Status == "warning" {
			failed = append(failed, c.Name)
		}
	}
	if found == 0 {
		t.Errorf("it says nothing of S3: %s", out)
	}
	slices.Sort(failed)
	return slices.Compact(failed)
}
