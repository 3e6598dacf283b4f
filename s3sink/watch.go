package s3sink

import "time"

// An Attempt is one attempt at a request to the store.
type Attempt struct {
	Operation string        // as the S3 API calls it
	Status    int           // of the answer; 0 if there was none
	Err       error         // why there was none, or none that is whole
	Took      time.Duration // from the request's turn to the end of its answer
	Sent      int64         // bytes of the request's body
}

// A MultipartEvent is a step in the life of a multipart upload.
type MultipartEvent string

const (
	MultipartStaged    MultipartEvent = "staged"    // begun, for an entry
	MultipartPublished MultipartEvent = "published" // completed: the object is visible
	MultipartAborted   MultipartEvent = "aborted"   // by the batch that had begun it
	MultipartSwept     MultipartEvent = "swept"     // aborted by a sweep
)
