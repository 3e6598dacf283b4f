// Package s3event describes requests to S3 for the metrics and traces.
package s3event

import "time"

// An Attempt is one attempt at a request. A retried request has several.
type Attempt struct {
	Operation string        // the name in the S3 API
	Status    int           // of the response; 0 if there was none
	Err       error         // why the response is missing or incomplete
	Took      time.Duration // from the request's turn to the end of the response
	Date      time.Time     // of the response, by the store's clock; zero: it has none
	Sent      int64         // bytes of the request body
}

// An Operation is a request to S3 with all attempts at it.
type Operation struct {
	Name     string // in the S3 API
	Bucket   string
	Key      string        // empty if the operation has none
	Part     int32         // number of the part; 0 if it is none
	Began    time.Time     // before it waited for its turn
	Took     time.Duration // with the waits for its turn and between attempts
	Attempts int
	InFlight time.Duration // sum of the attempts' times
	Sent     int64         // bytes of the request bodies
	Status   int           // of the last response; 0 if there was none

	// Code is the error code of S3, or of the store if there was no valid response. It is
	// empty if the operation succeeded, or found that there is no such object or upload
	// where that is an ordinary result.
	Code string
}

// A Multipart is a step in the life of a multipart upload.
type Multipart string

const (
	Staged    Multipart = "staged"    // created
	Published Multipart = "published" // completed: the object is visible
	Aborted   Multipart = "aborted"   // by the batch that created it
	Swept     Multipart = "swept"     // aborted by the sweep
)

// Multiparts returns all steps.
func Multiparts() []Multipart { return []Multipart{Staged, Published, Aborted, Swept} }

// A Checksum is how a store checks the bytes that it gets.
type Checksum string

const (
	WholeCRC32 Checksum = "whole_crc32" // the CRC-32 of each body, and of the whole object
	PartCRC32  Checksum = "part_crc32"  // the CRC-32 of each body
	ContentMD5 Checksum = "content_md5" // the header Content-MD5
	ETagMD5    Checksum = "etag_md5"    // by us: the ETag is the MD5
)

// Checksums returns all of them, the best one first.
func Checksums() []Checksum { return []Checksum{WholeCRC32, PartCRC32, ContentMD5, ETagMD5} }
