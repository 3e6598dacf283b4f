// Package deploy tests the files of the folder deploy.
package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/smithy-go"

	"spillway/s3sink"
	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/s3server"
)

// program builds the program once for all tests.
var program = sync.OnceValues(func() (string, error) {
	return daemon.Build(context.Background(), built)
})

// built is the folder of the program.
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

const (
	s3Folder = "../../deploy/s3/"

	// exampleBucket is the bucket in the files.
	exampleBucket = "example-symbols"
)

// policy is a policy of AWS's IAM, or of a bucket.
type policy struct {
	Version   string
	Statement []statement
}

type statement struct {
	Sid, Effect      string
	Principal        map[string]string `json:",omitempty"` // only of a bucket's policy
	Action, Resource []string
}

// readJSON reads a file of deploy/s3. Nothing in it may be unknown.
func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(s3Folder + name)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// text returns the policy for another bucket.
func (p policy) text(t *testing.T, bucket string) string {
	t.Helper()
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(data), exampleBucket, bucket)
}

// without returns the policy without an action.
func (p policy) without(action string) policy {
	var rest []statement
	for _, s := range p.Statement {
		s.Action = slices.DeleteFunc(slices.Clone(s.Action), func(a string) bool { return a == action })
		if len(s.Action) > 0 {
			rest = append(rest, s)
		}
	}
	return policy{p.Version, rest}
}

func (p policy) actions() (all []string) {
	for _, s := range p.Statement {
		all = append(all, s.Action...)
	}
	return all
}

// TestBucketPolicyIsThePolicy: both files allow the same.
func TestBucketPolicyIsThePolicy(t *testing.T) {
	var identity, bucket policy
	readJSON(t, "policy.json", &identity)
	readJSON(t, "bucket-policy.json", &bucket)
	for i, s := range bucket.Statement {
		if len(s.Principal) != 1 {
			t.Errorf("%s: principal %v", s.Sid, s.Principal)
		}
		bucket.Statement[i].Principal = nil
	}
	if !reflect.DeepEqual(identity, bucket) {
		t.Errorf("policy.json has %+v, bucket-policy.json %+v", identity, bucket)
	}
}

// account is a user of a server, with a bucket.
type account struct {
	root   client.Bucket // to look into the bucket
	client s3server.Client
	bucket string
}

// grants are the ways to give a user what the policy allows.
var grants = []struct {
	name  string
	grant func(t *testing.T, server s3server.IAM, p policy) account
}{
	{"policy of the user", func(t *testing.T, server s3server.IAM, p policy) account {
		bucket := server.Bucket(t)
		key, secret := server.User(t, "user-of-"+bucket, p.text(t, bucket))
		return account{client.Bucket{Store: server.Client, BucketName: bucket}, s3server.NewClient(server.Endpoint, key, secret), bucket}
	}},
	{"policy of the bucket", func(t *testing.T, server s3server.IAM, p policy) account {
		bucket := server.Bucket(t)
		name := "user-of-" + bucket
		key, secret := server.User(t, name, "")
		p.Statement = slices.Clone(p.Statement)
		for i := range p.Statement {
			p.Statement[i].Principal = map[string]string{"AWS": "arn:aws:iam::000000000000:user/" + name}
		}
		if err := server.SetPolicy(t.Context(), bucket, p.text(t, bucket)); err != nil {
			t.Fatal(err)
		}
		return account{client.Bucket{Store: server.Client, BucketName: bucket}, s3server.NewClient(server.Endpoint, key, secret), bucket}
	}},
}

// TestPolicyIsEnough: with the policy, everything works that Spillway does in a bucket.
func TestPolicyIsEnough(t *testing.T) {
	t.Parallel()
	server := s3server.StartIAM(t)
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var p policy
	readJSON(t, "policy.json", &p)
	for _, g := range grants {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			a := g.grant(t, server, p)
			d, err := daemon.Start(t.Context(), binary, []string{"AWS_ACCESS_KEY_ID=" + a.client.AccessKey, "AWS_SECRET_ACCESS_KEY=" + a.client.SecretKey},
				"--dev", "--listen=127.0.0.1:0", "--log-format=json", "--s3-endpoint="+a.client.Endpoint, "--s3-bucket="+a.bucket)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = d.Close() })
			useBucket(t, d, a)
			sweep(t, a)
		})
	}
}

