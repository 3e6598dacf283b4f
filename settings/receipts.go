package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"
)

// Buckets are the settings of the buckets, for each command that uses them.
type Buckets struct {
	S3Bucket       string `group:"Storage:" name:"s3-bucket" placeholder:"NAME" help:"Bucket for symbols. Required; 'symbols' with --dev. Credentials come from where the AWS SDK looks for them."`
	S3TryBucket    string `group:"Storage:" name:"s3-try-bucket" placeholder:"NAME" help:"Bucket for try symbols. If unset: --s3-bucket."`
	S3Region       string `group:"Storage:" name:"s3-region" placeholder:"NAME" help:"Region of the buckets. If unset: $$AWS_REGION, or where else the AWS SDK looks for it. us-east-1 if it is nowhere and --dev is set."`
	S3Endpoint     string `group:"Storage:" name:"s3-endpoint" placeholder:"URL" help:"S3 server. If unset: $$AWS_ENDPOINT_URL_S3, $$AWS_ENDPOINT_URL, or AWS."`
	S3PathStyle    bool   `group:"Storage:" name:"s3-path-style" help:"Put the bucket into the path of requests, not into the host name. Always on with --dev."`
	ReceiptsPrefix string `group:"Storage:" placeholder:"TEXT" help:"Prefix of the keys of receipts, such as receipts/. Each stored upload leaves one in its bucket, which says who sent what: see docs/receipts.md. It must end in / and be outside of the prefixes of symbols. If unset: no receipts."`
}

// Receipts holds the settings of the receipts command. Call [Receipts.Complete] before
// using them.
type Receipts struct {
	Buckets

	Since Time `placeholder:"TIME" help:"Only uploads that were stored at this time or later, such as 2026-11-26, 2026-11-26T14:30:00Z, or 36h for that long ago. Days begin in UTC."`
	Until Time `placeholder:"TIME" help:"Only uploads that were stored before this time, in the same forms."`

	User    string `placeholder:"ADDRESS" help:"Only uploads of the user with this email address."`
	Key     string `placeholder:"KEY" help:"Only files with this key, without the prefix, such as xul.pdb/A7D6F1BB0/xul.sym."`
	CodeID  string `name:"code-id" placeholder:"ID" help:"Only files with this code ID, in the symbol file or in the key. Case is ignored."`
	DebugID string `name:"debug-id" placeholder:"ID" help:"Only files with this debug ID, likewise."`

	CSV bool `name:"csv" help:"Print a table with one line for each file, instead of one JSON object for each upload."`
}

// Time is a point in time, written as a date, as in RFC 3339, or as how long ago it was.
type Time struct{ time.Time }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (t *Time) UnmarshalText(text []byte) (err error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t.Time, err = time.Parse(layout, string(text)); err == nil {
			return nil
		}
	}
	ago, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a time such as 2026-11-26, 2026-11-26T14:30:00Z or 36h", text)
	}
	t.Time = time.Now().Add(-ago)
	return nil
}

func (s *Buckets) checkEndpoint() error {
	if s.S3Endpoint == "" {
		return nil
	}
	// No message shows the URL: it may contain a password.
	u, err := url.Parse(s.S3Endpoint)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("--s3-endpoint: it is not a URL such as https://s3.example.com")
	case u.User != nil:
		return errors.New("--s3-endpoint: it contains a user or password. Put credentials where the AWS SDK looks for them")
	}
	return nil
}

// maxReceiptsPrefix is the length of the longest --receipts-prefix, in bytes. A key has 1024,
// and the index of the receipt's files needs some.
const maxReceiptsPrefix = 200

// checkReceiptsPrefix accepts only prefixes that name one folder.
func (s *Buckets) checkReceiptsPrefix() error {
	folder, ends := strings.CutSuffix(s.ReceiptsPrefix, "/")
	switch {
	case !ends:
		return fmt.Errorf("--receipts-prefix: %q does not end in /. Write it as %q", s.ReceiptsPrefix, s.ReceiptsPrefix+"/")
	case !fs.ValidPath(folder) || folder == ".":
		return fmt.Errorf("--receipts-prefix: %q is not a folder such as receipts/: it must not start with /, nor contain ., .. or //", s.ReceiptsPrefix)
	case len(s.ReceiptsPrefix) > maxReceiptsPrefix:
		return fmt.Errorf("--receipts-prefix: it has %d bytes, more than the %d that leave room for the rest of a key", len(s.ReceiptsPrefix), maxReceiptsPrefix)
	}
	return nil
}

// checkReceipts keeps receipts and symbols apart: symbols are often public, and the sweep
// aborts multipart uploads under their prefixes.
func (s *Serve) checkReceipts() error {
	if s.ReceiptsPrefix == "" {
		return nil
	}
	for _, c := range []struct{ flag, prefix string }{{"s3-prefix", s.S3Prefix}, {"s3-try-prefix", s.S3TryPrefix}} {
		if strings.HasPrefix(s.ReceiptsPrefix, c.prefix) || strings.HasPrefix(c.prefix, s.ReceiptsPrefix) {
			return fmt.Errorf("--receipts-prefix: %q and --%s, %q, overlap. Whoever may read symbols could read who sent them. Use a folder of its own, such as receipts/", s.ReceiptsPrefix, c.flag, c.prefix)
		}
	}
	return s.checkReceiptsPrefix()
}

// Complete checks the settings and fills in those that depend on others. Its error is one
// line for the user.
func (r *Receipts) Complete() error {
	switch {
	case r.S3Bucket == "":
		return errors.New("--s3-bucket is required: the bucket for symbols")
	case r.ReceiptsPrefix == "":
		return errors.New("--receipts-prefix is required: the prefix that the receipts were written with")
	case !r.Since.IsZero() && !r.Until.IsZero() && !r.Since.Before(r.Until.Time):
		return fmt.Errorf("--since: %v is not before --until, %v", r.Since.UTC().Format(time.RFC3339), r.Until.UTC().Format(time.RFC3339))
	}
	if err := r.checkEndpoint(); err != nil {
		return err
	}
	return r.checkReceiptsPrefix()
}
