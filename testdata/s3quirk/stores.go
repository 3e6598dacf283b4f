package s3quirk

import (
	"bytes"
	"crypto/md5"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"spillway/testdata/s3fault"
	"spillway/testdata/s3server"
)

// Google adds to Accept-Encoding, as Google's front end does before Cloud Storage sees the
// request. A signature that covers the header is wrong then
// (aws/aws-sdk-go-v2, issue 1816).
func Google() Quirk {
	return onRequest(func(r *http.Request) *refusal {
		r.Header.Set("Accept-Encoding", strings.TrimPrefix(r.Header.Get("Accept-Encoding")+",gzip(gfe)", ","))
		return nil
	})
}

// Nginx drops the headers of requests whose name has an underscore, as nginx does unless
// underscores_in_headers is on.
func Nginx() Quirk {
	return onRequest(func(r *http.Request) *refusal {
		for name := range r.Header {
			if strings.Contains(name, "_") {
				delete(r.Header, name)
			}
		}
		return nil
	})
}

// NoChecksums refuses every checksum header, as Backblaze B2 does: 400 InvalidArgument. With
// notImplemented, it answers as Cloudflare R2 did until 2025: 501 NotImplemented.
func NoChecksums(notImplemented bool) Quirk {
	return onRequest(func(r *http.Request) *refusal {
		for name := range r.Header {
			if !isChecksum(name) && name != "X-Amz-Sdk-Checksum-Algorithm" {
				continue
			}
			if notImplemented {
				return &refusal{http.StatusNotImplemented, "NotImplemented", "Header '" + name + "' not implemented"}
			}
			return &refusal{http.StatusBadRequest, "InvalidArgument", "Unsupported header '" + name + "' received for this API call."}
		}
		return nil
	})
}

// PartChecksums refuses a CRC-32 of the whole object of a multipart upload, as Cloudflare R2
// does, and stores from before 2025 that are strict.
func PartChecksums() Quirk {
	return onRequest(func(r *http.Request) *refusal {
		if r.Header.Get("X-Amz-Checksum-Type") == "FULL_OBJECT" {
			return &refusal{http.StatusNotImplemented, "NotImplemented", "The checksum type FULL_OBJECT is not implemented for CRC32."}
		}
		return nil
	})
}

// IgnoresChecksums takes checksum headers and answers as if there had been none, as stores do
// that do not know them. The server behind it still checks them.
func IgnoresChecksums() Quirk {
	return onAnswer(func(_ *http.Request, a *answer) {
		for name := range a.header {
			if isChecksum(name) {
				delete(a.header, name)
			}
		}
	})
}

func isChecksum(name string) bool { return strings.HasPrefix(name, "X-Amz-Checksum-") }

// RadosGW answers as Ceph's radosgw 16 does: the ETag of a completed upload is empty, metadata
// has hyphens for underscores, and checksums are ignored.
func RadosGW() Quirk {
	etag := regexp.MustCompile(`<ETag>[^<]*</ETag>`)
	ignores := IgnoresChecksums()
	answers := onAnswer(func(r *http.Request, a *answer) {
		if strings.HasPrefix(s3fault.Call(r), "CompleteMultipartUpload ") {
			body := etag.ReplaceAll(a.body.Bytes(), []byte("<ETag></ETag>"))
			a.body = *bytes.NewBuffer(body)
		}
		for name, values := range a.header {
			if strings.HasPrefix(name, "X-Amz-Meta-") && strings.Contains(name, "_") {
				delete(a.header, name)
				a.header[http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))] = values
			}
		}
	})
	return func(next http.Handler) http.Handler { return answers(ignores(next)) }
}

