package check

import (
	"fmt"

	"spillway/health"
	"spillway/s3sink"
)

// does says what each action is for.
var does = map[string]string{
	"s3:PutObject":                  "Objects can be stored.",
	"s3:GetObject":                  "Objects can be read, and have the bytes and metadata that were stored.",
	"s3:ListBucket":                 "S3 answers 404 for an object that does not exist.",
	"s3:AbortMultipartUpload":       "Multipart uploads can be aborted.",
	"s3:ListBucketMultipartUploads": "Unfinished multipart uploads can be listed.",
	"s3:DeleteObject":               "Objects can be deleted, which only probes and checks do.",
}

// Store judges the actions that were tried at the store. If they all fail for the same reason,
// which is no permission, that is one result. checksums says by what the store checks what it
// gets; empty: not known.
func Store(actions []s3sink.Action, checksums string) []Result {
	var results []Result
	for len(actions) > 0 {
		n := 1
		for n < len(actions) && actions[n].Bucket == actions[0].Bucket && actions[n].Prefix == actions[0].Prefix {
			n++
		}
		results = append(results, destination(actions[:n])...)
		actions = actions[n:]
	}
	if checksums != "" {
		results = append(results, Result{Name: "s3 checksums", Found: checksums})
	}
	return results
}

// destination judges the actions of one bucket and prefix.
func destination(actions []s3sink.Action) []Result {
	if code, ok := commonCode(actions); ok {
		r := judgeAction(actions[0])
		r.Name = "s3"
		r.Found += fmt.Sprintf(" Every other request failed, too: %s.", code)
		return []Result{r}
	}
	var results []Result
	for _, a := range actions {
		results = append(results, judgeAction(a))
	}
	return results
}

// commonCode returns the code with which every action that was tried failed, if it is the same
// and has nothing to do with permissions.
func commonCode(actions []s3sink.Action) (string, bool) {
	code := actions[0].Code()
	for _, a := range actions {
		if a.Tried && (a.Err == nil || a.Code() != code || a.Denied()) {
			return "", false
		}
	}
	return code, true
}

func judgeAction(a s3sink.Action) Result {
	r := Result{Name: a.Name, Target: a.Bucket + "/" + a.Prefix, Found: does[a.Name]}
	switch {
	case !a.Tried:
		r.Level, r.Found = health.Unknown, "It was not tried, because an action failed that comes before it."
		return r
	case a.Err == nil:
		return r
	}
	r.Level, r.Detail = health.Error, a.Err.Error()
	if !a.Needed {
		r.Level = health.Warning
	}
	r.Found, r.Remedy = a.Explain()
	for _, key := range a.Left {
		r.Remedy += fmt.Sprintf(" %s stays, and does no harm.", key)
	}
	return r
}
