package s3sink_test

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"spillway/s3sink"
	"spillway/testdata/s3fault"
	"spillway/testdata/s3quirk"
)

// allActions are the actions of a check, in its order.
var allActions = []string{"s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads", "s3:DeleteObject"}

// needSuccess are the actions that can only be tried if s3:PutObject works.
var needSuccess = []string{"s3:GetObject", "s3:AbortMultipartUpload"}

// checkPrefixes are the prefixes of a rig.
var checkPrefixes = []string{"v1/", "try/v1/"}

// testCheck checks that every action works, and that nothing is left.
func testCheck(t *testing.T, r *rig) {
	tried := r.sink.Check(t.Context())
	for _, a := range tried {
		if !a.Tried || a.Err != nil {
			t.Errorf("%s %s: tried: %v, error: %v", a.Name, a.Prefix, a.Tried, a.Err)
		}
	}
	if keys, uploads := r.Keys(t, r.bucket), r.Uploads(t, r.bucket); len(tried) != len(checkPrefixes)*len(allActions) || len(keys)+len(uploads) > 0 {
		t.Errorf("%d actions; left: %q and %v", len(tried), keys, uploads)
	}
}

// TestCheckNamesWhatIsDenied checks that credentials that lack one action under one prefix
// fail that action only, by its name. Nothing is left but what they could not remove. An
// action that needs a denied one to succeed first is not tried.
func TestCheckNamesWhatIsDenied(t *testing.T) {
	t.Parallel()
	server := real(t)
	for _, prefix := range checkPrefixes {
		for _, denied := range append([]string{"nothing"}, allActions...) {
			t.Run(denied+" "+prefix, func(t *testing.T) {
				t.Parallel()
				proxy := s3quirk.Before(t, server, s3quirk.Denies(denied, prefix))
				r := newRig(t, server, func(cfg *s3sink.Config) { cfg.Endpoint = proxy })
				tried := r.sink.Check(t.Context())
				if len(tried) != len(checkPrefixes)*len(allActions) {
					t.Fatalf("%d actions were checked", len(tried))
				}
				left := 0
				for i, a := range tried {
					if a.Name != allActions[i%len(allActions)] || a.Bucket != r.bucket || a.Prefix != checkPrefixes[i/len(allActions)] {
						t.Errorf("action %d is %s of %s/%s", i, a.Name, a.Bucket, a.Prefix)
					}
					here := a.Prefix == prefix
					hidden := here && (denied == "s3:PutObject" && a.Name == "s3:AbortMultipartUpload" || denied == "s3:GetObject" && a.Name == "s3:ListBucket")
					if failed := here && a.Name == denied; failed != (a.Err != nil) || a.Tried == hidden || failed && !a.Denied() {
						t.Errorf("%s %s: tried: %v, error: %v", a.Name, a.Prefix, a.Tried, a.Err)
					}
					if a.Err != nil {
						if failure, remedy := a.Explain(); !strings.Contains(failure, "failed: AccessDenied.") || !strings.HasPrefix(remedy, "The credentials lack a permission: this needs "+denied) {
							t.Errorf("%s: explained as %q %q", a.Name, failure, remedy)
						}
					}
					if a.Needed == (a.Name == "s3:DeleteObject") {
						t.Errorf("%s: needed: %v", a.Name, a.Needed)
					}
					left += len(a.Left)
				}
				keys, uploads := r.Keys(t, r.bucket), r.Uploads(t, r.bucket)
				if len(keys)+len(uploads) != left || denied == "s3:DeleteObject" != (len(keys) == 2) || denied == "s3:AbortMultipartUpload" != (len(uploads) == 2) {
					t.Errorf("%d things could not be removed; objects %q and uploads %v are left", left, keys, uploads)
				}
			})
		}
	}
}

