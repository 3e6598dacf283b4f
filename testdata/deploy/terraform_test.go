//go:build delivery

package deploy

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

// tofuPolicy returns the policy of deploy/terraform for these variables.
func tofuPolicy(t *testing.T, variables ...string) (p policy) {
	t.Helper()
	folder := t.TempDir() // OpenTofu writes its state there
	if err := os.CopyFS(folder, os.DirFS("../../deploy/terraform/policy")); err != nil {
		t.Fatal(err)
	}
	tofu := func(args ...string) []byte {
		command := exec.CommandContext(t.Context(), os.Getenv("SPILLWAY_TOFU"), append([]string{"-chdir=" + folder}, args...)...)
		command.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE=/dev/null") // not that of the user
		var warnings bytes.Buffer
		command.Stderr = &warnings
		out, err := command.Output()
		if err != nil {
			t.Fatalf("tofu %v: %v\n%s%s", args, err, out, &warnings)
		}
		return out
	}
	tofu("init", "-input=false")
	apply := []string{"apply", "-input=false", "-auto-approve"}
	for _, v := range variables {
		apply = append(apply, "-var="+v)
	}
	tofu(apply...)
	if err := json.Unmarshal(tofu("output", "-raw", "json"), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTerraformHasThePolicy: OpenTofu computes what policy.json says, and follows other
// prefixes and buckets.
func TestTerraformHasThePolicy(t *testing.T) {
	var want policy
	readJSON(t, "policy.json", &want)
	if got := tofuPolicy(t, "bucket="+exampleBucket); !reflect.DeepEqual(got, want) {
		t.Errorf("it has %+v, policy.json %+v", got, want)
	}
	got := tofuPolicy(t, "bucket="+exampleBucket, "try_bucket=example-try", "prefix=symbols/", "try_prefix=try/")
	for i, s := range want.Statement {
		var resources []string
		for _, r := range s.Resource {
			r = strings.Replace(r, exampleBucket+"/try/v1/", "example-try/try/", 1)
			resources = append(resources, strings.Replace(r, "/v1/", "/symbols/", 1))
		}
		if s.Sid == "Bucket" {
			resources = append(resources, "arn:aws:s3:::example-try")
		}
		want.Statement[i].Resource = resources
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("it has %+v, want %+v", got, want)
	}
}
