package serve

import (
	"context"
	"errors"
	"fmt"
	"io"

	"spillway/internal/terminal"
	"spillway/receipts"
	"spillway/s3sink"
	"spillway/settings"
	"spillway/stream"
)

// PrintReceipts prints the receipts that the settings select to stdout, and to stderr what
// that took. s must be complete. The error is a [*settings.Error] for a setting that
// cannot be used.
func PrintReceipts(ctx context.Context, s *settings.Receipts, stdout, stderr io.Writer) error {
	readers, err := s3sink.NewReaders(ctx, s3sink.Config{
		Bucket:         s.S3Bucket,
		TryBucket:      s.S3TryBucket,
		Region:         s.S3Region,
		Endpoint:       s.S3Endpoint,
		PathStyle:      s.S3PathStyle,
		ReceiptsPrefix: s.ReceiptsPrefix,
	})
	if err != nil {
		return &settings.Error{Err: err}
	}
	var buckets []receipts.Bucket
	for _, r := range readers {
		buckets = append(buckets, r)
	}
	malformed := 0
	stats, err := receipts.Print(ctx, buckets, receipts.Query{
		Since: s.Since.Time, Until: s.Until.Time, User: s.User, Key: s.Key, CodeID: s.CodeID, DebugID: s.DebugID,
	}, s.CSV, stdout, func(e *receipts.MalformedError) {
		malformed++
		terminal.WriteLine(stderr, "spillway: "+e.Error())
	})
	if failed, ok := errors.AsType[*stream.StoreError](err); ok {
		return fmt.Errorf("%s (%w)", s3sink.Explain(failed), failed)
	}
	if err != nil {
		return err
	}
	terminal.WriteLine(stderr, fmt.Sprintf("%d receipts in that time, %d read, %d printed", stats.Listed, stats.Read, stats.Printed))
	if malformed > 0 {
		return fmt.Errorf("%d receipts cannot be read", malformed)
	}
	return nil
}