// useBucket does what Spillway can do, and checks that it works.
func useBucket(t *testing.T, d *daemon.Daemon, a account) {
	t.Helper()
	files := []archive.File{
		{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 10_000)},
		{Name: archive.SymbolsName(2) + ".dbg", Data: archive.Noise(2, 20<<20)}, // in parts
	}
	zip := archive.PythonZipfile(files...)
	for _, token := range []string{"dev", "devtry"} {
		for _, skipped := range []int{0, len(files)} {
			got := client.MustSend(t, d.API, token, zip)
			if got.Status != 201 || len(got.Upload.SkippedKeys) != skipped {
				t.Errorf("with the token %s: %+v, want %d files skipped", token, got, skipped)
			}
		}
	}
	if got := client.MustSend(t, d.API, "dev", zip[:len(zip)-1000]); got.Status != 400 {
		t.Errorf("a cut archive: %+v", got)
	}
	if h := client.GetHeartbeat(t, d.API); h.Status != 200 {
		t.Errorf("heartbeat %+v", h)
	}
	if state, message := client.CheckState(t, d.API, "janitor"); state != "ok" {
		t.Errorf("janitor: %s: %s", state, message)
	}
	a.root.WantNoUploads(t)
	for _, key := range a.root.Store.Keys(t, a.bucket) {
		if strings.Contains(key, ".spillway-") {
			t.Errorf("%s is still there", key)
		}
	}
}

// sweep has an unfinished upload aborted that is left behind.
func sweep(t *testing.T, a account) {
	t.Helper()
	a.root.Store.Begin(t, a.bucket, "v1/left/0/behind")
	// Clocks of stores show whole seconds.
	if n, err := newSink(t, a).Sweep(t.Context(), -time.Minute); n != 1 || err != nil {
		t.Errorf("the sweep aborted %d uploads: %v", n, err)
	}
	a.root.WantNoUploads(t)
}

// newSink returns a sink in the bucket of an account.
func newSink(t *testing.T, a account) *s3sink.Sink {
	t.Helper()
	sink, err := s3sink.New(t.Context(), s3sink.Config{
		Bucket: a.bucket, Region: s3server.Region, Endpoint: a.client.Endpoint, PathStyle: true,
		AccessKey: a.client.AccessKey, SecretKey: a.client.SecretKey,
		Prefix: "v1/", TryPrefix: "try/v1/", PartSize: 5 << 20, Concurrency: 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

// checkActions tries each action and returns those that are denied and those that fail
// otherwise.
func checkActions(t *testing.T, a account) (denied, failed []string) {
	t.Helper()
	for _, action := range newSink(t, a).Check(t.Context()) {
		switch {
		case action.Denied():
			denied = append(denied, action.Name)
		case action.Err != nil:
			failed = append(failed, action.Name+": "+action.Err.Error())
		}
	}
	slices.Sort(denied)
	return slices.Compact(denied), failed
}

// TestEachActionOfThePolicyIsNeeded: without any one of them, a check names it. The server
// lacks one rule of Amazon's: it says that an object does not exist even to those who may not
// list the bucket.
func TestEachActionOfThePolicyIsNeeded(t *testing.T) {
	t.Parallel()
	server := s3server.StartIAM(t)
	var p policy
	readJSON(t, "policy.json", &p)
	if n := len(p.actions()); n != 6 {
		t.Errorf("the policy has %d actions", n)
	}
	for _, lacks := range append(p.actions(), "nothing") {
		t.Run(lacks, func(t *testing.T) {
			t.Parallel()
			denied, failed := checkActions(t, grants[0].grant(t, server, p.without(lacks)))
			want := []string{lacks}
			if lacks == "nothing" || lacks == "s3:ListBucket" {
				want = nil
			}
			if !slices.Equal(denied, want) || failed != nil {
				t.Errorf("denied: %q; failed: %q", denied, failed)
			}
		})
	}
}

// TestPolicyAllowsNoMore: what Spillway never does is denied.
func TestPolicyAllowsNoMore(t *testing.T) {
	t.Parallel()
	server := s3server.StartIAM(t)
	var p policy
	readJSON(t, "policy.json", &p)
	for _, g := range grants {
		a := g.grant(t, server, p)
		stored := "v1/" + archive.SymbolsName(1)
		a.root.Store.Put(t, a.bucket, stored, s3server.Object{Body: []byte("symbols")})
		a.root.Store.Put(t, a.bucket, "other/secret", s3server.Object{Body: []byte("secret")})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for what, err := range map[string]error{
			"delete a symbol file":       a.client.Delete(ctx, a.bucket, stored),
			"write outside the prefixes": a.client.Store(ctx, a.bucket, "other/file", strings.NewReader("x")),
			"read outside the prefixes":  open(ctx, a.client, a.bucket, "other/secret"),
			"change the bucket's policy": a.client.SetPolicy(ctx, a.bucket, p.text(t, a.bucket)),
			"use another bucket":         a.client.Store(ctx, server.Bucket(t), stored, strings.NewReader("x")),
		} {
			if denied, ok := errors.AsType[smithy.APIError](err); !ok || denied.ErrorCode() != "AccessDenied" {
				t.Errorf("%s: it may %s: %v", g.name, what, err)
			}
		}
	}
}

func open(ctx context.Context, c s3server.Client, bucket, key string) error {
	body, _, err := c.Open(ctx, bucket, key)
	if err == nil {
		err = body.Close()
	}
	return err
}
