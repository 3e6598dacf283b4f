// Package s3fault lets an S3 server fail, at one chosen call of a test: within
// the client, by a [Transport], or on the way to the server, by a [Proxy].
package s3fault

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Kind is the way in which a call fails.
type Kind int

// What a server may do to a request.
const (
	InternalError Kind = iota // answered with status 500
	SlowDown                  // answered with status 503, for coming too often
	BadGateway                // answered by a proxy before the server, with status 502
	ExpiredToken              // the credentials are refused with status 400
	AccessDenied              // and with status 403
	NoSuchBucket              // the bucket has gone
	NotFound                  // the object, or the upload, is not there, or not yet
	Garbage                   // answered with status 200 and what is no answer
	ErrorInside               // answered with status 200 and an error
	CutAnswer                 // the connection is reset in the middle of the answer
	Reset                     // the connection is reset once the request has come
	ResetInBody               // the connection is reset in the middle of the request's body
	Timeout                   // the request is taken, and not answered until its sender gives up
	kinds         int  = iota
)

// Kinds are all of them.
func Kinds() []Kind {
	all := make([]Kind, kinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

func (k Kind) String() string {
	return [...]string{
		"internal error", "slow down", "bad gateway", "expired token", "access denied", "no such bucket", "not found", "garbage",
		"error inside", "cut answer", "reset", "reset in the body", "timeout",
	}[k]
}

// Passes reports whether a client has to try again.
func (k Kind) Passes() bool {
	return !slices.Contains([]Kind{AccessDenied, NoSuchBucket, NotFound, Garbage, ErrorInside}, k)
}

// answer is what a request is answered with, if it is answered.
func (k Kind) answer(call string) (status int, contentType, body string) {
	refuse := func(status int, code string) (int, string, string) {
		return status, "application/xml", `<?xml version="1.0" encoding="UTF-8"?><Error><Code>` + code + `</Code><Message>This is a test.</Message></Error>`
	}
	switch k {
	case SlowDown:
		return refuse(http.StatusServiceUnavailable, "SlowDown")
	case BadGateway:
		return http.StatusBadGateway, "text/html", "<html><h1>502 Bad Gateway</h1></html>"
	case ExpiredToken:
		return refuse(http.StatusBadRequest, "ExpiredToken")
	case AccessDenied:
		return refuse(http.StatusForbidden, "AccessDenied")
	case NoSuchBucket:
		return refuse(http.StatusNotFound, "NoSuchBucket")
	case NotFound:
		operation, _, _ := strings.Cut(call, " ")
		if slices.Contains([]string{"UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"}, operation) {
			return refuse(http.StatusNotFound, "NoSuchUpload")
		}
		return refuse(http.StatusNotFound, "NoSuchKey")
	case Garbage:
		return http.StatusOK, "text/html", "<html>It works!"
	case ErrorInside, CutAnswer:
		_, contentType, body = refuse(0, "InternalError")
		return http.StatusOK, contentType, body
	default:
		return refuse(http.StatusInternalServerError, "InternalError")
	}
}

// Fault is what is to fail.
type Fault struct {
	Call    string // as [Call] has it
	Kind    Kind
	Applied bool // the request reaches the server, and only its answer is lost
	Always  bool // every attempt fails, and not only the first one
}

func (f Fault) String() string {
	applied, times := "not applied", "once"
	if f.Applied {
		applied = "applied"
	}
	if f.Always {
		times = "always"
	}
	return fmt.Sprintf("%s, %s, %s, %s", f.Call, f.Kind, applied, times)
}

// Operation is that of the call, as the S3 API has it.
func (f Fault) Operation() string {
	operation, _, _ := strings.Cut(f.Call, " ")
	return operation
}

// Possible reports whether there can be such a fault.
func (f Fault) Possible() bool {
	if f.Kind != ResetInBody {
		return true
	}
	return !f.Applied && slices.Contains([]string{"PutObject", "UploadPart", "CompleteMultipartUpload"}, f.Operation())
}

// Lies reports whether the client is told that an upload has been aborted, which
// has not.
func (f Fault) Lies() bool {
	return f.Operation() == "AbortMultipartUpload" && !f.Applied && slices.Contains([]Kind{NotFound, Garbage, ErrorInside}, f.Kind)
}

// Call names the call that a path-style request is an attempt at, by its
// operation, key, and part number, e.g. "UploadPart v1/a/b 2".
func Call(req *http.Request) string {
	_, key, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	query := req.URL.Query()
	if query.Has("partNumber") {
		return "UploadPart " + key + " " + query.Get("partNumber")
	}
	operation := req.Method
	switch {
	case req.Method == http.MethodPost && query.Has("uploads"):
		operation = "CreateMultipartUpload"
	case req.Method == http.MethodPost && query.Has("uploadId"):
		operation = "CompleteMultipartUpload"
	case req.Method == http.MethodDelete && query.Has("uploadId"):
		operation = "AbortMultipartUpload"
	case req.Method == http.MethodDelete:
		operation = "DeleteObject"
	case req.Method == http.MethodPut:
		operation = "PutObject"
	case req.Method == http.MethodGet && query.Has("uploads"):
		return "ListMultipartUploads " + query.Get("prefix")
	case req.Method == http.MethodGet && query.Has("list-type"):
		return "ListObjectsV2 " + query.Get("prefix")
	case req.Method == http.MethodHead:
		operation = "HeadObject"
	case req.Method == http.MethodGet && key != "":
		operation = "GetObject"
	}
	return operation + " " + key
}

// Injector fails calls and counts all.
type Injector struct {
	mu       sync.Mutex
	fault    *Fault
	left     int // attempts still to fail; -1: all
	choose   func(call string) *Fault
	failed   int
	attempts map[string]int
}

// Inject sets the fault, or with nil takes it away.
func (i *Injector) Inject(f *Fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fault, i.left = f, 1
	if f != nil && f.Always {
		i.left = -1
	}
}

// InjectSome has choose say of each attempt at a call how it fails; nil: not at
// all. The calls of its faults do not matter. It runs with a lock held.
func (i *Injector) InjectSome(choose func(call string) *Fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.choose = choose
}

// Failed is how many attempts have been failed.
func (i *Injector) Failed() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.failed
}

// Calls returns the calls so far, sorted.
func (i *Injector) Calls() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Sorted(maps.Keys(i.attempts))
}

// Requests is how many attempts there have been.
func (i *Injector) Requests() (n int) {
	for _, attempts := range i.Attempts() {
		n += attempts
	}
	return n
}

// Attempts returns how many requests there were, by operation.
func (i *Injector) Attempts() map[string]int {
	i.mu.Lock()
	defer i.mu.Unlock()
	by := make(map[string]int)
	for call, n := range i.attempts {
		operation, _, _ := strings.Cut(call, " ")
		by[operation] += n
	}
	return by
}

// Forget sets all counts to zero.
func (i *Injector) Forget() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.attempts = nil
	i.failed = 0
}

// next counts an attempt at a call and returns the fault if it is to fail.
func (i *Injector) next(call string) *Fault {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.attempts == nil {
		i.attempts = make(map[string]int)
	}
	i.attempts[call]++
	if i.choose != nil {
		f := i.choose(call)
		if f != nil {
			i.failed++
		}
		return f
	}
	if i.fault == nil || i.fault.Call != call || i.left == 0 {
		return nil
	}
	if i.left > 0 {
		i.left--
	}
	i.failed++
	return i.fault
}