// TestCheckOfAMissingBucket: the answer to a HEAD does not tell that the bucket is missing.
func TestCheckOfAMissingBucket(t *testing.T) {
	t.Parallel()
	r := newRig(t, real(t), func(cfg *s3sink.Config) { cfg.Bucket = "no-such-bucket" })
	for _, a := range r.sink.Check(t.Context()) {
		if untried := slices.Contains(needSuccess, a.Name); a.Tried == untried || a.Tried && a.Code() != "NoSuchBucket" {
			t.Errorf("%s: tried: %v, error: %v", a.Name, a.Tried, a.Err)
		}
	}
}

// TestCheckHasAnEnd checks that a check of a store that does not answer ends, and that only
// what was not answered has failed.
func TestCheckHasAnEnd(t *testing.T) {
	for silent, fails := range map[string]string{
		"HeadObject": "s3:ListBucket", "GetObject": "s3:GetObject", "PutObject": "s3:PutObject", "UploadPart": "s3:PutObject",
		"AbortMultipartUpload": "s3:AbortMultipartUpload", "ListMultipartUploads": "s3:ListBucketMultipartUploads", "DeleteObject": "s3:DeleteObject",
	} {
		inFakeTime(t, silent, func(t *testing.T) {
			r := newFakeRig(t, fakeListing(func(op string, req *http.Request) (*http.Response, error) {
				if op == silent {
					<-req.Context().Done()
					return nil, context.Cause(req.Context())
				}
				return nil, nil
			}), nil)
			begun := time.Now()
			tried := r.sink.Check(t.Context())
			if took := time.Since(begun); took < 5*time.Second || took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
			for _, a := range tried {
				if (a.Err != nil) != (a.Name == fails) || a.Err != nil && a.Code() != "no answer in time" {
					t.Errorf("%s: %v", a.Name, a.Err)
				}
			}
		})
	}
}

// TestCheckOfAStoreThatIsDown checks that every action that needs no other one fails with the
// same code.
func TestCheckOfAStoreThatIsDown(t *testing.T) {
	inFakeTime(t, "", func(t *testing.T) {
		r := newFakeRig(t, fakeListing(func(string, *http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}), nil)
		for _, a := range r.sink.Check(t.Context()) {
			if untried := slices.Contains(needSuccess, a.Name); a.Tried == untried || a.Tried && a.Code() != "connection refused" {
				t.Errorf("%s: tried: %v, error: %v", a.Name, a.Tried, a.Err)
			}
		}
	})
}

// TestCheckAbortsWhatItCannotName has a store that creates multipart uploads, and whose answers
// get lost. Nothing is left of them.
func TestCheckAbortsWhatItCannotName(t *testing.T) {
	t.Parallel()
	r := newRig(t, real(t), nil)
	r.wire.InjectSome(func(call string) *s3fault.Fault {
		if strings.HasPrefix(call, "CreateMultipartUpload ") {
			return &s3fault.Fault{Kind: s3fault.Reset, Applied: true}
		}
		return nil
	})
	for _, a := range r.sink.Check(t.Context()) {
		if (a.Err != nil) != (a.Name == "s3:PutObject") {
			t.Errorf("%s: tried: %v, error: %v", a.Name, a.Tried, a.Err)
		}
	}
	if n := r.wire.Attempts()["CreateMultipartUpload"]; n == 0 {
		t.Error("no upload was created")
	}
	if keys, uploads := r.Keys(t, r.bucket), r.Uploads(t, r.bucket); len(keys)+len(uploads) > 0 {
		t.Errorf("left: %q and %v", keys, uploads)
	}
}

// fakeListing returns a fake store that lists no uploads, with answers of a test.
func fakeListing(answer func(op string, req *http.Request) (*http.Response, error)) *fakeStore {
	return &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
		resp, err := answer(op, req)
		if op == "ListMultipartUploads" && resp == nil && err == nil {
			return respond(200, "<ListMultipartUploadsResult></ListMultipartUploadsResult>", nil), nil
		}
		return resp, err
	}}
}
