package s3sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"spillway/stream"
)

// errMetadata says that metadata does not reach the store, or does not come back.
var errMetadata = errors.New("s3: the metadata of an object is not what was sent")

// canonicalMetadata returns metadata with the names as Spillway writes them. Ceph's radosgw
// returns hyphens for underscores.
func canonicalMetadata(got map[string]string) map[string]string {
	metadata := make(map[string]string, len(got))
	for name, value := range got {
		metadata[strings.ReplaceAll(strings.ToLower(name), "-", "_")] = value
	}
	return metadata
}

// checkProbe compares an object that has been found with the probe's.
func checkProbe(got objectInfo, body []byte) error {
	if sum := encodeCRC32(crc32.ChecksumIEEE(probeText)); !bytes.Equal(body, probeText) || got.crc32 != "" && got.crc32 != sum {
		return errDiffers
	}
	for name, want := range probeAttributes(stream.AsIs).metadata {
		if got.metadata[name] != want {
			return errMetadata
		}
	}
	return nil
}

// blameHeaders looks for the cause of a refused signature. Proxies change headers after they
// were signed: nginx drops those whose names have an underscore, as the names of metadata do.
// If the store takes a request without metadata, the errors of the others then wrap
// errMetadata.
func (p *prober) blameHeaders(ctx context.Context, found findings) {
	if !refusesSignature(found.worst()) {
		return
	}
	m, err := beginMultipart(ctx, p.api, &p.destination, p.single, attributesOf(stream.AsIs, identity{}), checksum(p.store.dialect.checksum.Load()))
	if err != nil {
		return
	}
	_ = m.abort(ctx) // the sweep aborts it otherwise
	for i, err := range found {
		if refusesSignature(err) {
			failed, _ := errors.AsType[*stream.StoreError](err)
			found[i] = &stream.StoreError{Op: failed.Op, Key: failed.Key, Code: codeMetadata, Err: fmt.Errorf("%w: %w", errMetadata, failed.Err)}
		}
	}
}

// refusesSignature reports whether the store refused the signature of a request with metadata.
func refusesSignature(err error) bool {
	failed, ok := errors.AsType[*stream.StoreError](err)
	return ok && failed.Code == "SignatureDoesNotMatch" && (failed.Op == "PutObject" || failed.Op == "CreateMultipartUpload")
}