// Minio lists unfinished uploads as MinIO does: with a prefix, only those of exactly that key;
// without one, all of the bucket on one page, whatever max-uploads and the markers say. c is a
// client of the server behind it.
func Minio(t testing.TB, c s3server.Client) Quirk {
	type upload struct {
		Key       string
		UploadID  string `xml:"UploadId"`
		Initiated string
	}
	type listing struct {
		XMLName xml.Name `xml:"ListMultipartUploadsResult"`
		Bucket  string
		Prefix  string
		Upload  []upload
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			query := r.URL.Query()
			if r.Method != http.MethodGet || !query.Has("uploads") {
				next.ServeHTTP(w, r)
				return
			}
			list := listing{Bucket: strings.Trim(r.URL.Path, "/"), Prefix: query.Get("prefix")}
			uploads, err := c.ListUploads(r.Context(), list.Bucket)
			if err != nil {
				t.Error(err)
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			for _, u := range uploads {
				if list.Prefix == "" || list.Prefix == u.Key {
					list.Upload = append(list.Upload, upload{u.Key, u.ID, u.Initiated.UTC().Format("2006-01-02T15:04:05.000Z")})
				}
			}
			slices.SortStableFunc(list.Upload, func(a, b upload) int { return strings.Compare(a.Initiated, b.Initiated) })
			w.Header().Set("Content-Type", "application/xml")
			_ = xml.NewEncoder(w).Encode(list)
		})
	}
}

// Loses answers the first PutObject of each key as if it had been stored, and stores nothing.
func Loses() Quirk {
	var lost sync.Map
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			call := s3fault.Call(r)
			if !strings.HasPrefix(call, "PutObject ") {
				next.ServeHTTP(w, r)
				return
			}
			if _, again := lost.LoadOrStore(call, true); again {
				next.ServeHTTP(w, r)
				return
			}
			sum := md5.New()
			if _, err := io.Copy(sum, r.Body); err != nil {
				return // the client has gone
			}
			w.Header().Set("ETag", fmt.Sprintf("\"%x\"", sum.Sum(nil)))
			w.Header()["X-Amz-Checksum-Crc32"] = r.Header["X-Amz-Checksum-Crc32"]
		})
	}
}

// AbortDeletes deletes the object of a key with each abort of an upload of that key, as
// versitygw 1.8.0 over Azure does. c is a client of the server behind it.
func AbortDeletes(t testing.TB, c s3server.Client) Quirk {
	return onAnswer(func(r *http.Request, a *answer) {
		if !strings.HasPrefix(s3fault.Call(r), "AbortMultipartUpload ") || a.status != http.StatusNoContent {
			return
		}
		bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if err := c.Delete(r.Context(), bucket, key); err != nil {
			t.Error(err)
		}
	})
}

// Clock answers with a Date that is off by that much, as a store does whose clock is, or whose
// client's clock is off the other way.
func Clock(off time.Duration) Quirk {
	return onAnswer(func(_ *http.Request, a *answer) {
		a.header.Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
	})
}

// actions are the permissions that operations need (S3 User Guide, "Required permissions for
// Amazon S3 API operations").
var actions = map[string]string{
	"HeadObject": "s3:GetObject", "GetObject": "s3:GetObject", "PutObject": "s3:PutObject", "DeleteObject": "s3:DeleteObject",
	"CreateMultipartUpload": "s3:PutObject", "UploadPart": "s3:PutObject", "CompleteMultipartUpload": "s3:PutObject",
	"AbortMultipartUpload": "s3:AbortMultipartUpload", "ListMultipartUploads": "s3:ListBucketMultipartUploads",
}

// Denies refuses what needs an action under a prefix, as S3 does if the credentials lack the
// permission. Without s3:ListBucket, a missing object is not answered with 404, but with 403.
func Denies(action, prefix string) Quirk {
	denied := &refusal{http.StatusForbidden, "AccessDenied", "Access Denied"}
	under := func(r *http.Request) (operation string, ok bool) {
		operation, key, _ := strings.Cut(s3fault.Call(r), " ")
		return operation, strings.HasPrefix(key, prefix)
	}
	if action == "s3:ListBucket" {
		return onAnswer(func(r *http.Request, a *answer) {
			if operation, ok := under(r); ok && actions[operation] == "s3:GetObject" && a.status == http.StatusNotFound {
				*a = answer{header: http.Header{}}
				denied.write(a)
			}
		})
	}
	return onRequest(func(r *http.Request) *refusal {
		if operation, ok := under(r); ok && actions[operation] == action {
			_, _ = io.Copy(io.Discard, r.Body) // the client may have gone
			return denied
		}
		return nil
	})
}
