//nolint:staticcheck // feature/s3/manager is deprecated: singlePut says why it is used
package s3sink

//lint:file-ignore SA1019 As above, for staticcheck run by itself.

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// singlePut writes objects of up to a part with one PutObject. Only this file uses
// feature/s3/manager. The package is deprecated in favour of feature/s3/transfermanager,
// which has not reached 1.0 and copies bodies into buffers of its own. The Uploader copies
// nothing when it gets an io.ReaderAt of known size.
//
// The Uploader could also send larger bodies in parts, but [multipart] does so for these
// reasons. The Uploader
//   - completes an object as soon as its own parts are sent, before those of the other
//     objects are;
//   - does not ask for a checksum of the whole object (it sets neither ChecksumType nor
//     MpuObjectSize), and sends the given checksum to complete an upload that has a
//     composite one;
//   - sends parts as aws-chunked over https;
//   - does not report whether an attempt at a part failed, which an abort has to know.
type singlePut struct {
	uploader *manager.Uploader
	timeouts timeouts
}

// newSinglePut returns a singlePut for bodies of up to partSize bytes.
func newSinglePut(api *s3.Client, partSize int64, t timeouts) singlePut {
	return singlePut{manager.NewUploader(api, func(u *manager.Uploader) {
		u.PartSize = max(partSize, manager.MinUploadPartSize)
		u.Concurrency = 1 // of parts, which there are none of; the Uploader makes room for them in every call
	}), t}
}

// put writes an object, and returns its ETag and what shows that the store has these bytes.
// If err is nil, the object is visible; if not, it may be.
func (w singlePut) put(ctx context.Context, t target, a attributes, body *requestBody, sent sums) (etag string, proof checksum, err error) {
	ctx, done := w.timeouts.operation(ctx, body.size)
	defer done()
	out, err := w.uploader.Upload(ctx, putInput(t, a, body, sent), manager.WithUploaderRequestOptions(sent.kind.options()...))
	if err != nil {
		out = &manager.UploadOutput{}
	}
	return sent.wasPut(ctx, t, body, out.ETag, out.ChecksumCRC32, err)
}
