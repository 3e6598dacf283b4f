package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"spillway/stream"
	"spillway/stream/budget"
)

const (
	mebibyte ByteSize = 1 << 20
	gibibyte ByteSize = 1 << 30

	// What S3 takes of a part and of a multipart upload (S3 User Guide,
	// "Amazon S3 multipart upload limits").
	minPartSize = 5 * mebibyte
	maxPartSize = 5 * gibibyte
	maxParts    = 10_000

	// minSweepAge keeps a setting of one instance from ending the uploads of
	// another one over the same bucket.
	minSweepAge = time.Hour

	devBucket = "symbols"
	devRegion = "us-east-1"
)

// Complete checks the settings and fills in those that follow from others. Its
// error is a line for the user.
func (s *Serve) Complete() error {
	if s.Dev {
		s.completeDev()
	}
	if s.LogFormat == "" {
		s.LogFormat = "json"
	}
	if s.SpillDir == "" {
		s.SpillDir = os.TempDir()
	}
	s.DisallowedSnippets = slices.DeleteFunc(s.DisallowedSnippets, func(t string) bool { return t == "" })
	s.AdminHosts = slices.DeleteFunc(s.AdminHosts, func(t string) bool { return t == "" })
	s.GzipExtensions = slices.DeleteFunc(s.GzipExtensions, func(t string) bool { return t == "" })
	return firstOf(
		s.checkAddresses,
		s.checkStore,
		s.checkLimits,
		s.checkTimes,
		s.checkNames,
	)
}

func firstOf(checks ...func() error) error {
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Serve) completeDev() {
	if s.S3Bucket == "" {
		s.S3Bucket = devBucket
	}
	if s.S3Region == "" {
		s.S3Region = devRegion
	}
	s.S3PathStyle = true
	if s.LogFormat == "" {
		s.LogFormat = "console"
	}
}

// EmbeddedS3 reports whether the S3 server is one in this process.
func (s *Serve) EmbeddedS3() bool { return s.Dev && s.S3Endpoint == "" }

func (s *Serve) checkAddresses() error {
	addresses := []struct{ flag, value string }{{"listen", s.Listen}, {"admin-listen", s.AdminListen}}
	if s.EmbeddedS3() {
		addresses = append(addresses, struct{ flag, value string }{"dev-s3-listen", s.DevS3Listen})
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key: one needs the other")
	}
	if s.Dev && s.TLSCert != "" {
		return errors.New("--tls-cert: --dev speaks plain http only")
	}
	for _, name := range s.AdminHosts {
		if strings.ContainsAny(name, ":/*[] ") {
			return fmt.Errorf("--admin-hosts: %q is not a host name such as spillway.example.com, without a port", name)
		}
	}
	for _, a := range addresses {
		host, _, err := net.SplitHostPort(a.value)
		if err != nil {
			return fmt.Errorf("--%s: %q is not an address such as 127.0.0.1:8000", a.flag, a.value)
		}
		if s.Dev && host != "localhost" && !net.ParseIP(host).IsLoopback() {
			return fmt.Errorf("--%s: %q is not a loopback address, and --dev, whose tokens everybody knows, listens on no other", a.flag, a.value)
		}
	}
	return nil
}

func (s *Serve) checkStore() error {
	if s.S3Bucket == "" {
		return errors.New("--s3-bucket is required: the bucket that symbols go to (or --dev, to try things out)")
	}
	if s.S3Endpoint != "" {
		// It may have a password in it: it is in no message.
		u, err := url.Parse(s.S3Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return errors.New("--s3-endpoint: it is not a URL such as https://s3.example.com")
		}
		if u.User != nil {
			return errors.New("--s3-endpoint: it has a user or password, which S3 has no use for (credentials come the AWS SDK's usual way)")
		}
	}
	if err := s.checkPrefixes(); err != nil {
		return err
	}
	if s.TokensFile == "" && !s.Dev {
		return errors.New("--tokens-file is required: the tokens that clients upload with (see spillway token create)")
	}
	return nil
}

// checkPrefixes accepts only prefixes that name one folder. The sweep aborts old
// uploads under all keys that begin with a prefix: "v1" would cover "v10/", and an
// empty one the bucket.
func (s *Serve) checkPrefixes() error {
	for _, c := range []struct{ flag, prefix string }{{"s3-prefix", s.S3Prefix}, {"s3-try-prefix", s.S3TryPrefix}} {
		folder, ends := strings.CutSuffix(c.prefix, "/")
		switch {
		case c.prefix == "":
			return fmt.Errorf("--%s: it is empty, so that old unfinished multipart uploads of the whole bucket would be aborted. Set it to a folder that is Spillway's alone, such as v1/", c.flag)
		case !ends:
			return fmt.Errorf("--%s: %q does not end in /, so that old unfinished multipart uploads would be aborted under all keys that begin with it. Write it as %q", c.flag, c.prefix, c.prefix+"/")
		case !fs.ValidPath(folder) || folder == ".":
			// S3 takes such keys. Many clients and other servers clean them as paths,
			// and would look elsewhere.
			return fmt.Errorf("--%s: %q is not a folder such as v1/: it must not begin with /, nor have //, . or .. in it", c.flag, c.prefix)
		}
	}
	sameBucket := s.S3TryBucket == "" || s.S3TryBucket == s.S3Bucket
	if sameBucket && s.S3Prefix == s.S3TryPrefix {
		return fmt.Errorf("--s3-try-prefix: %q is --s3-prefix as well, in the same bucket, so that try symbols would replace regular ones", s.S3TryPrefix)
	}
	return nil
}

func (s *Serve) checkLimits() error {
	for _, c := range []struct {
		flag  string
		value int
	}{
		{"s3-concurrency", s.S3Concurrency},
		{"max-entries", s.MaxEntries},
		{"max-uploads", s.MaxUploads},
	} {
		if c.value < 1 {
			return fmt.Errorf("--%s: %d is less than 1", c.flag, c.value)
		}
	}
	for _, c := range []struct {
		flag  string
		value ByteSize
	}{
		{"max-upload-size", s.MaxUploadSize},
		{"max-expanded-size", s.MaxExpandedSize},
	} {
		if c.value < 1 {
			return fmt.Errorf("--%s: it has to be more than 0", c.flag)
		}
	}
	if s.MaxTokenUploads < 0 {
		return fmt.Errorf("--max-token-uploads: %d is less than 0", s.MaxTokenUploads)
	}
	if s.MaxTokenBytes != 0 && s.MaxTokenBytes < s.MaxUploadSize+mebibyte {
		return fmt.Errorf("--max-token-bytes: %v is less than the %v of --max-upload-size and 1MiB for the form, so that no token could send the largest archive", s.MaxTokenBytes, s.MaxUploadSize)
	}
	if s.S3PartSize < minPartSize || s.S3PartSize > maxPartSize {
		return fmt.Errorf("--s3-part-size: %v is outside %v to %v, which is what S3 takes", s.S3PartSize, minPartSize, maxPartSize)
	}
	if s.SpillQuota > 0 && s.SpillUploadQuota == 0 {
		return errors.New("--spill-upload-quota: it has to be more than 0, unless --spill-quota is 0")
	}
	room, err := s.NewBudget(budget.SpillConfig{})
	if err != nil {
		return fmt.Errorf("--memory: %w", err)
	}
	if part := ByteSize(room.PartSize()); part*maxParts < s.MaxExpandedSize {
		return fmt.Errorf("--max-expanded-size: %v does not fit into the %d parts of %v that an object can have: lower it, or raise --s3-part-size (and --memory, which is six parts or more)",
			s.MaxExpandedSize, maxParts, part)
	}
	return nil
}

// NewBudget makes the budget of the settings, with that disk.
func (s *Serve) NewBudget(spill budget.SpillConfig) (*budget.Budget, error) {
	return budget.New(budget.Config{
		Memory: int64(s.Memory), MaxPart: int64(s.S3PartSize), Uploads: s.MaxUploads, Needs: stream.Needs(s.MaxEntries), Wait: s.RoomWait, Spill: spill,
	})
}

func (s *Serve) checkTimes() error {
	for _, c := range []struct {
		flag  string
		value time.Duration
	}{
		{"room-wait", s.RoomWait},
		{"idle-timeout", s.IdleTimeout},
		{"upload-timeout", s.UploadTimeout},
		{"drain-timeout", s.DrainTimeout},
	} {
		if c.value <= 0 {
			return fmt.Errorf("--%s: %v is not more than 0", c.flag, c.value)
		}
	}
	if s.DrainDelay < 0 {
		return fmt.Errorf("--drain-delay: %v is less than 0", s.DrainDelay)
	}
	// The other half of the age is for publishing, which has no deadline of its
	// own.
	if s.SweepAge/2 < s.UploadTimeout {
		return fmt.Errorf("--sweep-age: %v is less than twice the %v of --upload-timeout, so that uploads under way would be swept", s.SweepAge, s.UploadTimeout)
	}
	if s.SweepAge < minSweepAge && !s.Dev {
		return fmt.Errorf("--sweep-age: %v is less than %v. Other instances may share the bucket and have longer uploads, which would be swept. Only --dev allows less", s.SweepAge, minSweepAge)
	}
	return nil
}

func (s *Serve) checkNames() error {
	for i, e := range s.GzipExtensions {
		if !strings.HasPrefix(e, ".") || len(e) < 2 || strings.ContainsAny(e, "/ ") {
			return fmt.Errorf("--gzip-extensions: %q is not an extension such as .sym", e)
		}
		s.GzipExtensions[i] = strings.ToLower(e)
	}
	return nil
}
